"""The docs say what the code says: tables, diagrams, links and the checks that decisions name."""

import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import Counter, Gauge, Histogram
from pydantic import SecretStr

from infra import metrics
from infra.analysis.refusals import REMEDIES as ANALYSIS_REMEDIES
from infra.documents.refusals import REMEDIES
from infra.settings import CONCERNS, environment_names
from schemas.collections import CollectionSettings
from schemas.diagram import BLOCKS, mermaid, renewed
from schemas.kinds.indexing import Corpus, DocumentFormat
from schemas.kinds.registry import KINDS
from schemas.lifecycle import MOVES, TERMINAL, JobState
from schemas.version import version

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
EVERY_PAGE = [*PAGES, *(path for folder in (".", "benchmarks", "examples") for path in (ROOT / folder).glob("*.md"))]
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
ROOMS = ("schemas", "infra", "producers", "gateway", "consumers")


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of every table row whose first cell is code."""
    lines = (line for line in text.splitlines() if line.startswith("| `"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def sources() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def test_the_diagram_draws_exactly_the_legal_moves() -> None:
    arrows = set(re.findall(r"^    (\w+) --> (\w+): ", mermaid(), re.MULTILINE))
    assert arrows == {(old.value, new.value) for old, moves in MOVES.items() for new in moves}
    ends = set(re.findall(r"^    (\w+) --> \[\*\]$", mermaid(), re.MULTILINE))
    assert ends == {state.value for state in TERMINAL}


def test_a_label_of_the_diagram_has_no_second_colon() -> None:
    assert all(line.count(":") <= 1 for line in mermaid().splitlines())


@pytest.mark.parametrize(("page", "blocks"), [("lifecycle.md", set(BLOCKS)), ("flow.md", {"diagram"})])
def test_generated_blocks_are_renewed(page: str, blocks: set[str]) -> None:
    text = read(page)
    assert set(re.findall(r"<!-- generated: (\w+) -->", text)) == blocks
    assert renewed(text) == text, "run: make docs"


def test_the_life_cycle_page_speaks_of_every_state() -> None:
    states = {cells[0].split("`")[1] for cells in rows(read("lifecycle.md").partition("<!-- generated")[0])}
    assert states == {state.value for state in JobState}


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    documented = {
        cells[0].strip("`"): (cells[1], cells[2]) for cells in rows(read("observability.md")) if len(cells) == 4
    }
    kinds = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
    defined = {}
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            name = metric._name + ("_total" if isinstance(metric, Counter) else "")
            defined[name] = (kinds[type(metric)], ", ".join(metric._labelnames))
    assert documented == defined


def test_every_log_event_is_documented_with_its_level() -> None:
    text = sources()
    found = {(event, level) for level, event in re.findall(r'\blog\.(\w+)\(\s*"([^"]+)"', text)}
    found |= {(event, "warning") for event in re.findall(r'\bpatiently\([^"]*event="([^"]+)"', text)}
    documented = {(cells[0].strip("`"), cells[1]) for cells in rows(read("observability.md")) if len(cells) == 3}
    assert documented == found


def shown(default: object) -> str:
    """A default value as the docs write it."""
    match default:
        case None:
            return "none"
        case bool():
            return f"`{str(default).lower()}`"
        case SecretStr():
            return shown(default.get_secret_value())
        case timedelta() if default.days and default == timedelta(days=default.days):
            return f"`P{default.days}D`"
        case timedelta():
            return f"`{default.total_seconds():g}`"
        case "" | dict():
            return "empty"
        case _:
            return f"`{default}`"


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {cells[0].strip("`"): cells[1] for cells in rows(read("settings.md"))}
    read_directly = set(re.findall(r'os\.environ\.get\("(WELIP_\w+)"\)', sources()))
    assert set(documented) == environment_names() | read_directly
    for concern in CONCERNS:
        prefix = concern.model_config.get("env_prefix", "")
        for name, field in concern.model_fields.items():
            variable = field.validation_alias if isinstance(field.validation_alias, str) else f"{prefix}{name}".upper()
            assert documented[variable] == shown(field.default), variable


def test_every_setting_of_a_collection_is_documented_with_its_default_and_whether_it_indexes_again() -> None:
    def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
        nested = ((f"{above}{name}", value) for name, value in settings.items())
        return {
            key: shown_value
            for name, value in nested
            for key, shown_value in (flat(value, f"{name}.") if isinstance(value, dict) else {name: value}).items()
        }

    settings = CollectionSettings()
    again = flat(settings.shapes_vectors())
    documented = {cells[0].strip("`"): cells[1:3] for cells in rows(read("retrieval.md")) if "." in cells[0]}
    assert documented == {
        name: [shown(value or "" if isinstance(value, list | tuple) else value), "yes" if name in again else "no"]
        for name, value in flat(settings.model_dump()).items()
    }


def test_every_format_is_documented() -> None:
    documented = {cells[0].strip("`") for cells in rows(read("documents.md").partition("## Encodings")[0])}
    corpora = get_args(Corpus.model_fields["format"].annotation)
    assert documented == {*get_args(DocumentFormat), *corpora}


def test_every_reason_to_refuse_a_document_is_documented() -> None:
    _, _, section = read("documents.md").partition("## When a document is refused")
    documented = {cells[0].strip("`") for cells in rows(section)}
    folders = ("consumers/stages/indexing", "infra/corpora")
    stages = "\n".join(path.read_text(encoding="utf-8") for one in folders for path in (ROOT / one).glob("*.py"))
    raised = re.findall(r'Document(?:Refused|Error)\([^)]*?\bcode="(\w+)"', stages)
    assert documented == {*REMEDIES, *ANALYSIS_REMEDIES, *raised}


def test_every_kind_is_documented_with_its_stages_and_pools() -> None:
    documented = {cells[0].strip("`"): cells[1] for cells in rows(read("kinds.md").partition("\n## ")[0])}
    assert documented == {
        kind.name: ", ".join(f"`{name}` {stage.pool}" for name, stage in kind.stages.items()) for kind in KINDS.values()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_an_input_and_a_result_is_documented(kind: str) -> None:
    sections = re.split(r"^## ", read("kinds.md"), flags=re.MULTILINE)
    (section,) = [s for s in sections if s.startswith(f"`{kind}`")]
    models = [KINDS[kind].input, KINDS[kind].result]
    fields = {field for model in models if model is not None for field in model.model_fields}
    missing = {field for field in fields if not re.search(rf'[`"]{field}[`"]', section)}
    assert not missing


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def targets(page: Path) -> list[str]:
    """The targets of a page's links, except those to other sites."""
    return re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in targets(page):
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        assert aim.exists(), target
        assert not anchor or anchor in anchors(aim), target


@pytest.mark.parametrize("page", [page for page in EVERY_PAGE if page not in DECISIONS], ids=lambda page: page.stem)
def test_files_that_a_page_names_exist(page: Path) -> None:
    """Decisions keep the names of their day."""
    named = re.findall(r"`((?:\w+/)+(?:[\w-]+\.\w+)?)`", page.read_text(encoding="utf-8"))
    ours = [name for name in named if name.partition("/")[0] in {*ROOMS, "tests", "docs", "benchmarks", "examples"}]
    assert [name for name in ours if not (ROOT / name).exists()] == []


def prose(page: Path) -> list[tuple[int, str]]:
    """The lines of a page outside tables and code, with their numbers."""
    lines, fenced = [], False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        if not (fence or fenced or line.startswith("|")):
            lines.append((number, line))
    return lines


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_of_prose_is_over_160_characters(page: Path) -> None:
    over = [f"{page.name}:{number} has {len(line)}" for number, line in prose(page) if len(line) > 160]
    assert not over


def test_the_version_stands_in_one_place() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert version() == stated
    assert f'"{stated}"' not in sources(), "read it with schemas.version"
    _, _, newest = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n## ")
    assert newest.startswith((f"[Unreleased] {stated}\n", f"[{stated}]"))


def test_the_changelog_says_nothing_twice() -> None:
    entries = re.findall(r"^- (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    headings = re.findall(r"^###? (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(set(entries)) == len(entries)
    assert len(set(headings)) == len(headings)


def linked(page: Path) -> set[Path]:
    """The files and folders that a page links to, without anchors."""
    return {(page.parent / target.partition("#")[0]).resolve() for target in targets(page)}


def test_every_page_is_in_the_index() -> None:
    pages = {page for page in PAGES if page.parent == DOCS} - {DOCS / "README.md"}
    assert pages - linked(DOCS / "README.md") == set(), "give each page of docs/ a line in docs/README.md"
    assert DOCS / "decisions" in linked(DOCS / "README.md")


@pytest.mark.parametrize("readme", ["README.md", "README.ko.md"])
@pytest.mark.parametrize("page", ["README.md", "flow.md", "tutorial.md", "kinds.md"])
def test_what_a_newcomer_looks_for_is_one_click_away(readme: str, page: str) -> None:
    assert DOCS / page in linked(ROOT / readme)


def test_the_glossary_is_in_order_and_has_the_words_of_the_catalogue() -> None:
    for section in read("glossary.md").split("\n## ")[1:]:
        words = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")][2:]
        assert words == sorted(words)
    catalogue = {"born", "spoken", "standing", "settled", "sealed", "building", "built", "leftover", "generation"}
    work = {"lease", "epoch", "lane", "summons", "carry", "round", "key", "fence", "outbox"}
    told = set(re.findall(r"^\| ([a-z]+) \|", read("glossary.md"), re.MULTILINE))
    assert catalogue | work <= told


def contracts() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]}


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_ends_with_a_check_that_exists(page: Path) -> None:
    *_, last = re.split(r"^\*\*", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    title, _, body = last.partition("**")
    assert title == "Enforced by."
    checks = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", body)
    imports = re.findall(r'import contract "([^"]+)"', body)
    assert checks or imports
    for file, test in checks:
        assert re.search(rf"^ *(async )?def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), test
    assert set(imports) <= contracts()


def test_no_two_decisions_have_one_number() -> None:
    numbers = [page.name[:4] for page in DECISIONS]
    assert numbers == sorted(set(numbers))
    assert all(number.isdecimal() for number in numbers)
