"""Finds the list and number of each paragraph of a DOCX document: `numbering.xml` and styles (ECMA-376, 17.9)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from docx.document import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml.ns import qn
from docx.oxml.parser import parse_xml

from infra.documents.numbering import Counters, Level

_GAPS: Final = {"nothing": "", "space": " ", "tab": " "}


@dataclass(frozen=True, slots=True)
class _List:
    """A `w:num`: its counter, its levels, the levels at which it restarts, and the level of each paragraph style."""

    counted: str
    levels: tuple[Level, ...]
    begins: Mapping[int, int]
    by_style: Mapping[str, int]


class Lists:
    """The lists of one document and their counters. Ask once for each paragraph, in document order."""

    def __init__(self, document: Document) -> None:
        self._counters = Counters()
        styles = list(document.styles.element.iter(qn("w:style")))
        self._lists = _lists(document, {_attribute(style, "w:styleId"): style for style in styles})
        self._by_style = _by_style(styles)

    def label(self, paragraph: Any) -> tuple[str, str, bool]:
        """The paragraph's number, what separates it from the text, and whether the paragraph belongs to a list."""
        properties = paragraph.find(qn("w:pPr"))
        given = properties.find(qn("w:numPr")) if properties is not None else None
        style = _value(properties, "w:pStyle") if properties is not None else None
        number, level = _number_of(given)
        inherited, its_level = self._by_style.get(style or "", (None, None))
        name = inherited if number is None else number
        found = self._lists.get(name or "")
        if found is None or not found.levels:
            return "", "", False
        if level is None:
            of_style = found.by_style.get(style or "") if number is None else None
            level = of_style if of_style is not None else its_level or 0
        label = self._counters.label(found.counted, found.levels, level, begins=found.begins, list_=name)
        return label, found.levels[min(level, len(found.levels) - 1)].gap, True


def _lists(document: Document, styles: Mapping[str | None, Any]) -> dict[str, _List]:
    root = next(
        (
            parse_xml(part.target_part.blob)
            for part in document.part.rels.values()
            if part.reltype == RELATIONSHIP_TYPE.NUMBERING and not part.is_external
        ),
        None,
    )
    if root is None:
        return {}
    abstracts = {_attribute(one, "w:abstractNumId"): one for one in root.iter(qn("w:abstractNum"))}
    numbers = {_attribute(one, "w:numId"): one for one in root.iter(qn("w:num"))}
    lists: dict[str, _List] = {}
    for name, number in numbers.items():
        key = _value(number, "w:abstractNumId")
        abstract = abstracts.get(key)
        link = _value(abstract, "w:numStyleLink") if abstract is not None else None
        if link is not None and link in styles:
            # A list style: its own `w:num` leads to the levels.
            linked, _ = _number_of(styles[link].find(f"{qn('w:pPr')}/{qn('w:numPr')}"))
            target = numbers.get(linked)
            key = _value(target, "w:abstractNumId") if target is not None else key
            abstract = abstracts.get(key, abstract)
        if name and abstract is not None:
            lists[name] = _made(key or "", abstract, number)
    return lists


def _made(counted: str, abstract: Any, number: Any) -> _List:
    levels: dict[int, Level] = {}
    by_style: dict[str, int] = {}
    begins: dict[int, int] = {}

    def add(element: Any) -> None:
        at = _whole(_attribute(element, "w:ilvl"))
        if at is not None and 0 <= at < 9:
            levels[at] = _level(element)
            if style := _value(element, "w:pStyle"):
                by_style[style] = at

    for element in abstract.findall(qn("w:lvl")):
        add(element)
    for override in number.findall(qn("w:lvlOverride")):
        for element in override.findall(qn("w:lvl")):
            add(element)
        at, start = _whole(_attribute(override, "w:ilvl")), _whole(_value(override, "w:startOverride"))
        if at is not None and start is not None:
            begins[at] = start
    blank = Level(format="none", text="")
    return _List(counted, tuple(levels.get(at, blank) for at in range(max(levels, default=-1) + 1)), begins, by_style)


def _level(element: Any) -> Level:
    start, restart = _whole(_value(element, "w:start")), _whole(_value(element, "w:lvlRestart"))
    legal = element.find(qn("w:isLgl"))
    return Level(
        format=_value(element, "w:numFmt") or "decimal",
        text=_value(element, "w:lvlText") or "",
        start=0 if start is None else start,
        restart_after=restart,
        legal=legal is not None and _attribute(legal, "w:val") not in ("0", "false", "off"),
        gap=_GAPS.get(_value(element, "w:suff") or "tab", " "),
    )


def _by_style(styles: list[Any]) -> dict[str, tuple[str | None, int | None]]:
    """The list and level that each style gives its paragraphs, its own or inherited from the style it is based on."""
    own: dict[str, tuple[str | None, int | None, str | None]] = {}
    for style in styles:
        properties = style.find(f"{qn('w:pPr')}/{qn('w:numPr')}")
        own[_attribute(style, "w:styleId") or ""] = (*_number_of(properties), _value(style, "w:basedOn"))
    found: dict[str, tuple[str | None, int | None]] = {}
    for name in own:
        number, level, based_on = own[name]
        seen = {name}
        while number is None and based_on in own and based_on not in seen:
            seen.add(based_on)
            number, above, based_on = own[based_on]
            level = above if level is None else level
        found[name] = (number, level)
    return found


def _number_of(properties: Any) -> tuple[str | None, int | None]:
    """The `w:numId` and `w:ilvl` of a `w:numPr`. An id of 0 takes a paragraph out of its style's list."""
    if properties is None:
        return None, None
    return _value(properties, "w:numId"), _whole(_value(properties, "w:ilvl"))


def _value(parent: Any, tag: str) -> str | None:
    element = parent.find(qn(tag))
    return None if element is None else _attribute(element, "w:val")


def _attribute(element: Any, name: str) -> str | None:
    value: str | None = element.get(qn(name))
    return value


def _whole(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdecimal() and len(value) < 9 else None
