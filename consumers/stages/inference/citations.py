"""Citations of an answer: the numbers in brackets that name passages, renumbered in the order of their mention."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_NUMBERS: Final = r"[0-9０-９]{1,3}(?:\s*[,，、;~∼〜–—-]\s*[0-9０-９]{1,3})*"
_LABEL: Final = r"(?:(?:passage|source|자료|출처|문서|참고)\s*[:：]?\s*)?"
_MARK: Final = re.compile(
    rf"(?P<blank>\s?)(?:\[\^?{_LABEL}(?P<plain>{_NUMBERS})\]|［{_LABEL}(?P<wide>{_NUMBERS})］"
    # Models of OpenAI add a place after a dagger: 【1†L3-L5】.
    rf"|【{_LABEL}(?P<lenticular>{_NUMBERS})(?:†[^【】]{{0,80}})?】)",
    re.IGNORECASE,
)
_CODE: Final = re.compile(r"(?P<fence>`{3,}|~{3,}).*?(?:(?P=fence)|\Z)|(?P<ticks>`{1,2})[^`\n]+(?P=ticks)", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_GOES_ON: Final = re.compile(r"\s?=|\.[A-Za-z_]|\(|\s[+*/]\s")
_HANGUL: Final = re.compile(r"[가-힣]")
_RANGE: Final = re.compile(r"[~∼〜–—-]")
_SEPARATOR: Final = re.compile(r"[,，、;]")


@dataclass(frozen=True, slots=True)
class Cited:
    """An answer with its numbers renumbered; `order`: the 0-based passages cited, by first mention.

    `dropped` counts the numbers that belong to no passage.
    """

    text: str
    order: list[int]
    dropped: int


def cited(text: str, count: int, order: list[int] | None = None) -> Cited:
    """Read the citations of `count` passages: [1], [1, 3], [1-3], 【1】, ［1］, as models write them.

    They come out as [1][2]; numbers of no passage are removed. Brackets in code, or that index a name as in `items[0]`,
    are not citations and stay. `order`: the passages that texts before this one cite; it grows.
    """
    order = [] if order is None else order
    dropped = 0

    def renumbered(match: re.Match[str]) -> str:
        nonlocal dropped
        numbers = list(_numbers(match["plain"] or match["wide"] or match["lenticular"]))
        if _is_index(match, numbers) or (0 in numbers and len(numbers) > 1):
            return match[0]
        known = [number - 1 for number in numbers if 1 <= number <= count]
        dropped += len(numbers) - len(known)
        order.extend(at for at in known if at not in order)
        return match["blank"] + "".join(f"[{order.index(at) + 1}]" for at in known) if known else ""

    found: list[str] = []
    at = 0
    for code in _CODE.finditer(text):
        found += [_MARK.sub(renumbered, text[at : code.start()]), code[0]]
        at = code.end()
    found.append(_MARK.sub(renumbered, text[at:]))
    return Cited("".join(found).strip(), order, dropped)


def _numbers(listed: str) -> Iterator[int]:
    """Each number once; those of a range too."""
    seen: dict[int, None] = {}
    for part in _SEPARATOR.split(listed):
        first, *last = (int(number) for number in _RANGE.split(part))
        seen |= dict.fromkeys(range(first, last[-1] + 1) if last and last[-1] >= first else [first, *last])
    yield from seen


def _is_index(match: re.Match[str], numbers: list[int]) -> bool:
    """Whether the brackets index the name before them.

    A citation may follow a word directly, so more evidence is needed.
    """
    text = match.string
    name = _NAME.search(text, max(0, match.start() - 100), match.start())
    if match["plain"] is None or match["blank"] or name is None:
        return False
    return (
        0 in numbers
        or f"{name[0]}[0]" in text
        or "_" in name[0]
        or _GOES_ON.match(text, match.end()) is not None
        # In a Korean sentence a word in small letters is a name of code.
        or (name[0][0].islower() and _HANGUL.search(text) is not None)
    )
