"""Documents go in, answers come out: the whole way through gateway, broker, worker and index."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.sample import documents, questions
from producers.client.errors import ApiError, JobFailed
from producers.client.models import Job
from producers.client.sync import Client
from tests.e2e.processes import Up, cli

SAMPLE = "sample"
ANSWERED = [question for question in questions() if question["document_id"]]
UNANSWERABLE = [question for question in questions() if not question["document_id"]]


@pytest.fixture(scope="module")
def sample(client: Client) -> Iterator[str]:
    """A collection with the sample corpus."""
    [job] = client.index_documents(SAMPLE, documents())
    assert counts(client, job)["added"] == len(documents())
    yield SAMPLE
    client.delete_collection(SAMPLE)


def counts(client: Client, job: Job) -> dict[str, int]:
    """What became of the documents of a job, which must succeed; only counts that are not zero."""
    ended = client.wait(job.id, timeout=120)
    assert ended.state == "succeeded", ended.error
    assert ended.result is not None
    return {name: count for name, count in ended.result["documents"].items() if count}


def index(client: Client, collection: str, *given: dict[str, Any], **options: Any) -> dict[str, int]:
    [job] = client.index_documents(collection, given, **options)
    return counts(client, job)


def test_questions_are_answered_from_the_right_document(client: Client, sample: str) -> None:
    texts = {document["id"]: document["text"] for document in documents()}
    silent: list[str] = []
    for question in ANSWERED:
        answer = client.ask(sample, question["question"])
        if not answer.found:
            silent.append(question["id"])
            continue
        first = answer.citations[0]
        assert first.document_id == question["document_id"], question
        assert texts[first.document_id][first.start : first.end] == first.text
        assert answer.answer
    # Without a model, an honest "not found" may happen now and then; a wrong source must not.
    assert len(silent) <= len(ANSWERED) // 20, silent


def test_search_finds_the_right_document_first_for_every_question(client: Client, sample: str) -> None:
    first = {q["id"]: client.search(sample, q["question"], top_k=1)[0].document_id for q in ANSWERED}
    assert first == {q["id"]: q["document_id"] for q in ANSWERED}


def test_what_no_document_answers_is_answered_with_not_found(client: Client, sample: str) -> None:
    assert UNANSWERABLE
    for question in UNANSWERABLE:
        answer = client.ask(sample, question["question"])
        assert (answer.found, answer.citations) == (False, []), question
        assert answer.answer


def test_search_gives_passages_best_first(client: Client, sample: str) -> None:
    hits = client.search(sample, "세종이 만든 글자", top_k=4)
    assert len(hits) == 4
    assert "hunminjeongeum" in [hit.document_id for hit in hits]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_filter_leaves_only_documents_with_that_metadata(client: Client, sample: str) -> None:
    topics = {d["id"]: d["metadata"]["topic"] for d in documents()}
    history, food = topics["gyeongbokgung"], topics["gimjang"]
    assert history != food
    one = client.search(sample, "경복궁과 김장", top_k=50, filter={"topic": history})
    assert {topics[hit.document_id] for hit in one} == {history}
    either = client.search(sample, "경복궁과 김장", top_k=50, filter={"topic": [history, food]})
    assert {topics[hit.document_id] for hit in either} == {history, food}
    assert client.search(sample, "경복궁과 김장", filter={"topic": "no such topic"}) == []


def test_a_known_document_is_left_alone_or_replaced(client: Client, collection: str) -> None:
    first = {"id": "d", "text": "고래는 바다에 사는 포유류이다."}
    assert index(client, collection, first) == {"added": 1}
    assert index(client, collection, first) == {"unchanged": 1}
    changed = {"id": "d", "text": "박쥐는 동굴에 사는 포유류이다."}
    assert index(client, collection, changed, {"id": "e", "text": "참새는 새이다."}) == {"replaced": 1, "added": 1}
    assert [hit.text for hit in client.search(collection, "박쥐")] == [changed["text"]]
    assert all(hit.document_id != "d" for hit in client.search(collection, "고래"))


def test_a_deleted_document_is_found_no_more(client: Client, collection: str) -> None:
    index(client, collection, {"id": "a/ㄱ ?", "text": "고래는 포유류이다."}, {"id": "b", "text": "상어는 물고기이다."})
    assert client.delete_document(collection, "a/ㄱ ?").deleted
    assert client.search(collection, "고래") == []
    assert client.collection(collection).documents == 1
    with pytest.raises(ApiError) as refusal:
        client.delete_document(collection, "a/ㄱ ?")
    assert (refusal.value.status, refusal.value.code) == (404, "document_not_found")


def test_a_deleted_collection_is_gone_with_its_documents(client: Client, collection: str) -> None:
    index(client, collection, {"id": "d", "text": "고래는 포유류이다."})
    assert client.delete_collection(collection).deleted
    assert collection not in [c.name for c in client.collections()]
    for call in (lambda: client.search(collection, "고래"), lambda: client.delete_collection(collection)):
        with pytest.raises(ApiError) as refusal:
            call()
        assert (refusal.value.status, refusal.value.code) == (404, "collection_not_found")
    assert index(client, collection, {"id": "d", "text": "고래는 포유류이다."}) == {"added": 1}


def test_an_emptied_collection_says_so(client: Client, collection: str) -> None:
    index(client, collection, {"id": "d", "text": "고래는 포유류이다."})
    client.delete_document(collection, "d")
    with pytest.raises(JobFailed) as failure:
        client.ask(collection, "고래는 무엇인가요?")
    assert failure.value.code == "collection_empty"
    with pytest.raises(ApiError) as refusal:
        client.search(collection, "고래")
    assert (refusal.value.status, refusal.value.code) == (409, "collection_empty")


def test_an_unknown_collection_fails_with_a_clear_code(client: Client) -> None:
    with pytest.raises(JobFailed) as failure:
        client.ask("never-made", "고래는 무엇인가요?")
    assert failure.value.code == "collection_not_found"
    assert "'never-made'" in str(failure.value)


TSV = "번호\t제목\t본문\t분야\n1\t고래\t고래는 포유류이다.\t동물\n2\t소나무\t소나무는 늘푸른나무이다.\t식물\n"
JSONL = (
    '{"n": 1, "t": "고래", "body": "고래는 포유류이다.", "f": "동물"}\n'
    '{"n": 2, "t": "소나무", "body": "소나무는 늘푸른나무이다.", "f": "식물"}\n'
)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (TSV, {"format": "tsv", "text": "본문", "title": "제목", "id": "번호", "metadata": ["분야"]}),
        (
            TSV.replace("\t", ","),
            {"format": "csv", "text": "본문", "title": "제목", "id": "번호", "metadata": ["분야"]},
        ),
        (JSONL, {"format": "jsonl", "text": "body", "title": "t", "id": "n", "metadata": ["f"]}),
    ],
    ids=["tsv", "csv", "jsonl"],
)
def test_a_table_is_a_corpus(client: Client, collection: str, content: str, columns: dict[str, Any]) -> None:
    job = client.index_corpus(collection, content.encode(), columns, filename=f"corpus.{columns['format']}")
    assert counts(client, job) == {"added": 2}
    field = columns["metadata"][0]
    [hit] = client.search(collection, "늘푸른나무", filter={field: "식물"})
    assert (hit.document_id, hit.title, hit.metadata) == ("2", "소나무", {field: "식물"})


def test_a_corpus_without_the_named_column_fails_naming_those_there_are(client: Client, collection: str) -> None:
    job = client.wait(client.index_corpus(collection, TSV.encode(), {"format": "tsv", "text": "내용"}).id, timeout=120)
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "column_missing")
    assert "'본문'" in job.error.message


def test_markdown_and_html_files_are_indexed_as_their_text(client: Client, collection: str) -> None:
    page = (
        "<html><head><title>소나무</title><style>p {}</style></head><body><p>늘푸른<b>나무</b>이다.</p></body></html>"
    )
    markdown = client.upload("# 고래\n\n고래는 **포유류**이다.".encode(), filename="고래.md")
    html = client.upload(page.encode(), filename="소나무.html")
    given = [{"id": "md", "file": markdown.id}, {"id": "html", "file": html.id}]
    assert index(client, collection, *given) == {"added": 2}
    [whale] = client.search(collection, "포유류")
    assert (whale.document_id, whale.title) == ("md", "고래")
    assert "고래는 포유류이다." in whale.text
    [pine] = client.search(collection, "늘푸른나무")
    assert (pine.document_id, pine.title, pine.text) == ("html", "소나무", "늘푸른나무이다.")


def test_ten_thousand_tiny_documents_are_one_corpus(client: Client, collection: str) -> None:
    rows = "".join(f'{{"id": "d{n}", "text": "문서 {n}번"}}\n' for n in range(10_000))
    job = client.index_corpus(
        collection, rows.encode(), {"format": "jsonl", "text": "text", "id": "id"}, filename="corpus.jsonl", lane="bulk"
    )
    assert counts(client, job) == {"added": 10_000}
    assert client.collection(collection).chunks == 10_000
    children = client.jobs(parent=job.id, limit=100).data
    assert len(children) == 20
    assert {child.state for child in children} == {"succeeded"}


def test_a_bad_document_is_refused_by_itself(client: Client, collection: str) -> None:
    empty = client.upload(b"", filename="empty.txt")
    large = client.upload(b"0123456789abcde\n" * (50 * 1024 * 1024 // 16), filename="large.txt")
    picture = client.upload(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, filename="picture.txt")
    given = [
        {"id": "good", "text": "고래는 포유류이다."},
        {"id": "empty", "file": empty.id},
        {"id": "blank", "text": " \n"},
        {"id": "large", "file": large.id},
        {"id": "picture", "file": picture.id},
        {"id": "missing", "file": "file_" + "0" * 32},
        {"id": "also-good", "text": "소나무는 늘푸른나무이다."},
    ]
    [job] = client.index_documents(collection, given)
    assert counts(client, job) == {"added": 2, "failed": 5}
    errors = client.result(job.id)["errors"]
    assert {error["id"]: error["code"] for error in errors} == {
        "empty": "document_empty",
        "blank": "document_empty",
        "large": "document_too_large",
        "picture": "document_format_unknown",
        "missing": "file_not_found",
    }
    assert all(len(error["message"]) > 20 for error in errors)
    assert client.search(collection, "늘푸른나무")[0].document_id == "also-good"


class TestCommandLine:
    """The same through `welip`, in separate processes."""

    def run(self, up: Up, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return cli(*arguments, cwd=cwd, WELIP_URL=up.url)

    def test_a_folder_is_indexed_and_asked(self, up: Up, collection: str, tmp_path: Path) -> None:
        (tmp_path / "고래.md").write_text("# 고래\n\n고래는 바다에 사는 포유류이다. 고래는 허파로 숨을 쉰다.")
        (tmp_path / "식물").mkdir()
        (tmp_path / "식물" / "소나무.txt").write_text("소나무는 사철 푸른 나무이다.", encoding="cp949")
        (tmp_path / "그림.png").write_bytes(b"\x89PNG")
        indexed = self.run(up, "index", str(tmp_path), "-c", collection)
        assert indexed.returncode == 0, indexed.stderr
        assert "left out" in indexed.stderr
        asked = self.run(up, "ask", "고래는 무엇으로 숨을 쉬나요?", "-c", collection)
        assert asked.returncode == 0, asked.stderr
        assert "허파" in asked.stdout
        assert "고래" in asked.stdout.split("Sources")[1]
        found = self.run(up, "search", "푸른 나무", "-c", collection, "--json")
        assert json.loads(found.stdout)[0]["document_id"] == "식물/소나무.txt"
        again = self.run(up, "index", str(tmp_path), "-c", collection, "--json")
        assert json.loads(again.stdout)["documents"]["unchanged"] == 2
        listed = self.run(up, "collections", "--json")
        assert collection in [c["name"] for c in json.loads(listed.stdout)]

    def test_a_job_is_shown_followed_and_cancelled(self, up: Up, client: Client) -> None:
        short = client.submit("noop", {"sleep_s": 0.2, "steps": 2})
        followed = self.run(up, "job", short.id, "--follow")
        assert followed.returncode == 0, followed.stderr
        assert [word for word in ("queued", "running", "succeeded") if word in followed.stdout] == [
            "queued",
            "running",
            "succeeded",
        ]
        long = client.submit("noop", {"sleep_s": 600})
        cancelled = self.run(up, "cancel", long.id)
        assert cancelled.returncode == 0, cancelled.stderr
        assert client.wait(long.id, timeout=120).state == "cancelled"
        shown = self.run(up, "job", long.id, "--json")
        assert json.loads(shown.stdout)["state"] == "cancelled"
        late = self.run(up, "cancel", long.id)
        assert (late.returncode, late.stdout) == (2, "")
        assert late.stderr == "welip: the job has ended already: it cancelled (field `id`)\n"

    def test_a_failed_question_is_one_line_and_status_1(self, up: Up) -> None:
        asked = self.run(up, "ask", "무엇?", "-c", "never-made")
        assert (asked.returncode, asked.stdout) == (1, "")
        assert asked.stderr.count("\n") == 1
        assert "[collection_not_found]" in asked.stderr

    def test_without_a_server_the_remedy_is_named_and_status_3(self, tmp_path: Path) -> None:
        asked = cli("collections", cwd=tmp_path, WELIP_URL="http://127.0.0.1:9")
        assert (asked.returncode, asked.stdout) == (3, "")
        assert "welip up" in asked.stderr
        assert asked.stderr.count("\n") == 1
