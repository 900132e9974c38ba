"""The language of a text by its letters, and characters that no text should hold."""

import re
from collections import Counter
from typing import Final

HANGUL_SHARE: Final = 0.25
"""A text is Korean from this share of its letters on: Korean texts hold Latin names and Chinese characters."""

_SCRIPTS: Final = {
    "ko": re.compile(r"[가-힣ㄱ-ㆎᄀ-ᇿ]"),
    "ja": re.compile(r"[぀-ヿ]"),
    "zh": re.compile(r"[㐀-鿿]"),
    "latin": re.compile(r"[A-Za-zÀ-ɏ]"),
    "cyrillic": re.compile(r"[Ѐ-ӿ]"),
}
_LETTER: Final = re.compile(r"[^\W\d_]")
_BROKEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\ue000-\uf8ff]")
_MARKUP: Final = re.compile(
    r"</?(?:p|div|span|br|table|t[rdh]|[uo]l|li|a|b|i|img|script|style|font|h[1-6])\b[^<>]{0,200}>"
    r"|&(?:nbsp|amp|lt|gt|quot|#\d{1,5});",
    re.IGNORECASE,
)


def language(text: str) -> str:
    """`ko`, `ja`, `zh`, `latin` or `cyrillic`; `other` for letters of other scripts, `none` without letters."""
    counts = Counter({name: len(pattern.findall(text)) for name, pattern in _SCRIPTS.items()})
    letters = len(_LETTER.findall(text))
    if not letters:
        return "none"
    if counts["ko"] >= HANGUL_SHARE * letters:
        return "ko"
    if counts["ja"]:
        counts["ja"] += counts.pop("zh")  # Japanese is written with Chinese characters, too
    [(name, count)] = counts.most_common(1)
    return name if 2 * count >= letters else "other"


def broken_characters(text: str) -> list[str]:
    """Control characters, replacement characters and those of private use, as `U+FFFD`; each once, three at most."""
    return [f"U+{ord(character):04X}" for character in sorted(set(_BROKEN.findall(text)))[:3]]


def markup(text: str) -> str | None:
    """The first tag or entity of HTML in the text."""
    found = _MARKUP.search(text)
    return None if found is None else found[0][:60]
