"""`python -m benchmarks.answers` on a handful of documents runs to the end and prints what it promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_bench_retrieval import FACTS, ROOT

pytestmark = pytest.mark.timeout(450)
QUESTIONS = {"세종대왕이 만든 것은 무엇인가?": ["세종대왕"], "김치는 배추를 무엇에 절여 만드나?": ["김치"]}


def bench(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.answers", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)


def test_every_question_is_asked_with_and_without_its_document(tmp_path: Path) -> None:
    documents = [{"id": name, "title": name, "text": text} for name, text in FACTS.items()]
    questions = [{"question": text, "relevant": relevant} for text, relevant in QUESTIONS.items()]
    for name, rows in (("corpus", documents), ("questions", questions)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines, "utf-8")
    done = bench(tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["questions"]["found"], found["questions"]["not_found_without"]) == (1.0, 1.0)
    assert [at for at, own, others in found["questions"]["curve"] if not 0 <= own <= 1 or not 0 <= others <= 1] == []
    assert found["sample"]["first_sentence"] > 0.8
    assert found["sample"]["refused"] == 4


def test_a_folder_without_data_is_said(tmp_path: Path) -> None:
    done = bench(tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("benchmarks.answers: ")
