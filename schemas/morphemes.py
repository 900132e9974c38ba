"""The morphemes of a text, between the analyser and what compares texts by them."""

from typing import NamedTuple


class Morpheme(NamedTuple):
    """A morpheme as the dictionary has it, and Kiwi's tag: `Morpheme("하", "VV")` for the verb in `했다`."""

    form: str
    tag: str
