"""A benchmark's own tasks, without any process: what the model is asked, and what becomes of what it says."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from consumers.stages.benchmark import files
from consumers.stages.registry import stage
from schemas.errors import DependencyUnavailable, EngineClosed, EngineRefused, InvalidInput, JobError, NotFound
from schemas.kinds.benchmark import BenchmarkInput
from schemas.kinds.benchmark.result import BenchmarkResult
from schemas.models import Models, TransformersModel
from schemas.outcomes import Done, Next
from schemas.text import Likelihood, TextOptions
from tests.unit.ports_in_memory import World
from tests.unit.texts_in_memory import EchoModel

MODELS = Models((TransformersModel(name="tiny", engine="transformers", weights="/models/tiny"),))
QUESTIONS = [
    {"question": "수도는?", "choices": ["부산", "서울", "대구"], "answer": "서울"},
    {"question": "산은?", "choices": ["한라산", "설악산"], "answer": "B", "source": "ignored"},
    {"question": "섬은?", "choices": ["제주도", "독도"], "answer": 1},
]


@dataclass
class Likely(EchoModel):
    """Finds a text as likely as `says` makes of it; an error is raised. `asked`: every call."""

    says: Callable[[str, str], float | JobError]
    asked: list[tuple[str, list[str]]] = field(default_factory=list)

    async def likelihoods(self, context: str, continuations: Sequence[str], options: TextOptions) -> list[Likelihood]:
        self.asked.append((context, list(continuations)))
        found = []
        for one in continuations:
            said = self.says(context, one)
            if isinstance(said, JobError):
                raise said
            found.append(Likelihood(said, False, len(one), cut="한" in context))
        return found


def world(says: Callable[[str, str], float | JobError]) -> tuple[World, Likely]:
    model = Likely(says)
    return World(text_model=model, models=MODELS), model


def lines(rows: Sequence[object]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def choices(there: World, rows: Sequence[object] = QUESTIONS, **changes: Any) -> dict[str, Any]:
    return {"type": "multiple_choice", "file": there.upload(lines(rows), "q.jsonl"), **changes}


async def planned(there: World, tasks: list[dict[str, Any]], **more: Any) -> Next:
    job = there.job("benchmark", "plan", {"model": "tiny", "tasks": tasks, **more})
    outcome = await stage("benchmark", "plan")(job, there.ports)
    assert isinstance(outcome, Next)
    return outcome


async def benchmarked(there: World, tasks: list[dict[str, Any]], **more: Any) -> BenchmarkResult:
    carry = (await planned(there, tasks, **more)).carry
    job = there.job("benchmark", "run", {"model": "tiny", "tasks": tasks, **more}, carry)
    outcome = await stage("benchmark", "run")(job, there.ports)
    assert isinstance(outcome, Done)
    return BenchmarkResult.model_validate(outcome.result)


def samples(there: World, result: BenchmarkResult) -> list[dict[str, Any]]:
    return [json.loads(line) for line in there.blobs.data[there.files.named[result.samples].blob].splitlines()]


async def test_letters_are_scored_after_the_choices_that_they_stand_for() -> None:
    there, model = world(lambda _, end: -1.0 if end == " B" else -2.0)
    result = await benchmarked(there, [choices(there)])
    assert model.asked[0] == ("수도는?\nA. 부산\nB. 서울\nC. 대구\nAnswer:", [" A", " B", " C"])
    [task] = result.tasks
    assert (task.items, task.metrics["acc"].value, task.metrics["acc"].stderr) == (3, 1.0, 0.0)
    assert set(task.metrics) == {"acc"}
    assert result.model.startswith("tiny@")


async def test_accuracy_has_the_standard_error_of_a_sample() -> None:
    there, _ = world(lambda _, end: -1.0 if end == " A" else -2.0)
    rows = [{"question": "x?", "choices": ["a", "b"], "answer": at % 2} for at in range(4)]
    acc = (await benchmarked(there, [choices(there, rows)])).tasks[0].metrics["acc"]
    assert acc.value == 0.5
    assert acc.stderr == pytest.approx(math.sqrt((4 * 0.25 / 3) / 4))


async def test_texts_of_choices_are_scored_plain_and_by_their_length() -> None:
    there, model = world(lambda _, end: -4.0 if "long" in end else -3.0)
    rows = [{"question": "q", "choices": ["short", "a long answer"], "answer": 1}]
    result = await benchmarked(there, [choices(there, rows, answer_as="text", prompt="{question}:")])
    assert model.asked == [("q:", [" short", " a long answer"])]
    metrics = result.tasks[0].metrics
    assert (metrics["acc"].value, metrics["acc_norm"].value) == (0.0, 1.0)
    assert metrics["acc"].stderr is None
    [line] = samples(there, result)
    assert (line["answer"], line["chosen"], line["correct"], line["logprobs"]) == (1, 0, False, [-3.0, -4.0])


async def test_a_question_that_holds_a_place_of_the_prompt_is_left_as_it_is() -> None:
    there, model = world(lambda *_: -1.0)
    rows = [{"question": "what is {choices}?", "choices": ["a", "{question}"], "answer": 0}]
    await benchmarked(there, [choices(there, rows)])
    assert model.asked[0][0] == "what is {choices}?\nA. a\nB. {question}\nAnswer:"


async def test_perplexity_is_told_by_tokens_words_and_bytes() -> None:
    there, model = world(lambda _, text: -2.0 * len(text))
    rows = [{"text": "ab cd"}, {"text": "efg"}]
    task = {"type": "perplexity", "file": there.upload(lines(rows), "t.jsonl")}
    [told] = (await benchmarked(there, [task])).tasks
    assert model.asked == [("", ["ab cd"]), ("", ["efg"])]
    assert told.metrics["perplexity"].value == pytest.approx(math.exp(2), rel=1e-6)
    assert told.metrics["perplexity"].stderr == pytest.approx(0.0, abs=1e-6)
    assert told.metrics["word_perplexity"].value == pytest.approx(math.exp(16 / 3), rel=1e-6)
    assert told.metrics["byte_perplexity"].value == pytest.approx(math.exp(2), rel=1e-6)
    assert told.metrics["bits_per_byte"].value == pytest.approx(2 / math.log(2), rel=1e-6)


async def test_the_error_of_a_perplexity_is_that_of_a_ratio_of_sums() -> None:
    there, _ = world(lambda _, text: -1.0 if text == "aa" else -5.0)
    task = {"type": "perplexity", "file": there.upload(lines([{"text": "aa"}, {"text": "bb"}]), "t.jsonl")}
    told = (await benchmarked(there, [task])).tasks[0].metrics["perplexity"]
    rate = 6 / 4
    error = math.sqrt(2 * ((1 - 2 * rate) ** 2 + (5 - 2 * rate) ** 2)) / 4
    assert told.value == pytest.approx(math.exp(rate), rel=1e-6)
    assert told.stderr == pytest.approx(math.exp(rate) * error, rel=1e-6)


async def test_a_perplexity_that_no_number_holds_is_left_out() -> None:
    there, _ = world(lambda *_: -100_000.0)
    task = {"type": "perplexity", "file": there.upload("띄어쓰기없는글".encode(), "t.txt")}
    metrics = (await benchmarked(there, [task])).tasks[0].metrics
    assert set(metrics) == {"bits_per_byte"}


async def test_plain_text_is_cut_at_the_ends_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "DOCUMENT_CHARS", 10)
    there, model = world(lambda *_: -1.0)
    text = "한라산은\n높다\n제주도에있는산이다그렇다\n\n\n끝"
    task = {"type": "perplexity", "file": there.upload(text.encode("utf-8-sig"), "산.txt")}
    await benchmarked(there, [task])
    documents = [document for _, [document] in model.asked]
    assert "".join(documents) == text
    assert documents[0] == "한라산은\n높다\n"
    assert all(len(document) <= 10 for document in documents)


async def test_what_was_said_before_is_not_asked_again() -> None:
    there, model = world(lambda *_: -1.0)
    first = await benchmarked(there, [choices(there)])
    again = await benchmarked(there, [choices(there, name="again")])
    assert (first.asked, first.reused, again.asked, again.reused) == (3, 0, 0, 3)
    assert len(model.asked) == 3
    assert again.tokens == first.tokens
    assert again.tasks[0].cut == first.tasks[0].cut == 1
    fresh = await benchmarked(there, [choices(there)], reuse=False)
    assert (fresh.asked, fresh.reused) == (3, 0)


async def test_a_try_after_another_asks_only_what_is_missing() -> None:
    away = [DependencyUnavailable("the engine is away")]
    there, model = world(lambda context, _: away.pop() if away and "섬" in context else -1.0)
    tasks = [choices(there)]
    carry = (await planned(there, tasks, reuse=False)).carry
    job = there.job("benchmark", "run", {"model": "tiny", "tasks": tasks, "reuse": False}, carry)
    with pytest.raises(DependencyUnavailable):
        await stage("benchmark", "run")(job, there.ports)
    kept = len(there.judgements.replies)
    outcome = await stage("benchmark", "run")(there.again(job), there.ports)
    assert isinstance(outcome, Done)
    assert kept == 2
    assert (outcome.result["asked"], outcome.result["reused"]) == (1, 2)
    assert len(model.asked) == 4


async def test_another_model_is_asked_anew() -> None:
    there, model = world(lambda *_: -1.0)
    await benchmarked(there, [choices(there)])
    there.models = Models((TransformersModel(name="tiny", engine="transformers", weights="/models/other"),))
    await benchmarked(there, [choices(there)])
    assert len(model.asked) == 6


async def test_an_item_that_the_engine_refuses_is_counted_with_its_reason() -> None:
    long = EngineRefused("it is too long", code="prompt_too_long")
    there, _ = world(lambda context, end: long if "수도" in context else (-1.0 if end == " B" else -2.0))
    result = await benchmarked(there, [choices(there)])
    [task] = result.tasks
    assert (task.items, task.unscored, task.metrics["acc"].value) == (2, {"prompt_too_long": 1}, 1.0)
    assert task.messages == {"prompt_too_long": "it is too long"}
    assert samples(there, result)[0] == {"task": "accuracy", "row": 1, "unscored": "prompt_too_long"}


@pytest.mark.parametrize(
    "error",
    [
        EngineClosed("the key is wrong"),
        EngineRefused("no probabilities", code="likelihoods_unsupported"),
        EngineRefused("each is too long", code="prompt_too_long"),
    ],
)
async def test_what_meets_every_item_ends_the_job(error: EngineRefused) -> None:
    there, _ = world(lambda *_: error)
    with pytest.raises(EngineRefused) as raised:
        await benchmarked(there, [choices(there)])
    assert raised.value is error


async def test_only_the_first_items_are_asked_where_there_is_a_limit() -> None:
    there, model = world(lambda *_: -1.0)
    result = await benchmarked(there, [choices(there)], limit=2)
    assert [context.partition("?")[0] for context, _ in model.asked] == ["수도는", "산은"]
    assert result.tasks[0].items == 2
    assert there.reports[-1][:2] == (2, 2)


async def test_lines_that_are_no_items_are_named_before_anything_is_asked() -> None:
    there, model = world(lambda *_: -1.0)
    rows = [*QUESTIONS, {"question": "x", "choices": ["a", "b"], "answer": "C"}, {"question": "y", "choices": ["a"]}]
    with pytest.raises(InvalidInput, match=r"line 4: .*`answer` is 'C'.*; line 5: choices: ") as raised:
        await planned(there, [choices(there, rows)])
    assert raised.value.reason == "dataset_invalid"
    assert not model.asked


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (b"", "a.jsonl", "dataset_empty"),
        (b"\n \n", "a.txt", "dataset_empty"),
        (b"\xff\xfe\x00", "a.txt", "dataset_undecodable"),
        (b"{", "a.jsonl", "dataset_invalid"),
    ],
)
async def test_a_file_that_holds_nothing_to_measure_is_refused(data: bytes, name: str, code: str) -> None:
    there, _ = world(lambda *_: -1.0)
    with pytest.raises(InvalidInput) as raised:
        await planned(there, [{"type": "perplexity", "file": there.upload(data, name)}])
    assert raised.value.reason == code


async def test_a_file_that_is_gone_is_told() -> None:
    there, _ = world(lambda *_: -1.0)
    with pytest.raises(NotFound):
        await planned(there, [{"type": "perplexity", "file": f"file_{'0' * 32}"}])


async def test_figures_reach_the_tracker_and_samples_do_not() -> None:
    there, _ = world(lambda _, end: -1.0 if end == " B" else -2.0)
    result = await benchmarked(there, [choices(there)], title="July")
    assert result.tracking is not None
    assert result.tracking.experiment == "t/tiny"
    [run] = there.tracker.runs.values()
    assert run.name == "July"
    assert run.tags["welip.samples"] == result.samples
    logged = there.tracker.metrics[""]
    assert (logged["accuracy.acc"], logged["accuracy.acc.stderr"], logged["accuracy.items"]) == (1.0, 0.0, 3.0)
    assert not there.tracker.files


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ({"type": "multiple_choice", "prompt": "Answer:"}, "must hold {question}"),
        ({"type": "multiple_choice", "prompt": "{question}"}, "must hold {choices}"),
        ({"type": "dance"}, "dance"),
    ],
)
def test_a_task_that_cannot_be_asked_is_refused_at_submission(task: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        BenchmarkInput.model_validate({"tasks": [{"file": f"file_{'0' * 32}", **task}]})


def test_two_tasks_of_one_name_are_refused() -> None:
    task = {"type": "perplexity", "file": f"file_{'0' * 32}"}
    with pytest.raises(ValueError, match="two tasks have the name 'perplexity'"):
        BenchmarkInput.model_validate({"tasks": [task, task]})
