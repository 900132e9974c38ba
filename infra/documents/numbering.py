"""Automatic numbers, which a word processor shows before a paragraph but does not store as text (제3조, ①, 가.).

The DOCX, HWP and HWPX readers tell the list and level of a paragraph; HTML lists use single numbers. Formats are named
as in ECMA-376, 17.18.59, and further below as in KS X 6101; each has its numbers from 1.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

MAX_LEVELS: Final = 10
_PLACE: Final = re.compile(r"[%^]([1-9]\d?|n|N)")

_ROMAN: Final = (
    *((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC")),
    *((50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")),
)
_HANGUL_DIGITS: Final = "영일이삼사오육칠팔구"
_HANJA_DIGITS: Final = "〇一二三四五六七八九"
_UNITS: Final = ("하나", "둘", "셋", "넷", "다섯", "여섯", "일곱", "여덟", "아홉")
_TENS: Final = ("열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
_SYLLABLES: Final = "가나다라마바사아자차카타파하"
_KATAKANA: Final = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン"
_JAMO: Final = "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ"
_VOWELS: Final = (0, 4, 8, 13, 18, 20)
"""ㅏ ㅓ ㅗ ㅜ ㅡ ㅣ in the order of Hangul syllables: after 하 the sequence continues with 거, 너, 더."""


@dataclass(frozen=True, slots=True)
class Level:
    """A level of a list. In `text`, `%1` to `%9` (or `^1`) stand for a level's number, `^n` for all down to its own.

    `restart_after` is the level, from 1, that restarts this one, as do all levels above that; 0 means none, None means
    any level above. `legal` writes the numbers of all levels as decimals. `gap` separates number and text.
    """

    format: str = "decimal"
    text: str = "%1."
    start: int = 1
    restart_after: int | None = None
    legal: bool = False
    gap: str = " "


class Counters:
    """The current numbers of one document's lists."""

    def __init__(self) -> None:
        self._values: dict[str, list[int | None]] = {}
        self._begun: set[tuple[str, int]] = set()

    def label(
        self,
        counted: str,
        levels: Sequence[Level],
        level: int,
        *,
        begins: Mapping[int, int] | None = None,
        list_: str | None = None,
    ) -> str:
        """The next number at `level`, from 0, of the list whose counter is `counted`; empty if the level shows none.

        Lists that share `counted` continue each other's numbers. `begins` maps the levels at which `list_` restarts,
        once, to their first numbers.
        """
        level = max(0, min(level, len(levels) - 1, MAX_LEVELS - 1))
        if not levels:
            return ""
        values = self._values.setdefault(counted, [None] * MAX_LEVELS)
        before = values[level]
        values[level] = levels[level].start if before is None else before + 1
        for at, start in sorted((begins or {}).items()):
            if at <= level and (list_ or counted, at) not in self._begun:
                values[at] = start if at == level else None
                if at == level:
                    self._begun.add((list_ or counted, at))
        for below in range(level + 1, MAX_LEVELS):
            after = levels[below].restart_after if below < len(levels) else None
            if after is None or level < after:
                values[below] = None
        return self._shown(levels, level, values)

    def _shown(self, levels: Sequence[Level], level: int, values: Sequence[int | None]) -> str:
        own = levels[level]
        if own.format == "bullet":
            return ""

        def number(place: re.Match[str]) -> str:
            if place[1] in "nN":
                path = ".".join(number_at(at) for at in range(level + 1))
                return f"{path}." if place[1] == "N" else path
            return number_at(int(place[1]) - 1)

        def number_at(at: int) -> str:
            if at >= len(levels) or at > level:
                return ""
            value = values[at]
            written_as = "decimal" if own.legal else levels[at].format
            return spelled(levels[at].start if value is None else value, written_as)

        return _PLACE.sub(number, own.text).strip()


def labelled(label: str, text: str, gap: str = " ") -> str:
    """A paragraph with its number: 제3조(대금) as in statutes, otherwise with the list's separator."""
    if not label or not text.strip():
        return text
    text = text.lstrip()
    close = text.startswith(("(", "【", "[", "〔", "\uff08")) and "가" <= label[-1] <= "힣"
    return label + ("" if close else gap) + text


def spelled(number: int, format: str) -> str:
    """`number` written in `format`; in digits when the format does not reach so far or is unknown."""
    if format == "none":
        return ""
    write = _FORMATS.get(format)
    written = write(number) if write is not None and 0 < number < 1_000_000 else None
    return written or str(number)


def _letters(alphabet: str) -> Callable[[int], str | None]:
    """A, B, ..., Z, AA, BB: past its end, the alphabet's letters are doubled (ECMA-376, 17.18.59)."""

    def write(number: int) -> str | None:
        times, at = divmod(number - 1, len(alphabet))
        return alphabet[at] * (times + 1) if times < 10 else None

    return write


def _one_of(signs: Iterable[str]) -> Callable[[int], str | None]:
    return dict(enumerate(signs, start=1)).get


def _range(first: str, length: int) -> list[str]:
    return [chr(ord(first) + n) for n in range(length)]


def _roman(number: int) -> str | None:
    if number > 3999:
        return None
    written = ""
    for value, sign in _ROMAN:
        times, number = divmod(number, value)
        written += sign * times
    return written


def _digits(signs: str) -> Callable[[int], str]:
    return lambda number: "".join(signs[int(digit)] for digit in str(number))


def _counting(digits: str, units: str, myriad: str) -> Callable[[int], str]:
    """십이, 이백삼, 만이천: a one before a unit is left out."""

    def write(number: int) -> str:
        high, low = divmod(number, 10_000)
        written = (("" if high == 1 else write(high)) + myriad) if high else ""
        for power, unit in zip((1000, 100, 10), units, strict=True):
            digit, low = divmod(low, power)
            if digit:
                written += ("" if digit == 1 else digits[digit]) + unit
        return written + (digits[low] if low else "")

    return write


def _native(number: int) -> str | None:
    """하나, 둘, ..., 열하나, ..., 아흔아홉."""
    tens, units = divmod(number, 10)
    if tens > 9:
        return None
    return (_TENS[tens - 1] if tens else "") + (_UNITS[units - 1] if units else "")


def _hangul_syllable(number: int) -> str | None:
    row, at = divmod(number - 1, len(_SYLLABLES))
    return chr(ord(_SYLLABLES[at]) + 28 * _VOWELS[row]) if row < len(_VOWELS) else None


def _lower(write: Callable[[int], str | None]) -> Callable[[int], str | None]:
    return lambda number: (write(number) or "").lower() or None


_CIRCLED: Final = [*_range("①", 20), *_range("㉑", 15), *_range("㊱", 15)]
_LATIN: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STEMS: Final = "甲乙丙丁戊己庚辛壬癸"
_HANJA_COUNTING: Final = _counting(_HANJA_DIGITS, "千百十", "萬")
_HANGUL_COUNTING: Final = _counting(_HANGUL_DIGITS, "천백십", "만")

_FORMATS: Final[Mapping[str, Callable[[int], str | None]]] = {
    "decimal": str,
    "decimalZero": lambda number: f"{number:02d}",
    "decimalFullWidth": _digits("０１２３４５６７８９"),
    "decimalFullWidth2": _digits("０１２３４５６７８９"),
    "decimalHalfWidth": str,
    "decimalEnclosedCircle": _one_of(_CIRCLED),
    "decimalEnclosedCircleChinese": _one_of(_CIRCLED),
    "decimalEnclosedFullstop": _one_of(_range("⒈", 20)),
    "decimalEnclosedParen": _one_of(_range("⑴", 20)),
    "numberInDash": lambda number: f"- {number} -",
    "ordinal": lambda number: f"{number}{_ordinal(number)}",
    "hex": lambda number: f"{number:X}",
    "upperRoman": _roman,
    "lowerRoman": _lower(_roman),
    "upperLetter": _letters(_LATIN),
    "lowerLetter": _letters(_LATIN.lower()),
    "ganada": _letters(_SYLLABLES),
    "chosung": _letters(_JAMO),
    "koreanDigital": _digits(_HANGUL_DIGITS),
    "koreanDigital2": _digits(_HANJA_DIGITS),
    "koreanCounting": _HANGUL_COUNTING,
    "koreanLegal": _native,
    "ideographDigital": _digits(_HANJA_DIGITS),
    "japaneseDigitalTenThousand": _digits(_HANJA_DIGITS),
    "japaneseCounting": _HANJA_COUNTING,
    "chineseCounting": _HANJA_COUNTING,
    "chineseCountingThousand": _HANJA_COUNTING,
    "taiwaneseCounting": _HANJA_COUNTING,
    "taiwaneseCountingThousand": _HANJA_COUNTING,
    "taiwaneseDigital": _digits(_HANJA_DIGITS),
    "ideographTraditional": _one_of(_STEMS),
    "ideographZodiac": _one_of("子丑寅卯辰巳午未申酉戌亥"),
    "ideographEnclosedCircle": _one_of(_range("㊀", 10)),
    "aiueo": _letters(_KATAKANA),
    "aiueoFullWidth": _letters(
        "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン"
    ),
    "DIGIT": str,
    "CIRCLED_DIGIT": _one_of(_CIRCLED),
    "ROMAN_CAPITAL": _roman,
    "ROMAN_SMALL": _lower(_roman),
    "LATIN_CAPITAL": _letters(_LATIN),
    "LATIN_SMALL": _letters(_LATIN.lower()),
    "CIRCLED_LATIN_CAPITAL": _one_of(_range("Ⓐ", 26)),
    "CIRCLED_LATIN_SMALL": _one_of(_range("ⓐ", 26)),
    "HANGUL_SYLLABLE": _hangul_syllable,
    "CIRCLED_HANGUL_SYLLABLE": _one_of(_range("㉮", 14)),
    "HANGUL_JAMO": _letters(_JAMO),
    "CIRCLED_HANGUL_JAMO": _one_of(_range("㉠", 14)),
    "HANGUL_PHONETIC": _HANGUL_COUNTING,
    "IDEOGRAPH": _HANJA_COUNTING,
    "CIRCLED_IDEOGRAPH": _one_of(_range("㊀", 10)),
    "DECAGON_CIRCLE": _one_of("갑을병정무기경신임계"),
    "DECAGON_CIRCLE_HANJA": _one_of(_STEMS),
}


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
