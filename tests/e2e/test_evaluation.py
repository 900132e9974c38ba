"""Evaluations from the command line against a running stack: answered, scored, reported, compared, judged by gates."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pyarrow import parquet

from infra.local.sample import documents, questions
from producers.client.errors import JobFailed
from producers.client.evaluations import Evaluation
from producers.client.sync import Client
from tests.e2e.processes import Up, cli, until

COLLECTION = "evaluated"
WITHIN_S = 240


@pytest.fixture(scope="module")
def dataset(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The sample's questions, beside a collection of its documents."""
    [job] = client.index_documents(COLLECTION, documents())
    assert client.wait(job.id, timeout=120).state == "succeeded"
    file = tmp_path_factory.mktemp("dataset") / "questions.jsonl"
    rows = [
        {
            "id": question["id"],
            "question": question["question"],
            "reference": question.get("answer"),
            "relevant": question["document_id"],
            "answerable": bool(question["document_id"]),
        }
        for question in questions()
    ]
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    yield file
    client.delete_collection(COLLECTION)


@pytest.fixture(scope="module")
def run(up: Up, dataset: Path) -> Evaluation:
    """An evaluation of two variants, whose last gate is not passed."""
    gates = ["recall@1>=0.9", "recall@1>=five-0.05", "exact_match>=0.9"]
    ended = cli(
        *("evaluate", str(dataset), "-c", COLLECTION, "--variant", "five", "--variant", "one:top_k=1", "--json"),
        *(part for gate in gates for part in ("--gate", gate)),
        within_s=WITHIN_S,
        WELIP_URL=up.url,
    )
    assert ended.returncode == 4, ended.stderr
    return Evaluation.model_validate_json(ended.stdout)


def test_every_question_is_answered_in_every_way_and_scored(run: Evaluation) -> None:
    unanswerable = sum(not question["document_id"] for question in questions())
    assert run.items.model_dump() == {
        "total": len(questions()),
        "unanswerable": unanswerable,
        "answers": 2 * len(questions()),
        "succeeded": 2 * len(questions()),
        "failed": 0,
        "reused": 0,
        "asked_again": 0,
        "not_asked": 0,
    }
    five, one = run.variants
    assert five.metrics["recall@1"].mean >= 0.9
    assert five.metrics["contains"].mean >= 0.9, "the sample's answers are quoted"
    assert five.metrics["not_found"].n == one.metrics["not_found"].n == unanswerable
    assert 0 < five.metrics["f1"].ci95[0] < five.metrics["f1"].mean < five.metrics["f1"].ci95[1] < 1
    assert [gate.passed for gate in run.gates] == [True, True, True, False, False]
    assert run.comparisons[0].metrics["recall@1"].test == "mcnemar"


def test_with_other_metrics_nothing_is_asked_again(client: Client, dataset: Path, run: Evaluation) -> None:
    variants = [{"name": "five"}, {"name": "one", "top_k": 1}]
    job = client.evaluate(dataset, COLLECTION, variants, settings={"metrics": ["f1"]})
    again = client.evaluation(job.id, timeout=WITHIN_S)
    assert again.items.reused == again.items.answers == run.items.answers
    assert client.job(job.id).children is None
    assert [one.metrics["f1"] for one in again.variants] == [one.metrics["f1"] for one in run.variants]


def test_a_run_in_which_nothing_was_answered_says_why_and_is_no_success(up: Up, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"question": "한라산의 높이는?"}\n')
    ended = cli("evaluate", str(tmp_path / "q.jsonl"), "-c", "nowhere", within_s=WITHIN_S, WELIP_URL=up.url)
    assert ended.returncode == 1
    assert "1 of 1 answers failed (collection_not_found)" in " ".join(ended.stderr.split())


def test_its_files_can_be_downloaded(run: Evaluation, http: httpx.Client) -> None:
    def content(file: str | None) -> bytes:
        answer = http.get(f"/v1/files/{file}/content")
        assert answer.status_code == 200
        return answer.content

    lines = [json.loads(line) for line in content(run.items_file).splitlines()]
    assert len(lines) == run.items.answers
    assert lines[0]["contexts"]
    table = parquet.read_table(io.BytesIO(content(run.items_parquet)))
    assert table.num_rows == len(lines)
    assert table.column("f1").to_pylist() == [line["scores"].get("f1") for line in lines]
    assert json.loads(content(run.figures))["variants"][0]["name"] == "five"


def test_a_report_is_shown_and_saved_and_two_runs_are_compared(up: Up, run: Evaluation, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    shown = cli("report", run.job, "--html", str(page), WELIP_URL=up.url)
    assert shown.returncode == 4, shown.stderr
    assert "NOT PASSED" in shown.stdout
    assert page.read_text().startswith("<!doctype html>")
    compared = cli("compare", run.job, run.job, "--metric", "f1", "--json", within_s=WITHIN_S, WELIP_URL=up.url)
    assert compared.returncode == 0, compared.stderr
    [comparison] = json.loads(compared.stdout)["comparisons"]
    assert (comparison["metrics"]["f1"]["gain"], comparison["metrics"]["f1"]["p"]) == (0, 1)


def test_a_collection_that_is_not_there_fails_every_answer_and_the_run_says_so(client: Client) -> None:
    job = client.evaluate([{"question": "무엇?", "reference": "답"}], "nowhere")
    ended = client.evaluation(job.id, timeout=WITHIN_S)
    assert (ended.items.failed, ended.items.succeeded) == (1, 0)
    assert ended.variants[0].metrics["succeeded"].mean == 0
    assert any("1 of 1 answers failed" in warning for warning in ended.warnings)


def test_a_collection_that_is_deleted_in_the_middle_fails_the_answers_that_are_left(client: Client) -> None:
    [indexed] = client.index_documents("deleted", documents())
    assert client.wait(indexed.id, timeout=120).state == "succeeded"
    rows = [{"id": f"{n}", "question": f"{n}. {questions()[n % 40]['question']}"} for n in range(1_000)]
    job = client.evaluate(rows, "deleted", settings={"metrics": ["succeeded"]})
    until(lambda: (children := client.job(job.id).children) and children.succeeded, "an answer is there")
    client.pause(job.id)
    client.delete_collection("deleted")
    client.resume(job.id)
    ended = client.evaluation(job.id, timeout=WITHIN_S)
    assert ended.items.succeeded > 0
    assert ended.items.failed > 0
    assert ended.items.succeeded + ended.items.failed == len(rows)
    assert ended.variants[0].metrics["succeeded"].mean == ended.items.succeeded / len(rows)
    assert any(f"{ended.items.failed} of 1,000 answers failed" in one for one in ended.warnings), ended.warnings


def test_a_wrong_dataset_fails_before_anything_is_asked(client: Client) -> None:
    job = client.evaluate(b'{"question": "?"}\n{"question": 3}', COLLECTION, filename="q.jsonl")
    with pytest.raises(JobFailed, match="row 2: its 'question' is a number") as failed:
        client.evaluation(job.id, timeout=WITHIN_S)
    assert failed.value.code == "dataset_invalid"
    assert client.job(job.id).children is None


def test_a_dataset_is_checked_against_a_collection_and_its_findings_are_saved(
    up: Up, dataset: Path, tmp_path: Path
) -> None:
    rows = dataset.read_text().splitlines()
    faulty = tmp_path / "faulty.jsonl"
    faulty.write_text("\n".join([*rows, rows[0].replace('"id": "', '"id": "again-'), '{"question": "?", "id": 1.5}']))
    saved = tmp_path / "findings.jsonl"
    ended = cli(
        *("dataset", "check", str(faulty), "-c", COLLECTION, "--output", str(saved), "--json"),
        within_s=WITHIN_S,
        WELIP_URL=up.url,
    )
    assert ended.returncode == 4, ended.stderr
    found = json.loads(ended.stdout)
    last = len(rows) + 1
    assert found["rows"] == last + 1
    assert found["counts"]["duplicate"] == found["counts"]["invalid"] == 1
    assert found["retrieval"]["asked"] == 1 + sum(bool(question["document_id"]) for question in questions())
    assert found["retrieval"]["failed"] == 0
    assert found["retrieval"]["found"] >= 0.95 * found["retrieval"]["asked"], "the sample's questions have answers"
    told = [json.loads(line) for line in saved.read_text().splitlines()]
    assert {(one["row"], one["code"]) for one in told} >= {(last, "duplicate"), (last + 1, "invalid")}
