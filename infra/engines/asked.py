"""What a question asks for: a person, a time, a place, an amount, a reason, a name; and which sentences bring that."""

from collections.abc import Sequence
from enum import StrEnum, auto
from itertools import pairwise
from typing import Final

from infra.engines.passages import Reading, Word


class Kind(StrEnum):
    """What an answer has to contain."""

    PERSON = auto()
    TIME = auto()
    PLACE = auto()
    AMOUNT = auto()
    REASON = auto()
    NAME = auto()
    THING = auto()


_WORDS: Final = {
    "누구": Kind.PERSON,
    "언제": Kind.TIME,
    "어디": Kind.PLACE,
    "왜": Kind.REASON,
    **dict.fromkeys(["얼마", "얼마나", "몇", "며칠"], Kind.AMOUNT),
    **dict.fromkeys(["무엇", "뭐", "무슨", "어떤", "어느"], Kind.THING),
}
"""Question words, in the forms that Kiwi gives them."""

_HEADS: Final = {
    **dict.fromkeys(["사람", "인물", "주인공"], Kind.PERSON),
    **dict.fromkeys(["이름", "명칭", "별명"], Kind.NAME),
    **dict.fromkeys(["해", "날", "날짜", "연도", "년도", "시기", "시간", "시대", "생일"], Kind.TIME),
    **dict.fromkeys(["곳", "장소", "위치", "나라", "도시", "지역", "지방", "수도"], Kind.PLACE),
    **dict.fromkeys(["높이", "길이", "넓이", "깊이", "무게", "크기", "개수", "인구", "면적", "거리"], Kind.AMOUNT),
    **dict.fromkeys(["가격", "비용", "금액", "요금", "나이", "온도", "속도", "비율", "기간"], Kind.AMOUNT),
    **dict.fromkeys(["이유", "까닭", "원인"], Kind.REASON),
}
"""Nouns that a question may end with instead of a question word, or that one may belong to: 어느 곳, 이름은 무엇."""

_TO_BE_ASKED: Final = frozenset(["하", "되", "있", "없", "이", "것", "수", "때", "등", "알", "알리", "주", "궁금"])
_HOW: Final = frozenset(["어떻", "어떻게", "무어"])
ASKING: Final = _TO_BE_ASKED | _HOW | frozenset(_WORDS)
"""Words that questions are made of, not about."""

_ASKING_TAGS: Final = frozenset(["NP", "MM", "MAG", "NNG", "NR", "IC"])
_CLOSING_TAGS: Final = frozenset(["JX", "JKS", "JKO", "VCP", "EP", "EF", "SF", "SSO", "SSC", "SW"])
_YEARS: Final = frozenset(["년", "월", "세기", "년대"])
_DATES: Final = _YEARS | {"일", "시", "분", "연도", "년도"}
_UNIT_TAGS: Final = frozenset(["NNB", "SL", "SW", "NR"])
_FEW: Final = frozenset(["한", "두", "세", "네", "석", "넉", "서", "너", "여러", "반"])
_FEW_DAYS: Final = frozenset(
    ["하루", "이틀", "사흘", "나흘", "닷새", "엿새", "이레", "여드레", "아흐레", "열흘", "보름"]
)
_LASTING: Final = frozenset(["동안", "기간", "시간", "나이", "오래"])
_AT: Final = frozenset(["에", "에서", "으로", "로"])
_CAUSES: Final = frozenset(["때문", "까닭", "이유", "덕분", "탓", "원인", "위하", "따르", "말미암", "인하", "의하"])
_CAUSAL_ENDINGS: Final = frozenset(
    ["어서", "아서", "므로", "으므로", "니까", "으니까", "느라", "려고", "으려고", "도록"]
)
_CALLING: Final = frozenset(
    ["부르", "불리", "일컫", "칭하", "가리키", "뜻하", "이름", "명칭", "별명", "뜻", "의미", "말"]
)
_SAID: Final = frozenset(["라고", "이라고", "이라", "라"])
_QUOTES: Final = frozenset("‘’“”《》〈〉「」『』<>\"'")


class Asked:
    """What one question asks for. `kind` is None when it asks for nothing in particular, as for yes or no."""

    def __init__(self, question: Reading) -> None:
        self._question = question
        self.kind, self._unit = _asked(question.words)
        self._lasting = any(word.form in _LASTING for word in question.words)

    def brought(self, sentence: Reading) -> float:
        """How certainly the sentence contains what is asked, 0..1; words of the question itself do not count."""
        words = sentence.words
        match self.kind:
            case Kind.AMOUNT:
                return max((self._amount(word, following) for word, following in pairwise(words)), default=0.0)
            case Kind.TIME:
                return max((self._time(word, following) for word, following in pairwise(words)), default=0.0)
            case Kind.PLACE:
                return max((self._place(word, following) for word, following in pairwise(words)), default=0.0)
            case Kind.PERSON:
                return self._named(words)
            case Kind.NAME:
                return 1.0 if any(_calls(word) for word in words) else self._named(words) / 2
            case Kind.REASON:
                return max((_causes(word) for word in words), default=0.0)
            case Kind.THING:
                return float(any(self._new(word) for word in words))
        return 1.0

    def _new(self, word: Word) -> bool:
        return word.noun and not self._question.holds(word.form)

    def _counted(self, word: Word) -> bool:
        number = word.tag in ("SN", "NR") or (word.tag == "MM" and word.form in _FEW)
        return number and word.form not in self._question.forms

    def _named(self, words: Sequence[Word]) -> float:
        new = [word for word in words if self._new(word)]
        if any(word.tag in ("NNP", "SL", "SH") for word in new):
            return 1.0
        return 0.3 if new else 0.0

    def _place(self, word: Word, following: Word) -> float:
        if word.tag == "SN" or not self._new(word):
            return 0.0
        at = following.tag == "JKB" and following.form in _AT
        return (0.5 if word.tag == "NNP" else 0.2) + (0.5 if at else 0.0)

    def _time(self, word: Word, following: Word) -> float:
        if self._counted(word) and following.form in _DATES:
            return 1.0
        return 0.7 if word.form in _FEW_DAYS else 0.0

    def _amount(self, word: Word, following: Word) -> float:
        days = self._unit in ("일", "며칠")
        if word.form in _FEW_DAYS and (days or self._unit is None):
            return 1.0
        if not self._counted(word) or following.form == "번째":
            return 0.0
        if following.form == self._unit or (days and following.form == "일"):
            return 1.0
        if following.tag not in _UNIT_TAGS or word.tag == "MM":
            return 0.3
        return 0.9 if self._unit is None and (self._lasting or following.form not in _DATES) else 0.4


def _asked(words: Sequence[Word]) -> tuple[Kind | None, str | None]:
    """What the last question word asks for, else the noun that the question ends with; and the unit of what is counted.

    The last one, because an earlier one may belong to a title or a clause.
    """
    for at, word in reversed(list(enumerate(words))):
        kind = _WORDS.get(word.form) if word.tag in _ASKING_TAGS else None
        if kind is Kind.THING:
            return _thing(words, at), None
        if kind is not None:
            unit = words[at + 1].form if word.form == "몇" and at + 1 < len(words) else None
            if unit in _YEARS:
                return Kind.TIME, None
            return kind, "며칠" if word.form == "며칠" else unit
    said = [word for word in words if word.tag not in _CLOSING_TAGS]
    return (_HEADS.get(said[-1].form, Kind.THING), None) if said and said[-1].noun else (None, None)


def _thing(words: Sequence[Word], at: int) -> Kind:
    """What 무엇, 어느 and their like ask for: 뭐라고 부르는가, 어느 곳, 이름은 무엇."""
    after, before = words[at + 1 : at + 5], words[max(at - 2, 0) : at]
    if any(word.form in _CALLING or word.form in _SAID for word in after):
        return Kind.NAME
    return next((_HEADS[word.form] for word in (*after[:2], *before) if word.form in _HEADS), Kind.THING)


def _calls(word: Word) -> bool:
    return word.form in _CALLING or word.form in _QUOTES or word.tag == "JKQ"


def _causes(word: Word) -> float:
    if word.form in _CAUSES:
        return 1.0
    return 0.7 if word.tag == "EC" and word.form in _CAUSAL_ENDINGS else 0.0
