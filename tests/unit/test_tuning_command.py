"""`welip tune` from tables to a recommendation, with the real analyser."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typer.testing import CliRunner, Result

from consumers.tuning.command import app
from infra.local.child import free_port
from schemas.collections import CollectionSettings
from tests.contract.engine_server import engine_server

NAMES = [
    "바다",
    "하늘",
    "사과",
    "기차",
    "학교",
    "병원",
    "시장",
    "공원",
    "음악",
    "축구",
    "나비",
    "감자",
    "우유",
    "연필",
    "호수",
]
LONG = "여러 가지 말이 길게 더 붙어서 같은 뜻을 되풀이한다. "


@pytest.fixture
def long_answers(tmp_path: Path) -> Path:
    """Answers are long and name their subject twice, short texts name it once; a b of 0.9 finds the short ones."""
    documents = [(f"{name} {name}. {LONG * 12}"[:395], f"{name}?") for name in NAMES] + [
        (f"{name}.", "") for name in NAMES
    ]
    table = tmp_path / "train.tsv"
    table.write_text("Text\tQuestion\n" + "".join(f"{text}\t{question}\n" for text, question in documents), "utf-8")
    return table


@pytest.fixture
def large_b(tmp_path: Path) -> Path:
    file = tmp_path / "now.json"
    file.write_text('{"sparse": {"b": 0.9}}')
    return file


def tune(table: Path, *more: str) -> Result:
    asked = ["--corpus", str(table), "--questions", str(table), "--text", "Text", "--question", "Question"]
    return CliRunner().invoke(app, [*asked, *more])


def test_the_setting_that_is_known_to_be_best_is_found_and_can_be_applied(long_answers, large_b, tmp_path):
    out = tmp_path / "report.json"
    result = tune(long_answers, "--settings", str(large_b), "--folds", "3", "--out", str(out), "-c", "ko")
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    assert report["base"]["metrics"]["recall@1"]["mean"] == 0
    assert report["held_out"]["metrics"]["recall@1"]["mean"] == 1
    assert report["gain"]["ndcg@10"]["ci95"][0] > 0
    assert report["settings"]["sparse"]["b"] < 0.9
    settings = tmp_path / "report.settings.json"
    assert json.loads(settings.read_text()) == report["settings"]
    CollectionSettings.model_validate(report["settings"])
    assert f"welip collections set ko --settings {settings}" in result.output
    assert report["apply"]["http"] == {
        "method": "PATCH",
        "path": "/v1/collections/ko",
        "body": {"settings": report["settings"]},
    }


def test_what_is_applied_is_kept_when_it_is_tuned_again(long_answers, large_b, tmp_path):
    best = tmp_path / "report.settings.json"
    tune(long_answers, "--settings", str(large_b), "--folds", "3", "--out", str(tmp_path / "report.json"))
    again = tune(long_answers, "--folds", "3", "--settings", str(best), "--json")
    report = json.loads(again.stdout)
    assert report["base"]["metrics"]["recall@1"]["mean"] == 1
    assert report["recommendation"] == "keep the settings you have"
    assert report["settings"] is None
    assert report["apply"] is None


def test_every_setting_of_the_grid_is_told(long_answers):
    report = json.loads(tune(long_answers, "--json", "--folds", "2").stdout)
    assert len(report["grid"]) == report["candidates"]
    assert len({(row["k1"], row["b"]) for row in report["grid"]}) == report["candidates"] > 50
    best = max(row["ndcg@10"] for row in report["grid"])
    assert report["best"]["metrics"]["ndcg@10"]["mean"] == best


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--text", "Txt"], "no column 'Txt'; it has: Text, Question"),
        (["--relevant", "gold"], "no column 'gold'; it has: Text, Question"),
        (["--metric", "map"], "one of recall@1, recall@5, ndcg@10, mrr"),
        (["--folds", "100"], "15 questions are too few for 100 folds"),
        (["--corpus", "nowhere.tsv"], "there is no file nowhere.tsv"),
        (["--corpus", "paper.pdf"], "not a readable table"),
        (["--out", "nowhere/report.json"], "there is no folder nowhere"),
        (["--settings", "nowhere.json"], "nowhere.json cannot be read"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(long_answers, more, message):
    result = tune(long_answers, *more)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_settings_that_cannot_be_are_refused(long_answers, tmp_path):
    file = tmp_path / "settings.json"
    file.write_text('{"sparse": {"k1": -1}}')
    result = tune(long_answers, "--settings", str(file))
    assert result.exit_code == 2
    assert "sparse.k1" in result.stderr


def welip(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "producers.client.cli", "tune", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
    )


def test_the_command_line_hands_on_to_it_with_its_help_and_exit_codes(tmp_path):
    help_, _ = welip("--help").communicate(timeout=60)
    assert "--corpus" in help_
    assert "welip tune" in help_
    wrong = welip("--corpus", str(tmp_path / "no.tsv"), "--questions", str(tmp_path / "no.tsv"))
    _, said = wrong.communicate(timeout=60)
    assert wrong.returncode == 2
    assert said.startswith("welip: there is no file")


def test_an_interrupt_ends_it_quietly(tmp_path):
    table = tmp_path / "large.tsv"
    table.write_text("text\tquestion\n" + "".join(f"{n} {LONG * 20}\t{n}?\n" for n in range(20_000)), "utf-8")
    running = welip("--corpus", str(table), "--questions", str(table))
    deadline = time.monotonic() + 60
    while psutil.Process(running.pid).cpu_times().user < 2 and time.monotonic() < deadline:  # until it is at work
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said.strip() == "welip: interrupted"


async def test_with_a_model_the_weights_of_the_arms_are_tuned(tmp_path, monkeypatch):
    # Each question shares a word with the wrong document and its meaning with the right one.
    numbers = [f"number{n:02}" for n in range(len(NAMES))]
    rows = [f"{name}.\t{numbers[at]} {NAMES[at - 1]}?\n" for at, name in enumerate(NAMES)]
    table = tmp_path / "train.tsv"
    table.write_text("Text\tQuestion\n" + "".join(rows), "utf-8")
    meaning = {word: at for words in (NAMES, numbers) for at, word in enumerate(words)}

    async def embedded(request: Request) -> Response:
        texts = (await request.json())["input"]
        first = [min(meaning, key=lambda word: (text + word).index(word)) for text in texts]
        vectors = [[float(meaning[word] == at) for at in range(len(NAMES))] for word in first]
        return JSONResponse({"data": [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]})

    async with engine_server() as server:
        server.reply = embedded
        monkeypatch.setenv("WELIP_EMBEDDER", "openai")
        monkeypatch.setenv("WELIP_EMBEDDER_URL", f"{server.url}/v1")
        even = tmp_path / "even.json"
        even.write_text(json.dumps({"fusion": {"method": "minmax"}}))
        given = "--model", "meaning", "--folds", "3", "--json", "--settings", str(even)
        result = await asyncio.to_thread(tune, table, *given)
    report = json.loads(result.stdout)
    assert report["arms"] == ["sparse", "dense"]
    assert report["base"]["metrics"]["recall@1"]["mean"] < 0.5
    assert report["held_out"]["metrics"]["recall@1"]["mean"] == 1
    tried = [one for one in report["grid"] if one["method"] == "auto"]
    assert {one["method"] for one in report["grid"]} == {"auto", "minmax", "rrf"}
    assert len(tried) == len([one for one in report["grid"] if one["method"] == "rrf"])
    fusion = report["settings"]["fusion"]
    assert fusion.get("method") == "auto" or fusion["weights"]["dense"] > fusion["weights"].get("sparse", 0.5)


def test_a_model_that_is_not_there_is_told(long_answers, monkeypatch):
    monkeypatch.setenv("WELIP_EMBEDDER", "openai")
    monkeypatch.setenv("WELIP_EMBEDDER_URL", f"http://127.0.0.1:{free_port()}/v1")
    result = tune(long_answers, "--model", "nowhere")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
