"""A stage of `evaluation`: puts the scores that models gave beside the others, and publishes the answers."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from consumers.stages.context import StageJob
from consumers.stages.cutting import lines_a_slice
from consumers.stages.evaluation.judging.lines import key_of
from consumers.stages.evaluation.score import ITEMS_TYPE, PURPOSE
from consumers.stages.evaluation.similarity import METRIC as SIMILARITY
from consumers.stages.evaluation.slicing import judged_metrics, slice_of
from consumers.stages.lines import read_lines
from consumers.stages.naming import judge_name
from consumers.stages.ports import ChildSummary, Ports, needs
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.carries import Scored, Source, ToCollect
from schemas.kinds.evaluation.judge import CEILING, NOT_APPLICABLE, Scores, SliceResult
from schemas.kinds.evaluation.result import Judged
from schemas.outcomes import Next, Outcome

NEEDS: Final = needs(Ports.blobs, Ports.children, Ports.files, Ports.judgements)

LINES_AT_ONCE: Final = 200


@dataclass
class _Told:
    """What the children told, by their keys; of those that failed the code."""

    answers: dict[str, dict[str, Scores]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    calls: int = 0
    cached: int = 0

    def take(self, child: ChildSummary, result: SliceResult | None) -> None:
        if result is None:
            error = child.error or {"code": "cancelled", "message": "the slice was cancelled"}
            self.failed[child.key] = error["code"]
            self.messages.setdefault(error["code"], error["message"])
            return
        self.answers[child.key] = result.answers
        for code, message in result.messages.items():
            self.messages.setdefault(code, message)
        self.calls += result.calls
        self.cached += result.cached

    def scores(self, child: str, answer: str, name: str) -> tuple[float | None, str | None]:
        """The score of an answer, or why there is none."""
        if child not in self.answers:
            return None, self.failed.get(child, "slice_missing")
        told = self.answers[child].get(answer, Scores())
        if name in told.scores:
            return told.scores[name], None
        return None, told.unscored.get(name, "slice_missing")


async def run(job: StageJob[EvaluationInput, ToCollect], ports: Ports) -> Outcome:
    """Publish `items.jsonl`: the lines of `score` with all scores, `by` whom, and why a score could not be had."""
    request, carry = job.input, job.carry
    told = _Told()
    async for child in ports.children.results(job.id):
        result = child.result
        if result is not None and set(result) == {"file"}:
            result = orjson.loads(await ports.blobs.get((await ports.files.find(result["file"])).blob))
        told.take(child, None if result is None else SliceResult.model_validate(result))
    judge, models = request.judge, ports.deployment.models
    name = None if judge is None else judge_name(judge.model, judge.version, models)
    asked = [*judged_metrics(carry.planned), *(one.name for one in request.asking_graders)]
    by = dict.fromkeys(asked, name or "") | {SIMILARITY: ports.deployment.embedder or ""}
    unscored: Counter[str] = Counter()
    generators: dict[str, set[str]] = {}
    file = await ports.files.publish(
        _filled(job, ports, told, by, unscored, generators), "items.jsonl", PURPOSE, content_type=ITEMS_TYPE
    )
    found = None if judge is None else models.find(judge.model.partition(":")[0], "chat")
    # Not the sum over the slices: a slice that was killed had paid for what its next try found.
    tokens, cost = await ports.judgements.cost(job.id)
    title = None if name is None else name.rpartition("@")[0]
    judged = Judged(
        judge=name,
        calls=told.calls,
        cached=told.cached,
        tokens=tokens,
        cost=None if found is None or found.price is None else round(cost, 6),
        unscored=dict(unscored),
        messages={code: told.messages[code] for code in unscored if code in told.messages},
        stopped=CEILING in unscored,
        judges_itself=[variant for variant, names in generators.items() if title in names],
    )
    onward = Scored(sources=[Source(file=file)], planned=carry.planned, judged=judged, scratch=carry.lines)
    return Next("report", onward)


async def _filled(
    job: StageJob[EvaluationInput, ToCollect],
    ports: Ports,
    told: _Told,
    by: dict[str, str],
    unscored: Counter[str],
    generators: dict[str, set[str]],
) -> AsyncIterator[bytes]:
    """The lines with their scores. `unscored` counts what could not be had, `generators` the models of each variant."""
    at, each = 0, lines_a_slice(len(job.carry.planned.metrics))
    page: list[bytes] = []
    async for raw in read_lines(ports.blobs, job.carry.lines):
        line: dict[str, Any] = orjson.loads(raw)
        _fill(line, {stage: slice_of(stage, at, each) for stage in ("judge", SIMILARITY)}, told, by)
        unscored.update(line["unscored"].values())
        if line["model"]:
            generators.setdefault(line["variant"], set()).add(line["model"])
        at += 1
        page.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if len(page) == LINES_AT_ONCE:
            yield b"".join(page)
            page = []
    yield b"".join(page)


def _fill(line: dict[str, Any], children: dict[str, str], told: _Told, by: dict[str, str]) -> None:
    """Put the scores of models into a line. `children`: the children that scored it, by their stage."""
    scores: dict[str, float | None] = line["scores"]
    line["by"] = {name: by[name] for name in scores if name in by}
    line["unscored"] = {}
    if line["state"] != "succeeded":
        return
    for name in list(line["by"]):
        child = children[SIMILARITY if name == SIMILARITY else "judge"]
        score, code = told.scores(child, key_of(line), name)
        if code == NOT_APPLICABLE:
            del scores[name]
            del line["by"][name]
        else:
            scores[name] = score
            if code is not None:
                line["unscored"][name] = code
