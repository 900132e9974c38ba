"""A folder with a file of each format is indexed and questioned; hostile files are refused beside good ones."""

import asyncio
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from producers.client.errors import ApiError, JobFailed
from producers.client.models import Answer
from producers.client.sync import Client
from tests.contract.engine_server import EngineServer, engine_server
from tests.documents import SAMPLES, pdf_canvas, sample_files, write_docx, write_pdf
from tests.e2e.processes import Up, cli
from tests.e2e.test_corpus import counts, index
from tests.e2e.test_jobs_api import problem
from tests.hangul_files import with_unknown_control

CORPORA: Final = ("tsv", "csv", "jsonl", "parquet")
HEADED: Final = frozenset({"md", "html", "pdf", "docx", "hwp", "hwpx"})
SMALL: Final = {"chunking": {"max_chars": 100, "overlap_sentences": 0}}
"""With these settings, every section of the samples is a chunk of its own."""

SENTENCE: Final = "끝없이 이어지는 하나의 문장은 " * 24_000
NO_ENCODER: Final = {"WELIP_WORKER_DRAIN": "0.5"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples, and one file that is not a document."""
    made = tmp_path_factory.mktemp("folder")
    sample_files(made)
    (made / "그림.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return made


@pytest.fixture(scope="module")
def by_command(up: Up, client: Client, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folder, indexed by `welip index`."""
    settings = tmp_path_factory.mktemp("settings") / "settings.json"
    settings.write_text(json.dumps(SMALL))
    columns = ("--id-column", "id", "--title-column", "title", "--metadata-column", "year")
    given = (str(folder), "-c", "by-command", "--settings", str(settings), *columns)
    done = cli("index", *given, "--json", WELIP_URL=up.url)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["errors"] == []
    assert summary["documents"]["added"] == 8 + 2 * len(CORPORA)
    yield "by-command"
    client.delete_collection("by-command")


@pytest.fixture(scope="module")
def by_http(http: httpx.Client, client: Client, folder: Path) -> Iterator[str]:
    """The folder, indexed by requests that are written out as in the contract."""
    documents = []
    for kind in SAMPLES:
        path = next(folder.glob(f"{kind}.*"))
        with path.open("rb") as content:
            file = http.post("/v1/files", data={"purpose": "documents"}, files={"file": (path.name, content)}).json()
        if kind in CORPORA:
            corpus = {"file": file["id"], "format": kind, "id": "id", "title": "title", "metadata": ["year"]}
            _submitted(http, corpus=corpus)
        else:
            documents.append({"id": path.name, "file": file["id"], "metadata": {"year": 2000}})
    result = _submitted(http, documents=documents)
    assert (result["documents"]["added"], result["errors"]) == (8, [])
    yield "by-http"
    client.delete_collection("by-http")


def _submitted(http: httpx.Client, **given: Any) -> dict[str, Any]:
    body = {"kind": "indexing", "input": {"collection": "by-http", "settings": SMALL, **given}}
    job = http.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"}).json()
    assert job["state"] == "succeeded", job
    result: dict[str, Any] = job["result"]
    return result


def document_of(kind: str) -> str:
    """The id of the document that holds a sample's answer: a file name, or the second row of a corpus."""
    if kind in CORPORA:
        return f"{SAMPLES[kind].title[:3]}-2"
    return f"{kind}.{kind.partition('-')[0]}"


def first_quote(answer: Answer) -> str:
    assert answer.answer is not None
    return answer.answer.split(" [1]")[0]


@pytest.mark.parametrize("collection", ["by_command", "by_http"])
@pytest.mark.parametrize("kind", SAMPLES)
def test_every_format_answers_with_its_place(
    request: pytest.FixtureRequest, client: Client, kind: str, collection: str
) -> None:
    sample = SAMPLES[kind]
    answer = client.ask(request.getfixturevalue(collection), sample.question)
    first = answer.citations[0]
    assert (answer.found, first.document_id) == (True, document_of(kind))
    assert sample.answer in first_quote(answer)
    assert first_quote(answer) in first.text
    heading = first.heading or ""
    assert heading.endswith(sample.headings[1]) == (kind in HEADED)
    assert first.page == (2 if kind == "pdf" else None)


@pytest.mark.parametrize("kind", SAMPLES)
def test_every_format_is_found_first(client: Client, by_http: str, kind: str) -> None:
    sample = SAMPLES[kind]
    hits = client.search(by_http, sample.question, top_k=3)
    assert hits[0].document_id == document_of(kind)
    assert sample.answer in hits[0].text


def test_tables_keep_their_rows(client: Client, by_http: str) -> None:
    for kind in HEADED | {"txt", "txt-cp949"}:
        name = SAMPLES[kind].title.split()[0]
        texts = [hit.text for hit in client.search(by_http, f"{name} 등명기 수량", top_k=30)]
        assert any("등명기 | 2대 | 매월" in text for text in texts), kind


def test_the_command_line_answers_with_heading_and_page(up: Up, by_command: str) -> None:
    asked = cli("ask", SAMPLES["pdf"].question, "-c", by_command, WELIP_URL=up.url)
    assert asked.returncode == 0, asked.stderr
    answer, sources = asked.stdout.split("Sources")
    assert SAMPLES["pdf"].answer in answer.splitlines()[0]
    assert all(part in sources.split("[2]")[0] for part in ("pdf.pdf", SAMPLES["pdf"].headings[1], "p. 2"))


def test_what_no_file_says_is_not_found(client: Client, by_http: str) -> None:
    for question in ("하늘섬 등대의 탑은 높이가 얼마인가요?", "연차 휴가는 며칠인가요?"):
        answer = client.ask(by_http, question)
        assert (answer.found, answer.citations) == (False, []), question


def test_columns_of_a_corpus_are_filtered_by(client: Client, by_http: str) -> None:
    typed = client.search(by_http, "등대", top_k=50, filter={"year": {"gte": 1902, "lt": 1950}})
    assert {hit.document_id for hit in typed} >= {document_of("jsonl"), document_of("parquet")}
    assert {hit.metadata["year"] for hit in typed} == {1902, "1902"}


def test_a_filter_on_an_unknown_field_names_those_there_are(http: httpx.Client, client: Client, by_http: str) -> None:
    refused = http.post(f"/v1/collections/{by_http}/search", json={"query": "등대", "filter": {"colour": "red"}})
    assert problem(refused)[:2] == (422, "filter_field_unknown")
    assert "year" in refused.json()["detail"]
    with pytest.raises(JobFailed) as failed:
        client.ask(by_http, "등대는 어디에 있나요?", filter={"colour": "red"})
    assert failed.value.code == "filter_field_unknown"


@pytest.mark.parametrize("top_k", [0, 101, 10_000])
def test_a_top_k_out_of_range_is_refused(http: httpx.Client, by_http: str, top_k: int) -> None:
    search = http.post(f"/v1/collections/{by_http}/search", json={"query": "등대", "top_k": top_k})
    assert problem(search) == (422, "invalid_input", "top_k")
    job = {"kind": "inference", "input": {"collection": by_http, "question": "등대?", "top_k": top_k}}
    assert problem(http.post("/v1/jobs", json=job)) == (422, "invalid_input", "input.top_k")


def hostile_files(folder: Path) -> dict[str, Path]:
    """Files that cannot become documents, by the code of their refusal; `code/name` where a code has several."""
    write_pdf(folder / "locked.pdf", SAMPLES["pdf"], password="secret")
    picture = pdf_canvas(folder / "picture.pdf")
    picture.rect(60, 60, 200, 200, fill=1)
    picture.save()
    write_docx(folder / "plain.docx", SAMPLES["docx"])
    with (
        zipfile.ZipFile(folder / "plain.docx") as plain,
        zipfile.ZipFile(folder / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in plain.infolist():
            if member.filename != "word/document.xml":
                bomb.writestr(member, plain.read(member))
        with bomb.open("word/document.xml", "w") as body:
            for _ in range(100):
                body.write(b" " * 1_000_000)
    (folder / "half.docx").write_bytes((folder / "plain.docx").read_bytes()[:9_000])
    (folder / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)
    (folder / "empty.md").write_bytes(b"\n \n")
    return {
        "document_encrypted": folder / "locked.pdf",
        "document_no_text": folder / "picture.pdf",
        "document_bomb": folder / "bomb.docx",
        "document_damaged": folder / "half.docx",
        "document_format_unknown": folder / "picture.txt",
        "document_empty": folder / "empty.md",
    }


STRANGE: Final[Mapping[str, tuple[str, str]]] = {
    "emoji": ("🏖️ 모래밭 👨‍👩‍👧‍👦 축제는 🎉 7월에 열린다 🎆🎆", "모래밭 축제는 몇 월에 열리나요?"),
    "hanja": ("訓民正音의 서문은 世宗大王이 지었다. 御製序文이라고 한다.", "訓民正音의 서문은 누가 지었나요?"),
    "jamo": ("바람개비는 언덕에서 돈다. ㅋㅋㅋ ㅠㅠ ㄱㄴㄷ", "바람개비는 어디에서 도나요?"),
    "right-to-left": ("مرحبا 나그네쥐는 אבג 툰드라에 산다. \u202eשלום\u202c", "나그네쥐는 어디에 사나요?"),
    "nul": (
        "도르래는 바퀴에 줄을 걸어 \x00물건을 들어 올리는 기구이다. " + "여러 개를 이어 쓴다. " * 9,
        "도르래는 무엇인가요?",
    ),
    "long": (f"코끼리거북은 갈라파고스에 산다. {SENTENCE}", "코끼리거북은 어디에 사나요?"),
}


@pytest.fixture(scope="module")
def mixed(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Any]]]:
    """One job with good, strange and hostile documents: the collection, and the job's result."""
    folder = tmp_path_factory.mktemp("hostile")
    files = sample_files(folder / "good")
    disguised = {"hwp-as-pdf": (files["hwp"], "보고서.pdf"), "pdf-as-text": (files["pdf"], "읽어보기.txt")}
    given: list[dict[str, Any]] = [{"id": "first", "text": "등나무는 덩굴로 자란다."}]
    given += [{"id": code, "file": client.upload(path).id} for code, path in hostile_files(folder).items()]
    given += [{"id": id, "file": client.upload(path, filename=name).id} for id, (path, name) in disguised.items()]
    partly = client.upload(with_unknown_control(files["hwp"].read_bytes()), filename="partly.hwp")
    given.append({"id": "partly", "file": partly.id})
    given += [
        {"id": id, "file": client.upload(text.encode(), filename=f"{id}.txt").id} for id, (text, _) in STRANGE.items()
    ]
    given += [{"id": "first", "text": "같은 이름의 다른 문서이다."}, {"id": "last", "text": "미루나무는 키가 크다."}]
    [job] = client.index_documents("mixed", given, settings=SMALL)
    ended = client.wait(job.id, timeout=600)  # some of them are given up only when their time is over
    assert ended.state == "succeeded", ended.error
    yield "mixed", client.result(job.id)
    client.delete_collection("mixed")


def test_each_hostile_document_is_refused_with_its_code(mixed: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    _, result = mixed
    refused = {error["id"]: error["code"] for error in result["errors"]}
    assert refused == {"first": "duplicate_id", **{code: code for code in hostile_files(tmp_path)}}
    assert all(len(error["message"]) > 20 for error in result["errors"])
    assert result["documents"]["failed"] == len(refused)
    assert result["documents"]["added"] == len(STRANGE) + 5


def test_a_document_that_lacks_a_part_is_indexed_and_named(mixed: tuple[str, dict[str, Any]]) -> None:
    [warning] = mixed[1]["warnings"]
    assert (warning["id"], warning["code"]) == ("partly", "content_lost")
    assert "control-zzzz" in warning["message"]


@pytest.mark.parametrize("name", STRANGE)
def test_strange_text_is_answered_from(client: Client, mixed: tuple[str, dict[str, Any]], name: str) -> None:
    answer = client.ask(mixed[0], STRANGE[name][1])
    assert (answer.found, answer.citations[0].document_id) == (True, name)
    assert first_quote(answer) in answer.citations[0].text


@pytest.mark.parametrize(("name", "kind"), [("hwp-as-pdf", "hwp"), ("pdf-as-text", "pdf")])
def test_a_wrong_ending_does_not_matter(
    client: Client, mixed: tuple[str, dict[str, Any]], name: str, kind: str
) -> None:
    answer = client.ask(mixed[0], SAMPLES[kind].question)
    assert answer.citations[0].document_id == name
    assert SAMPLES[kind].answer in first_quote(answer)


def test_the_documents_around_a_refused_one_are_found(client: Client, mixed: tuple[str, dict[str, Any]]) -> None:
    assert client.search(mixed[0], "덩굴로 자라는 나무", top_k=1)[0].text == "등나무는 덩굴로 자란다."
    assert client.search(mixed[0], "키가 큰 미루나무", top_k=1)[0].document_id == "last"


@pytest.fixture(scope="module")
def moved(stack_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A stack without an embedding model, on the data of one that embedded the collection `dense` with it."""
    data = tmp_path_factory.mktemp("moved") / "data"

    def embed(url: str) -> None:
        settings = {"WELIP_EMBEDDER": "openai", "WELIP_EMBEDDER_URL": f"{url}/v1", "WELIP_EMBEDDER_MODEL": "test"}
        with Up(data, "--postgres", stack_database, **settings, **NO_ENCODER) as running, running.client() as connected:
            assert index(connected, "dense", {"id": "d", "text": "고래는 포유류이다."}) == {"added": 1}
            assert connected.ask("dense", "고래는 포유류인가요?").found

    async def embedded() -> None:
        async with engine_server() as server:
            server.reply = EngineServer.embeds()
            await asyncio.to_thread(embed, server.url)

    asyncio.run(embedded())
    with Up(data, "--postgres", stack_database, **NO_ENCODER) as running:
        yield running


def test_a_collection_whose_encoder_is_missing_is_reported(moved: Up) -> None:
    with moved.client() as connected:
        with pytest.raises(JobFailed) as failed:
            connected.ask("dense", "고래는 포유류인가요?")
        assert failed.value.code == "embedder_missing"
        assert "WELIP_EMBEDDER" in str(failed.value)
        with pytest.raises(ApiError) as refused:
            connected.search("dense", "고래")
        assert refused.value.code == "embedder_missing"
        assert index(connected, "plain", {"id": "d", "text": "고래는 포유류이다."}) == {"added": 1}
        assert connected.ask("plain", "고래는 포유류인가요?").found


def test_a_file_of_300_megabytes_is_refused_as_a_document(moved: Up, tmp_path: Path) -> None:
    large = tmp_path / "large.pdf"
    with large.open("wb") as file:
        os.truncate(file.fileno(), 300_000_000)
    with moved.client() as connected:
        uploaded = connected.upload(large)
        assert uploaded.bytes == 300_000_000
        given = [{"id": "large", "file": uploaded.id}, {"id": "small", "text": "소나무는 늘푸른나무이다."}]
        [job] = connected.index_documents("large", given)
        assert counts(connected, job) == {"added": 1, "failed": 1}
        [error] = connected.result(job.id)["errors"]
        assert (error["id"], error["code"]) == ("large", "document_too_large")
        assert connected.search("large", "늘푸른나무")[0].document_id == "small"
