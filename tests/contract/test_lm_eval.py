"""Real lm-eval in its own environment, with a tenant's task: from the archive to figures, through the real pipe."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.harness.process import HarnessProcess
from infra.harness.settings import HarnessSettings
from schemas.errors import BenchmarkFailed
from schemas.kinds.benchmark.harness import Answered, Asked, Ended, HarnessPlan, HarnessTask

WITHIN_S = 300
MINE: dict[str, Any] = {
    "task": "mine",
    "output_type": "multiple_choice",
    "test_split": "test",
    "fewshot_split": "dev",
    "doc_to_text": "{{question.strip()}} =",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
HOSTILE = {"doc_to_text": "{{ ''.__class__.__mro__[1].__subclasses__() }}"}
UNKNOWN = {"metric_list": [{"metric": "/tmp/metric.py"}]}

pytestmark = [pytest.mark.models, pytest.mark.timeout(2 * WITHIN_S), pytest.mark.usefixtures("lm_eval")]


def lines(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]


async def ran(folder: Path, *, chat: bool = False, **changes: Any) -> Ended:
    rows = [{"question": f" {n} + 1 ", "choices": [str(n + 1), "0"], "answer": n % 2} for n in range(4)]
    data = "".join(json.dumps(row) + "\n" for row in rows)
    with zipfile.ZipFile(folder / "mine.zip", "w") as to:
        for name, text in {"mine.yaml": yaml.safe_dump(MINE | changes), "test.jsonl": data, "dev.jsonl": data}.items():
            to.writestr(name, text)

    async def answer(asked: Asked) -> Answered:
        assert asked.continuations is not None
        return Answered(id=asked.id, likelihoods=[(-float(at), at == 0) for at, _ in enumerate(asked.continuations)])

    process = HarnessProcess(HarnessSettings())
    async with process.workspace() as work:
        task = HarnessTask(name="exam", task="mine", shots=1, data=str(folder / "mine.zip"), chat=chat)
        ended = await process.run(HarnessPlan(tasks=[task], folder=str(work)), answer, lambda _: None)
        samples = lines(ended.samples)
    assert {line["task"] for line in samples} == {"exam"}
    context = samples[0]["arguments"][0][0]
    assert context.endswith("\n\n0 + 1 =")
    assert context.count("=") == 2, "an example stands before the item"
    return ended


async def test_a_tenants_task_is_measured_by_lm_eval(tmp_path: Path) -> None:
    ended = await ran(tmp_path)
    [told] = ended.tasks
    assert (told.name, told.items, told.shots) == ("exam", {"mine": 4}, {"mine": 1})
    assert told.results["mine"]["acc,none"] == 0.5
    assert told.results["mine"]["acc_stderr,none"] == pytest.approx((0.25 / 3) ** 0.5)
    assert ended.lm_eval


@pytest.mark.parametrize(("changes", "code"), [(HOSTILE, "harness_failed"), (UNKNOWN, "task_invalid")], ids=str)
async def test_a_tenants_task_runs_no_code(changes: dict[str, Any], code: str, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFailed) as failed:
        await ran(tmp_path, **changes)
    assert failed.value.reason == code


async def test_texts_are_not_scored_through_a_chat_template(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFailed, match="leave out `chat`") as failed:
        await ran(tmp_path, chat=True)
    assert failed.value.reason == "task_unsupported"
