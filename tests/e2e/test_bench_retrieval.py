"""`make bench-retrieval` on a handful of documents runs to the end and prints what it promises. Speed is not tested."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.engine_server import engine_server

pytestmark = pytest.mark.timeout(450)
ROOT = Path(__file__).parents[2]
FACTS = {
    "한라산": "한라산은 제주도에 있는 산이다. 높이는 1,947미터이다.",
    "세종대왕": "세종대왕은 훈민정음을 만들었다. 조선의 네 번째 임금이다.",
    "김치": "김치는 배추를 소금에 절여 만든다. 겨울이 오기 전에 김장을 한다.",
    "독도": "독도는 동해에 있는 섬이다. 괭이갈매기가 산다.",
    "거북선": "거북선은 이순신이 이끈 수군의 배이다. 지붕에 쇠못을 꽂았다.",
}
QUESTIONS = {
    "제주도 산의 높이는?": ["한라산"],
    "훈민정음을 누가 만들었나?": ["세종대왕"],
    "배추를 절여 무엇을 만드나?": ["김치"],
    "괭이갈매기가 사는 섬과 제주도의 산": ["독도", "한라산"],
}


def bench(folder: Path, *more: str) -> tuple[int, list[str], str]:
    """The exit code, the lines of output, and the error output."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.retrieval", str(folder), *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("judged")
    documents = [{"id": name, "title": name, "text": text} for name, text in FACTS.items()]
    questions = [{"question": text, "relevant": relevant} for text, relevant in QUESTIONS.items()]
    for name, rows in (("corpus", documents), ("questions", questions)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (made / f"{name}.jsonl").write_text(lines, "utf-8")
    return made


def test_each_arm_has_its_line_and_the_last_line_holds_all(folder):
    code, lines, error = bench(folder, "--arms", "whitespace,kiwi,welip")
    assert code == 0, error
    told = [json.loads(line) for line in lines if line.startswith('{"arm"')]
    assert [one["arm"] for one in told] == ["whitespace", "kiwi", "welip"]
    found = json.loads(lines[-1])
    assert (found["documents"], found["questions"], found["left_out"]) == (5, 4, {})
    for name, arm in found["arms"].items():
        assert {"recall@1", "recall@5", "ndcg@10", "mrr", "p50_ms", "p95_ms", "docs_per_s"} < arm.keys(), name
        for metric, (low, high) in arm["ci95"].items():
            assert 0 <= low <= arm[metric] <= high <= 1
    # Every question's documents are found; for the question with two, at the first two ranks.
    assert found["arms"]["welip"]["recall@5"] == found["arms"]["welip"]["ndcg@10"] == 1
    assert found["arms"]["welip"]["recall@1"] == 0.875
    assert found["gains"]["welip over kiwi"].keys() == found["arms"]["kiwi"]["ci95"].keys()


async def test_with_a_model_the_dense_arm_stands_alone_and_in_the_hybrid(folder, monkeypatch):
    async with engine_server() as server:
        server.reply = server.embeds(16)
        monkeypatch.setenv("WELIP_EMBEDDER", "openai")
        monkeypatch.setenv("WELIP_EMBEDDER_URL", f"{server.url}/v1")
        code, lines, error = await asyncio.to_thread(bench, folder, "--model", "any", "--arms", "welip,dense,hybrid")
    assert code == 0, error
    found = json.loads(lines[-1])
    assert found["arms"].keys() == {"welip", "dense", "hybrid"}
    # The vectors mean nothing here, so whatever the hybrid finds better than they do comes from the sparse arm.
    assert found["arms"]["dense"]["ndcg@10"] < found["arms"]["hybrid"]["ndcg@10"]
    assert found["gains"].keys() == {"welip over dense", "hybrid over dense", "hybrid over welip"}
    asked = {text for body in server.bodies for text in body["input"]}
    assert asked > QUESTIONS.keys()


@pytest.fixture(scope="module")
def quick(folder: Path) -> dict[str, Any]:
    """What all parts but the first measure in a short run."""
    code, lines, error = bench(folder, "--parts", "index,search,memory", "--quick")
    assert code == 0, (lines, error)
    return dict(json.loads(lines[-1]))


def test_indexing_is_measured_beside_kiwi_alone(quick):
    found = quick["index"]
    assert found["documents"] == 50
    assert found["encoder_share"] == pytest.approx(found["encoder_docs_per_s"] / found["kiwi_docs_per_s"], rel=0.01)
    assert found["job_share"] == pytest.approx(found["job_docs_per_s"] / found["kiwi_docs_per_s"], rel=0.05)


def test_searches_are_measured_in_the_index_and_over_http(quick):
    found = quick["search"]
    assert found["index"]["chunks"] == 100
    assert found["http"]["chunks"] >= 100
    assert found["http"]["searches_per_s"] > 0
    for figures in found.values():
        assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]


def test_memory_is_watched_while_a_corpus_streams_through(quick):
    peaks = quick["memory"]["peak_mib_at_percent"]
    assert 0 < peaks["10"]["worker"] <= peaks["50"]["worker"] <= peaks["100"]["worker"]
    assert peaks["100"]["gateway"] > 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--arms", "okapi"], "there is no arm 'okapi'; there are whitespace, kiwi, kiwi-tuned, welip"),
        (["--arms", "hybrid"], "the arm 'hybrid' needs a model"),
    ],
)
def test_an_arm_that_cannot_be_is_refused(folder, more, message):
    code, _, error = bench(folder, *more)
    assert code == 2
    assert message in error


def test_a_folder_without_data_says_what_it_should_hold(tmp_path):
    code, _, error = bench(tmp_path)
    assert code == 2
    assert "corpus.jsonl" in error
    assert "train.tsv" in error
