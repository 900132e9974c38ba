"""The pages that trainings and searches leave: what they show, in both languages, and that nothing breaks out."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from string import Formatter
from typing import Any, Literal
from uuid import UUID

import pytest

from consumers.pages.plots import MOST_POINTS, Axis, Series, figure, plot, thinned
from consumers.scoring.doubts import SENTENCES as OF_EVALUATION
from consumers.stages.ports import Evaluation
from consumers.stages.search.page import page as search_page
from consumers.stages.search.remarks import SENTENCES as OF_SEARCH
from consumers.stages.search.trials import EndedTrial
from consumers.stages.training.page import page as training_page
from consumers.stages.training.page import values
from consumers.stages.training.remarks import SENTENCES as OF_TRAINING
from schemas.kinds.search import SearchInput, SearchResult, State
from schemas.kinds.training import DataReport, TrainingInput, TrainingMetrics, TrainingResult
from schemas.remarks import Remark, Sentences, told
from tests.unit.scripted_trainer import CHOSEN

METRICS = TrainingMetrics(
    steps=100,
    epochs=2,
    train_loss=0.5,
    validation_loss_before=3.2,
    validation_loss=1.44,
    tokens_per_s=880,
    seconds=70,
    peak_memory_bytes=2_000_000_000,
)
RESULT = TrainingResult(
    adapter=f"file_{'a' * 32}",
    model=None,
    registered=False,
    metrics=METRICS,
    data=DataReport(rows=58, validation_rows=6, duplicates=2, overlapping=0, tokens=4_920, longest=90),
    settings=CHOSEN,
    metrics_file=f"file_{'b' * 32}",
    resumes=1,
    warnings=[],
)
LOGGED = [
    {"step": 0, "eval_loss": 3.2},
    *({"step": step, "loss": 3 / step, "learning_rate": 1e-4, "grad_norm": 1.0} for step in range(1, 40)),
    {"step": 30, "saved": True},
    {"step": 30, "resumed": True},
    *({"step": step, "loss": 2 / step, "eval_loss": 1.4, "tokens_per_s": 90.0} for step in range(31, 100)),
    {"step": 100, "eval_loss": float("nan")},
]


class Balanced(HTMLParser):
    """Raises for a tag that is closed without having been opened, and collects the text."""

    EMPTY = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert not any(name.startswith("on") for name, _ in attrs), tag
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        return None

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def shown(html: str) -> str:
    """The text of a page that is well-formed, and neither runs a script nor loads anything."""
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert not parser.open
    assert "<script" not in html
    assert not re.search(r'(src|href)="|url\(|@import', html)
    return " ".join("".join(parser.text).split())


@pytest.mark.parametrize(("language", "words"), [("ko", "학습 보고서"), ("en", "Training report")])
def test_the_page_of_a_training_tells_what_was_recorded(language: str, words: str) -> None:
    request = TrainingInput.model_validate({"dataset": f"file_{'c' * 32}", "language": language})
    text = shown(training_page(request, RESULT, LOGGED))
    assert words in text
    for shows in ("1.4400", "0.5000", "58", "4,920", "880", f"file_{'c' * 32}"):
        assert shows in text, shows


@pytest.mark.parametrize("sentences", [OF_TRAINING, OF_SEARCH, OF_EVALUATION])
def test_a_remark_says_the_same_in_both_languages(sentences: Sentences) -> None:
    assert sentences["ko"].keys() == sentences["en"].keys()
    for name, english in sentences["en"].items():
        korean = sentences["ko"][name]
        assert {field for _, field, _, _ in Formatter().parse(korean)} - {None} == {
            field for _, field, _, _ in Formatter().parse(english)
        } - {None}, name
        assert re.search("[가-힣]", korean), name
        assert not re.search("[가-힣]", english), name


@pytest.mark.parametrize("language", ["ko", "en"])
def test_a_page_tells_its_remarks_in_its_own_language_alone(language: Literal["ko", "en"]) -> None:
    common = {"dataset": f"file_{'c' * 32}", "language": language}
    training = [Remark(sentence="masked_away", values={"count": 1_200, "lost": 3}), Remark(sentence="none_held_out")]
    search = [Remark(sentence="failed", values={"count": 2, "codes": "<script>"})]
    pages = {
        training_page(TrainingInput.model_validate(common), RESULT, LOGGED, training): (training, OF_TRAINING),
        search_page(SearchInput.model_validate({**common, "space": SPACE}), [], found([], []), search): (
            search,
            OF_SEARCH,
        ),
    }
    for html, (remarks, sentences) in pages.items():
        text = shown(html)
        for one in remarks:
            said = {name: told([one], sentences, name)[0] in text for name in ("ko", "en")}
            assert said == {"ko": language == "ko", "en": language == "en"}, one


def test_a_step_that_was_trained_again_is_drawn_once_and_what_is_no_number_is_not() -> None:
    logged = [{"step": 1, "loss": 2.0}, {"step": 1, "loss": 1.5}, {"step": 2, "loss": float("nan")}]
    assert values(logged, "loss") == [(1.0, 1.5)]


def ended(number: int, state: State, *told: float, rank: int = 8) -> EndedTrial:
    params = {"learning_rate": 1e-4 * (number + 1), "rank": rank}
    losses = [Evaluation(step, 3.0 / step, datetime.now(UTC)) for step in (1, 2, 3)]
    training = RESULT if state == "complete" else None
    error = {"code": "out_of_memory", "message": "<b>"} if state == "failed" else None
    return EndedTrial(number, UUID(int=number), state, params, list(told) or None, losses, None, training, error)


def found(trials: Sequence[EndedTrial], best: list[int]) -> SearchResult:
    return SearchResult(
        trials=[one.view(kept=one.number in best) for one in trials],
        best=best,
        importance={"validation_loss": {"learning_rate": 0.75, "rank": 0.25}},
        model=None,
        registered=False,
        report="",
        seconds=120,
        warnings=[],
    )


SPACE = {"learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}, "rank": {"choices": [8, 16]}}


@pytest.mark.parametrize(("language", "words"), [("ko", "하이퍼파라미터 탐색 보고서"), ("en", "Hyperparameter search")])
@pytest.mark.parametrize("objectives", [["validation_loss"], ["validation_loss", "tokens_per_s"]])
def test_the_page_of_a_search_tells_of_every_trial(language: str, words: str, objectives: list[str]) -> None:
    request = SearchInput.model_validate(
        {"dataset": f"file_{'c' * 32}", "space": SPACE, "language": language, "objectives": objectives}
    )
    told = ((1.5, 90.0), (1.25, 60.0))
    trials = [
        ended(0, "complete", *told[0][: len(objectives)]),
        ended(1, "pruned"),
        ended(2, "failed"),
        ended(3, "complete", *told[1][: len(objectives)], rank=16),
        ended(4, "skipped"),
    ]
    text = shown(search_page(request, trials, found(trials, [3])))
    for said in (words, "1.2500", "1.5000", "out_of_memory", "0.75", *(f"job_{one.id.hex}" for one in trials)):
        assert said in text, said


def test_the_page_of_a_search_without_a_complete_trial_is_a_page() -> None:
    request = SearchInput.model_validate({"dataset": f"file_{'c' * 32}", "space": SPACE, "language": "en"})
    trials = [ended(0, "skipped")]
    assert "No trial is complete" in shown(search_page(request, trials, found(trials, [])))


def test_an_axis_has_a_few_round_figures_within_it() -> None:
    for low, high in ((0.0, 1.0), (0.93, 0.97), (3.0, 3.0), (-5.0, 12_000.0), (0.0, 0.0)):
        ticks = Axis([low, high]).ticks()
        assert 1 <= len(ticks) <= 8, (low, high)
        assert all(0 <= tick.at <= 100 for tick in ticks)
    powers = Axis([1e-6, 1e-2], log=True).ticks()
    assert [tick.text for tick in powers] == ["1e-06", "1e-05", "1e-04", "0.001", "0.01"]
    assert [Axis([1.0, 100.0], log=True, margin=0).place(one) for one in (1.0, 10.0, 100.0)] == [0, 50, 100]


def test_a_long_line_is_thinned_and_keeps_its_end() -> None:
    points = [(float(at), float(at)) for at in range(10_001)]
    kept = thinned(points)
    assert len(kept) <= MOST_POINTS + 1
    assert (kept[0], kept[-1]) == (points[0], points[-1])


def test_a_plot_without_points_is_none() -> None:
    assert plot("a", [Series("b", 0, [])]) is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1_204.4, "1,204"), (0.35, "0.35"), (0.0002, "2e-04"), (12.5, "12.5")]
)
def test_figures_are_short(value: float, text: str) -> None:
    assert figure(value) == text
