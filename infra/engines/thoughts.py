"""Removes thoughts from a model's output as it streams, so that only the answer remains."""

import re
from typing import Final

_NAMES: Final = r"(?:[a-z]+:)?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad|inner_monologue)"
_OPEN: Final = (
    rf"<{_NAMES}(?:\s[^<>]{{0,200}})?>|<details\s[^<>]{{0,200}}\breasoning\b[^<>]{{0,200}}>"
    r"|\[think\]|◁think▷|<\|(?:begin_of_thought|start_thinking|think)\|>|<\|channel>thought|<unused94>"
    # gpt-oss: every channel but the final one (https://cookbook.openai.com/articles/openai-harmony).
    r"|<\|channel\|>(?!\s*final)[^<]{0,200}<\|message\|>"
)
_CLOSE: Final = (
    rf"</{_NAMES}\s*>"
    r"|\[/think\]|◁/think▷|<\|(?:end_of_thought|end_thinking|/think)\|>|<channel\|>|<unused95>"
    r"|<\|channel\|>\s*final[^<]{0,200}<\|message\|>"
    # The same without its special tokens, as servers show it that drop them.
    r"|(?-i:(?<![a-z])assistantfinal(?![a-z]))"
)
_NOISE: Final = (
    rf"<{_NAMES}\s*/>|</?answer>"
    r"|<\|(?:end|return|call|im_end|eot_id|end_of_solution|begin_of_solution|start_response|end_response)\|>"
    r"|<\|start\|>[a-z]{0,20}(?=<|\Z)"
)
# A tag in code is quoted, not used.
_MARK: Final = re.compile(
    rf"(?<!`)(?:(?:{_NOISE})|(?P<open>{_OPEN})|(?P<close>{_CLOSE})|(?P<folded></details>))", re.IGNORECASE
)
_BARE: Final = "assistantfinal"
_BEGUN: Final = re.compile(
    r"(?:<\|channel\|>[^<]{0,200}(?:<[^<>]{0,20})?|<\|start\|>[a-z]{0,20}|<\|channel>[a-z]{0,7}"
    # Not any `<`: a comparison is shown at once.
    rf"|`?<(?:/?[a-z_:]{{0,240}}|/?(?:{_NAMES}|details)[\s/][^<>\n]{{0,240}}|unused[0-9]{{0,2}}|channel\|"
    r"|\|/?[a-z_]{0,24}\|?)"
    r"|`?\[/?[a-z]{0,5}|`?◁[^▷]{0,10}|`"
    rf"|(?<![a-z])(?:{'|'.join(_BARE[:length] for length in range(1, len(_BARE) + 1))}))\Z",
    re.IGNORECASE,
)
"""The end of a piece that may be the beginning of a mark."""


class Spoken:
    """Takes pieces of a model's text and returns what may be shown; `text` is the final answer.

    Thoughts that are closed without having been opened began with the text, and what was given back of them is void:
    `text` is the one that holds. Thoughts that are never closed last to the end.
    """

    def __init__(self) -> None:
        self._held = ""
        self._said: list[str] = []
        self._thinking = False
        self._blank = ""
        self.unannounced = False
        """Whether the text began with thoughts that nothing announced."""

    @property
    def text(self) -> str:
        """The answer so far, without surrounding blanks."""
        return "".join(self._said)

    def feed(self, piece: str) -> str:
        """What may be shown now."""
        self._held += piece
        begun = _BEGUN.search(self._held)
        ready = begun.start() if begun else len(self._held)
        return self._read(ready)

    def end(self) -> str:
        """The rest that may be shown, once the model has ended."""
        return self._read(len(self._held))

    def _read(self, ready: int) -> str:
        new: list[str] = []
        at = 0
        for mark in _MARK.finditer(self._held):
            if mark.start() >= ready:
                break
            if mark["folded"] and not self._thinking:
                continue  # of a fold that holds no thoughts
            if not self._thinking:
                new.append(self._held[at : mark.start()])
            if mark["open"]:
                self._thinking = True
            elif mark["close"]:
                if not self._thinking:
                    self.unannounced = True
                    new.clear()
                    self._said.clear()
                    self._blank = ""
                self._thinking = False
            elif mark["folded"]:
                self._thinking = False
            at = mark.end()
        ready = max(at, ready)
        if not self._thinking:
            new.append(self._held[at:ready])
        self._held = self._held[ready:]
        return self._say("".join(new))

    def _say(self, text: str) -> str:
        """Without blanks at the beginning, and with those at the end held back until something follows them."""
        text = self._blank + text
        if not self._said:
            text = text.lstrip()
        kept = text.rstrip()
        self._blank = text[len(kept) :]
        if kept:
            self._said.append(kept)
        return kept


def spoken(text: str) -> str:
    """A whole text without its thoughts."""
    found = Spoken()
    found.feed(text)
    found.end()
    return found.text
