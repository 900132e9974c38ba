"""What `welip benchmark` makes of its options, and its live line."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from producers.client.cli.benchmark import line, name_of, parse_task
from producers.client.cli.failures import WrongUse
from producers.client.models import Job
from schemas.kinds.benchmark import BenchmarkInput


def job(stage: str, done: int, total: int, message: str | None) -> Job:
    seen = {"done": done, "total": total, "message": message}
    fields = {"id": "job_1", "kind": "benchmark", "state": "running", "created_at": datetime.now(UTC)}
    return Job.model_validate({**fields, "stage": stage, "progress": seen})


def test_a_task_is_a_type_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "수능 국어.jsonl"
    file.touch()
    task = parse_task(f"multiple_choice={file}")
    assert task == {"type": "multiple_choice", "name": "수능_국어", "file": file}
    BenchmarkInput.model_validate({"tasks": [task | {"file": f"file_{'0' * 32}"}]})


def test_any_other_name_is_a_task_of_lm_eval(tmp_path: Path) -> None:
    assert parse_task("kmmlu", {"shots": 5}) == {"type": "lm_eval", "task": "kmmlu", "shots": 5}
    file = tmp_path / "data.zip"
    file.touch()
    assert parse_task(f"kmmlu_law={file}") == {"type": "lm_eval", "task": "kmmlu_law", "file": file}


@pytest.mark.parametrize("text", ["perplexity", "kmmlu=", "=a.jsonl", "kmmlu=gone.zip", "perplexity=gone.jsonl"])
def test_a_task_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(WrongUse, match=r"is no task|there is no file"):
        parse_task(text)


@pytest.mark.parametrize(("file", "name"), [("a.b.jsonl", "a.b"), ("-x.txt", "_-x"), ("é(1).txt", "é_1_")])
def test_figures_are_named_for_the_file(file: str, name: str) -> None:
    assert name_of(Path(file)) == name


def test_the_live_line_counts_items_and_passes_on_what_else_is_said() -> None:
    assert line(job("run", 40, 1200, "exam · 12.0/s")) == "40 of 1,200 · exam · 12.0/s"
    assert line(job("plan", 0, 0, None)) == "running"
