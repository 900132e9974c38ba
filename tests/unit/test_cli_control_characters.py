"""No command lets control characters in a tenant's titles, texts, metadata, errors or names reach the terminal."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina
import typer
from rich.progress import ProgressColumn
from typer.testing import CliRunner

from producers.client.cli.app import app
from producers.client.cli.output import progress_bars
from producers.client.cli.terminal import CONTROLS, visible, visible_json
from producers.client.sync import Client
from schemas.collections import CollectionSettings

EVIL = "\x1b]0;pwned\x07\x1b[2J\u009b31m\u202e\x7f\r"
NOW = "2026-11-20T00:00:00Z"
JOB, DEAD, WH, EVT = "job_" + "1" * 32, "dead_" + "2" * 32, "wh_" + "3" * 32, "evt_" + "4" * 32
BATCH, EVALUATION, FILE = "batch_" + "5" * 32, "job_" + "6" * 32, "file_" + "7" * 32
CALIBRATION = "job_" + "9" * 32
BENCHMARK = "job_" + "b" * 32
TRAINING = "job_" + "8" * 32
DATASET, SYNTHESIS = "job_" + "a" * 32, "job_" + "c" * 32
SWEEP = "job_" + "d" * 32
OF_THE_SERVER = {"id", "job", "requeued_as", "state", "type", "source", "object", "events", "disabled_reason"}
OF_THE_SERVER |= {
    "form",
    "created_at",
    "at",
    "ended_at",
    "disabled_at",
    "status",
    "kind",
    "test",
    "action",
    "since",
    "changed_at",
    "precision",
}
"""What no tenant writes: ids, states, kinds, event names, times."""


def poisoned(value: Any, key: str = "") -> Any:
    """The answer with control characters in everything that a tenant may have written."""
    match value:
        case dict():
            return {name: poisoned(inner, name) for name, inner in value.items()}
        case list():
            return [poisoned(inner, key) for inner in value]
        case str() if key not in OF_THE_SERVER:
            return value + EVIL
    return value


ERROR = {"code": "timeout", "message": "too slow", "retryable": True}
HIT = {"document_id": "d1", "chunk_id": "c1", "title": "제목", "text": "본문", "score": 1.5, "start": 0, "end": 2}
HIT |= {"heading": "제1장", "metadata": {"k" + EVIL: "v"}}
RESULT = {"answer": "답", "found": True, "citations": [HIT], "model": "extractive"}
INDEXED = {"collection": "ko", "documents": {"added": 1, "failed": 1}, "chunks": 1}
INDEXED |= {"errors": [{"id": "d2", "code": "unreadable", "message": "why"}]}
ASKED = {"id": JOB, "kind": "inference", "state": "succeeded", "created_at": NOW, "result": RESULT}
ASKED |= {"progress": {"message": "half"}, "metadata": {"k": "v"}, "stage": "generate"}
FAILED = {**ASKED, "state": "failed", "result": None, "error": ERROR}
COLLECTION = {"name": "ko", "documents": 1, "settings": CollectionSettings().model_dump(mode="json"), "fields": ["f"]}
COLLECTION |= {"encoder": {"sparse": "kiwi", "dense": "bge", "dimension": 8}, "created_at": NOW}
LETTER = {"id": DEAD, "source": "job", "reason": "timeout", "error": ERROR, "kind": "noop", "stage": "run"}
LETTER |= {"created_at": NOW, "payload": {"text": "말"}, "encoding": "json", "job": JOB, "requeued_as": JOB}
ENDPOINT = {"id": WH, "url": "https://r.example/", "description": "for us", "events": ["job.failed"], "created_at": NOW}
ENDPOINT |= {"enabled": False, "disabled_at": NOW, "disabled_reason": "gone", "failing_since": None}
ENDPOINT |= {"previous_until": None, "object": "webhook_endpoint"}
DELIVERY = {"id": EVT, "object": "webhook_delivery", "type": "job.failed", "state": "failed", "endpoint": WH}
DELIVERY |= {"url": "https://r.example/", "job": JOB, "attempts": 1, "due_at": None, "created_at": NOW, "data": {}}
DELIVERY |= {"ended_at": NOW, "log": [{"attempt": 1, "at": NOW, "status": 500, "answer": "no", "ms": 3, "error": None}]}
SECRET = {"object": "webhook_secret", "secret": "whsec_x", "previous_until": None}
GONE = {"id": "x", "name": "x", "deleted": True}
EVENT = {"id": 1, "job": JOB, "type": "log", "at": NOW, "data": {"message": "hello"}}
END = {"id": 2, "job": JOB, "type": "state", "at": NOW, "data": {"state": "failed", "error": ERROR}}
BATCHED = {"id": BATCH, "endpoint": "/v1/jobs", "input_file_id": "f", "completion_window": "24h", "status": "failed"}
BATCHED |= {"errors": {"data": [{"code": "invalid_line", "line": 1, "message": "why", "param": "body.x"}]}}
BATCHED |= dict.fromkeys(("created_at", "expires_at", "failed_at"), 1_800_000_000)
BATCHED |= dict.fromkeys(("output_file_id", "error_file_id", "in_progress_at", "finalizing_at", "completed_at"))
BATCHED |= dict.fromkeys(("expired_at", "cancelling_at", "cancelled_at"))
BATCHED |= {"request_counts": {"total": 0, "completed": 0, "failed": 0}, "metadata": {"k": "v"}, "retry_of": None}
BATCHED |= {"job": JOB, "paused_at": None, "weight": 1, "at_once": None, "deadline": None}
FIGURES = {"mean": 0.5, "ci95": [0.4, 0.6], "strict": 0.4, "n": 4, "missing": 1}
COMPARED = {"gain": 0.1, "ci95": [0.0, 0.2], "p": 0.1, "p_adjusted": 0.2, "significant": False, "test": "mcnemar"}
COMPARED |= {"n": 4, "detectable": 0.3}
EVALUATED = {"items": {"total": 5, "unanswerable": 0, "answers": 10, "succeeded": 9, "failed": 1}, "passed": True}
EVALUATED |= {"variants": [{"name": "one", "succeeded": 5, "failed": 0, "metrics": {"f1" + EVIL: FIGURES}}]}
EVALUATED |= {"comparisons": [{"variant": "two", "baseline": "one", "metrics": {"f1" + EVIL: COMPARED}}]}
EVALUATED |= {"gates": [{"metric": "f1", "variant": "one", "value": 0.5, "limit": 0.4, "passed": True}]}
EVALUATED |= {"warnings": ["why"], "report": FILE, "figures": FILE, "items_file": FILE, "items_parquet": FILE}
SCORED = {**ASKED, "id": EVALUATION, "kind": "evaluation", "result": EVALUATED}
CHOSEN = dict.fromkeys(("processes", "learning_rate", "batch_size", "device_batch_size", "accumulation"), 1)
CHOSEN |= dict.fromkeys(("max_length", "trainable_parameters", "parameters", "expected_memory_bytes"), 1)
CHOSEN |= {"device": "cpu", "precision": "float32", "gradient_checkpointing": False}
LOSSES = {"steps": 1, "epochs": 1.0, "train_loss": 0.5, "validation_loss_before": 2.0, "validation_loss": 1.0}
LOSSES |= {"tokens_per_s": 5.0, "seconds": 1.0, "peak_memory_bytes": 1}
MADE = {"adapter": FILE, "model": "m:a@1", "registered": True, "metrics": LOSSES, "settings": CHOSEN, "resumes": 1}
MADE |= {"data": {"rows": 1, "validation_rows": 1, "duplicates": 0, "overlapping": 0}}
MADE |= {"metrics_file": FILE, "warnings": ["why"]}
TRAINED = {**ASKED, "id": TRAINING, "kind": "training", "result": MADE}
TRIED = {"number": 0, "job": TRAINING, "state": "complete", "params": {"method" + EVIL: "cosine"}, "values": [0.5]}
FOUND = {"trials": [TRIED | {"adapter": FILE, "seconds": 1.0}], "best": [0], "model": "m:a@1", "registered": True}
FOUND |= {"importance": {"loss" + EVIL: {"rank" + EVIL: 1.0}}, "report": FILE, "seconds": 2.0, "warnings": ["why"]}
SWEPT = {**ASKED, "id": SWEEP, "kind": "search", "result": FOUND}
MEASURED = {"model": "m", "asked": 1, "reused": 0, "tokens": 9, "samples": FILE, "versions": {}, "tracking": None}
MEASURED |= {"tasks": [{"name": "t", "type": "perplexity", "items": 1, "metrics": {"p": {"value": 1, "stderr": None}}}]}
BENCHMARKED = {**ASKED, "id": BENCHMARK, "kind": "benchmark", "result": MEASURED}
AGREED = {"judge": "m", "items": 1, "missing": 0, "disagreements": [{"id": "d", "human": 1, "judge": 0}]}
AGREED |= dict.fromkeys(("agreement", "kappa", "weighted_kappa", "bias", "bias_ci95", "verbosity", "position"))
AGREED |= {"confusion": dict.fromkeys(("both", "judge_only", "human_only", "neither"), 1), "calls": 1, "cached": 0}
AGREED |= {"tokens": 9, "messages": {"code": "why"}, "unscored": {"code": 1}}
CALIBRATED = {**ASKED, "id": CALIBRATION, "kind": "calibration", "result": AGREED}
LENGTHS = dict.fromkeys(("rows", "mean", "min", "p05", "p25", "p50", "p75", "p95", "max"), 1)
CHECKED = {"form": "questions", "rows": 1, "sha256": "ab", "score": 0.5, "parts": {"valid": 0.5}, "passed": True}
CHECKED |= {"counts": {"empty": 1}, "findings": [{"row": 1, "code": "empty", "message": "why", "id": "q"}]}
CHECKED |= {"lengths": {"question" + EVIL: LENGTHS}, "languages": {"ko": 1}, "warnings": ["why"], "findings_file": FILE}
QUALITY = {**ASKED, "id": DATASET, "kind": "dataset", "result": CHECKED}
WRITTEN = {"passages": 1, "accepted": 1, "flags": {"copied": 1}, "model": "m", "usage": {}, "questions_file": FILE}
WRITTEN |= {"review_file": FILE}
SYNTHESISED = {**ASKED, "id": SYNTHESIS, "kind": "synthesis", "result": WRITTEN}
UPLOADED = {"id": FILE, "object": "file", "bytes": 3, "created_at": 1_800_000_000, "filename": "q.jsonl"}
UPLOADED |= {"purpose": "evals", "status": "processed"}
ADAPTER = {"id": "m:a", "parent": "m", "created": 1_800_000_000, "served": True, "version": 2, "rank": 8}
MODEL = {"id": "m", "tasks": ["chat"], "engine": "vllm", "served": True, "alias_of": "n"}
ALIAS = {"id": "support", "object": "model.alias", "model": "m", "created_at": NOW, "changed_at": NOW}
ALIAS |= {"canary": {"model": "n", "share": 0.1, "since": NOW}}
STEP = {"id": "promotion_1", "object": "model.promotion", "alias": "support", "action": "promoted", "model": "m"}
STEP |= {"previous": "n", "canary": None, "share": None, "by": "laptop", "reason": "why", "forced": True}
STEP |= {"evaluation": EVALUATION, "evidence": {"k": "v"}, "created_at": NOW}
MOVED = {**ALIAS, "entry": STEP}
DIFFED = {"first": "m", "second": "n", "evaluation": EVALUATION, "items": 4}
DIFFED |= {
    "metrics": {"f1" + EVIL: {"first": 0.5, "second": 0.6, "gain": 0.1, "ci95": [0.0, 0.2], "significant": True}}
}

ANSWERS: dict[tuple[str, str], Any] = {
    ("GET", "/v1/models"): {"data": [MODEL, ADAPTER | {"note": "of a newer server"}]},
    ("POST", "/v1/models"): ADAPTER | {"note": "of a newer server"},
    ("DELETE", "/v1/models/m:a"): {"id": "m:a", "deleted": True, "object": "model", "note": "gone"},
    ("DELETE", f"/v1/files/{FILE}"): {"id": FILE, "deleted": True},
    ("GET", "/v1/jobs"): {"data": [FAILED]},
    ("POST", f"/v1/jobs/{JOB}/cancel"): FAILED,
    ("POST", "/v1/files"): UPLOADED,
    ("GET", "/v1/files"): {"data": [UPLOADED]},
    ("GET", f"/v1/jobs/{DATASET}"): QUALITY,
    ("GET", f"/v1/jobs/{SYNTHESIS}"): SYNTHESISED,
    ("GET", f"/v1/jobs/{EVALUATION}"): SCORED,
    ("GET", f"/v1/jobs/{TRAINING}"): TRAINED,
    ("GET", f"/v1/jobs/{SWEEP}"): SWEPT,
    ("GET", f"/v1/jobs/{CALIBRATION}"): CALIBRATED,
    ("GET", f"/v1/jobs/{BENCHMARK}"): BENCHMARKED,
    ("GET", "/v1/batches"): {"data": [BATCHED]},
    ("GET", f"/v1/batches/{BATCH}"): BATCHED,
    ("POST", f"/v1/batches/{BATCH}/cancel"): BATCHED,
    ("POST", f"/v1/batches/{BATCH}/retry_failed"): BATCHED,
    **{("POST", f"/v1/jobs/{JOB}/{what}"): FAILED for what in ("pause", "resume")},
    ("PATCH", f"/v1/jobs/{JOB}"): FAILED,
    **{("POST", f"/v1/batches/{BATCH}/{what}"): BATCHED for what in ("pause", "resume")},
    ("PATCH", f"/v1/batches/{BATCH}"): BATCHED,
    ("POST", "/v1/collections/ko/search"): {"data": [HIT]},
    ("GET", "/v1/collections"): {"data": [COLLECTION]},
    ("GET", "/v1/collections/ko"): COLLECTION,
    ("PATCH", "/v1/collections/ko"): FAILED,
    ("DELETE", "/v1/collections/ko"): {**GONE, "name": "ko"},
    ("GET", "/v1/models/m/diff"): DIFFED,
    ("GET", "/v1/models/aliases/support"): ALIAS,
    ("GET", "/v1/models/aliases/support/ledger"): {"data": [STEP]},
    ("POST", "/v1/models/aliases/support/promote"): MOVED,
    ("POST", "/v1/models/aliases/support/rollback"): MOVED,
    ("POST", "/v1/models/aliases/support/canary"): MOVED,
    ("GET", "/v1/dead"): {"data": [LETTER]},
    ("GET", f"/v1/dead/{DEAD}"): LETTER,
    ("POST", "/v1/dead/requeue"): {"requeued": 0, "refused": [{"id": DEAD, "code": "gone", "message": "why"}]},
    ("POST", "/v1/dead/drop"): {"dropped": 1},
    ("POST", "/v1/webhooks"): {**ENDPOINT, "secret": "whsec_x"},
    ("GET", "/v1/webhooks"): {"data": [ENDPOINT]},
    ("GET", f"/v1/webhooks/{WH}"): ENDPOINT,
    ("PATCH", f"/v1/webhooks/{WH}"): ENDPOINT,
    ("DELETE", f"/v1/webhooks/{WH}"): GONE,
    ("POST", f"/v1/webhooks/{WH}/rotate"): SECRET,
    ("POST", "/v1/webhooks/secret"): SECRET,
    ("POST", f"/v1/webhooks/{WH}/test"): DELIVERY,
    ("GET", "/v1/webhooks/deliveries"): {"data": [DELIVERY]},
    ("GET", f"/v1/webhooks/deliveries/{EVT}"): DELIVERY,
    ("POST", f"/v1/webhooks/deliveries/{EVT}/replay"): DELIVERY,
}

COMMANDS: list[tuple[str, list[str]]] = [
    ("ask", ["?", "-c", "ko"]),
    ("search", ["?", "-c", "ko"]),
    ("index", ["a.md", "-c", "ko"]),
    ("adapters add", ["a.md", "--base", "m", "--name", "a"]),
    ("adapters list", []),
    ("adapters remove", ["m:a"]),
    ("jobs", []),
    ("job", [JOB]),
    ("job", [JOB, "--follow"]),
    ("cancel", [JOB]),
    ("pause", [JOB]),
    ("resume", [BATCH]),
    ("steer", [JOB, "--weight", "2", "--at-once", "3", "--deadline", "12h"]),
    ("batch", [BATCH]),
    ("batches list", []),
    ("batches show", [BATCH]),
    ("batches cancel", [BATCH]),
    ("batches retry", [BATCH]),
    ("evaluate", ["q.jsonl", "-c", "ko"]),
    ("train", ["q.jsonl"]),
    ("sweep", ["q.jsonl", "--vary", "rank=8,16"]),
    ("benchmark", ["m", "--task", "perplexity=q.jsonl"]),
    ("dataset check", ["q.jsonl"]),
    ("dataset add", ["q.jsonl"]),
    ("dataset list", []),
    ("dataset generate", ["-c", "ko"]),
    ("report", [EVALUATION]),
    ("judge calibrate", ["judged.jsonl", "--metric", "faithfulness"]),
    ("compare", [EVALUATION, EVALUATION]),
    ("collections list", []),
    ("collections show", ["ko"]),
    ("collections set", ["ko", "--k1", "0.9"]),
    ("collections rebuild", ["ko"]),
    ("collections drop", ["ko"]),
    ("models", []),
    ("models", ["support"]),
    ("promote", ["support", "m"]),
    ("rollback", ["support"]),
    ("canary", ["support", "m"]),
    ("diff", ["m", "n"]),
    ("card", ["support"]),
    ("dead list", []),
    ("dead show", [DEAD]),
    ("dead requeue", ["--all"]),
    ("dead drop", ["--all"]),
    ("webhooks add", ["https://r.example/"]),
    ("webhooks list", []),
    ("webhooks show", [WH]),
    ("webhooks show", [EVT]),
    ("webhooks change", [WH, "--url", "https://r.example/"]),
    ("webhooks enable", [WH]),
    ("webhooks disable", [WH]),
    ("webhooks rotate", [WH]),
    ("webhooks secret", []),
    ("webhooks remove", [WH]),
    ("webhooks test", [WH]),
    ("webhooks deliveries", []),
    ("webhooks replay", [EVT]),
    ("key list", []),
    ("tracking list", []),
]
OF_A_SERVER = {
    *("up", "gateway", "worker", "relay", "migrate", "tune"),
    *("key create", "key revoke", "tracking retry", "tracking drop"),
}
OF_A_SERVER |= {"dataset import promptfoo"}
"""Commands that print nothing that a tenant wrote."""
OF_THE_DATABASE = {"key list", "tracking list"}
"""No gateway answers them."""
SILENT = {
    "adapters add",
    "adapters list",
    "adapters remove",
    "batches cancel",
    "batches retry",
    "cancel",
    "collections drop",
    "dead drop",
    "pause",
    "resume",
    "steer",
    "webhooks remove",
    "webhooks test",
    "webhooks replay",
}
"""Commands that print only ids and counts unless they are asked for JSON."""


class Peer:
    """Answers each call with text that must not be printed as it is; when `refusing`, with a refusal of that kind."""

    refusing = False
    job: dict[str, Any] = FAILED

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.refusing:
            problem = {"title": "no", "code": "conflict", "detail": "no", "remedy": "another", "field": "f"}
            return httpx.Response(409, json=poisoned(problem))
        where = (request.method, request.url.path)
        if where == ("POST", "/v1/jobs"):
            self.job = {**ASKED, "result": INDEXED} if b'"indexing"' in request.content else ASKED
            if b'"calibration"' in request.content:
                self.job = CALIBRATED
            if b'"evaluation"' in request.content:
                self.job = SCORED
            if b'"benchmark"' in request.content:
                self.job = BENCHMARKED
            if b'"training"' in request.content:
                self.job = TRAINED
            if b'"kind":"search"' in request.content:
                self.job = SWEPT
            if b'"kind":"dataset"' in request.content:
                self.job = QUALITY
            if b'"synthesis"' in request.content:
                self.job = SYNTHESISED
            return httpx.Response(202, json=poisoned(self.job))
        if where == ("GET", f"/v1/jobs/{JOB}"):
            return httpx.Response(200, json=poisoned(self.job))
        if where in {("GET", f"/v1/jobs/{id}/events") for id in (JOB, TRAINING, SWEEP)}:
            lines = [f"id: {e['id']}\nevent: {e['type']}\ndata: {json.dumps(poisoned(e))}\n\n" for e in (EVENT, END)]
            return httpx.Response(200, content="".join(lines), headers={"content-type": "text/event-stream"})
        if where == ("GET", "/v1/models/support/card"):
            return httpx.Response(200, text=poisoned("# support"))
        return httpx.Response(200, json=poisoned(ANSWERS[where]))


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Peer]:
    found = Peer()
    monkeypatch.setattr("producers.client.sync.Client", partial(Client, transport=httpx.MockTransport(found)))
    key = {"id": "key_1", "tenant": "t" + EVIL, "name": "n" + EVIL}
    monkeypatch.setattr("infra.postgres.keys.list_keys", lambda _: [key])
    refused = {"job": "job_1", "tenant": "t", "experiment": "e" + EVIL, "run": "r" + EVIL, "what": "run", "error": EVIL}
    said = {"said_at": datetime(2026, 11, 20, tzinfo=UTC)}
    monkeypatch.setattr("infra.postgres.refusals.list_refused", lambda dsn, limit: [refused | said])
    monkeypatch.delenv("WELIP_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("a.md").write_text("글")
    Path("q.jsonl").write_text("{}")
    Path("judged.jsonl").write_text('{"question": "?", "answer": "a", "human": true}')
    stamina.set_testing(True, attempts=1)
    yield found
    stamina.set_testing(False)
    stamina.instrumentation.set_on_retry_hooks(None)


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(path)
        return
    for name, child in children.items():
        yield from leaves(child, (*path, name))


def test_every_command_is_tried() -> None:
    assert {name for name, _ in COMMANDS} | OF_A_SERVER == set(leaves(typer.main.get_command(app)))


@pytest.mark.usefixtures("peer")
@pytest.mark.parametrize(("command", "arguments"), COMMANDS, ids=str)
def test_a_command_shows_control_characters_and_does_not_send_them(command: str, arguments: list[str]) -> None:
    told = CliRunner().invoke(app, [*command.split(), *arguments])
    assert told.exit_code in {0, 1}, told.stderr
    assert not CONTROLS.findall(told.output)
    assert "\\x1b]0;pwned\\x07" in told.output or command in SILENT


@pytest.mark.usefixtures("peer")
@pytest.mark.parametrize(("command", "arguments"), COMMANDS, ids=str)
def test_json_means_the_same_and_holds_no_control_character(command: str, arguments: list[str]) -> None:
    told = CliRunner().invoke(app, [*command.split(), *arguments, "--json"])
    assert not CONTROLS.findall(told.output)
    documents = told.stdout.splitlines() if "--follow" in arguments else [told.stdout]
    assert command in {"dead drop", "webhooks replay"} or any(EVIL in every_string(json.loads(d)) for d in documents)


def every_string(value: Any) -> str:
    match value:
        case dict():
            return " ".join(map(every_string, [*value, *value.values()]))
        case list():
            return " ".join(map(every_string, value))
    return str(value)


@pytest.mark.parametrize(("command", "arguments"), [one for one in COMMANDS if one[0] not in OF_THE_DATABASE], ids=str)
def test_a_refusal_is_shown_without_control_characters(peer: Peer, command: str, arguments: list[str]) -> None:
    peer.refusing = True
    told = CliRunner().invoke(app, [*command.split(), *arguments])
    assert told.exit_code == 2
    assert "\\x1b]0;pwned\\x07" in told.stderr
    assert not CONTROLS.findall(told.output)


def test_a_progress_bar_takes_neither_markup_nor_control_characters() -> None:
    bars = progress_bars(quiet=False)
    bars.add_task(f"[red]half{EVIL}")
    [task] = bars.tasks
    description, *_ = bars.columns
    assert isinstance(description, ProgressColumn)
    assert str(description.render(task)).startswith("[red]half\\x1b]0;pwned")


def test_text_of_every_language_stays_as_it_is() -> None:
    text = "한라산 漢拏山 é ñ العربية \t탭\n줄 👩‍👩‍👧 \u200e"
    assert visible(text) == text
    assert visible("\x1b\u202e") == "\\x1b\\u202e"
    assert json.loads(visible_json(json.dumps({"a": EVIL}, ensure_ascii=False))) == {"a": EVIL}
