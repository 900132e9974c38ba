"""Output to the terminal: control characters in titles, texts and errors are shown, not obeyed."""

import re
import sys
from typing import Final

CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""All but line feed and tab: C0, DEL, C1 (ECMA-48); characters that reverse text (UAX #9); lone surrogates."""


def visible(text: str) -> str:
    r"""The text with each control character as `\x1b` or `\u202e`."""
    return CONTROLS.sub(lambda found: _code(found[0]), text)


def visible_json(document: str) -> str:
    r"""A JSON document with the control characters within its strings as `\u009b`: it means the same."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def say(text: str = "", *, flush: bool = False) -> None:
    """A line of the answer, on stdout."""
    print(visible(text), flush=flush)


def say_on(piece: str) -> None:
    """A piece of the answer, on the line that has begun."""
    print(visible(piece), end="", flush=True)


def note(text: str) -> None:
    """A remark that is not part of the answer, on stderr."""
    print(visible(text), file=sys.stderr)


def print_document(document: str, *, flush: bool = False) -> None:
    """A JSON document, on stdout."""
    print(visible_json(document), flush=flush)


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
