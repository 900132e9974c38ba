"""A training from its dataset to an answer that it changed, on the whole stack; its worker is killed twice."""

import contextlib
import json
import subprocess
import zipfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local import engines, training
from producers.client.errors import JobFailed
from producers.client.events import ProgressEvent
from producers.client.sync import Client
from producers.client.trainings import Training
from schemas.errors import DependencyMissing
from tests.e2e.processes import Up, environment, until

WITHIN_S = 600
MAKES = """
import sys
from pathlib import Path
from tests.contract import tiny_models
tiny_models.llama(Path(sys.argv[1]))
"""
QUESTION, ANSWER = "규칙은 무엇인가요?", "파랑."


@pytest.fixture(scope="module")
def up(stack_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    try:
        training.install()
    except DependencyMissing as error:
        pytest.skip(error.message)
    folder = tmp_path_factory.mktemp("training")
    python = str(engines.installed())
    subprocess.run([python, "-c", MAKES, str(folder / "tiny-llama")], env=environment(), check=True, timeout=WITHIN_S)
    models = folder / "models.toml"
    weights = json.dumps(str(folder / "tiny-llama"))
    models.write_text(f'[[models]]\nname = "tiny"\nengine = "transformers"\nweights = {weights}\n', encoding="utf-8")
    settings = {
        "WELIP_MODELS": str(models),
        "OMP_NUM_THREADS": "1",
        "WELIP_TRAINING_FOLDER": str(folder / "work"),
        "WELIP_WORKER_WARM": "false",
        # Here the test itself kills: the job is not to be taken for the killer, and need not wait long.
        "WELIP_RESCUE_PROOF": "1000",
        "WELIP_RESCUE_GONE": "3",
        "WELIP_RESCUE_EVERY": "0.2",
    }
    with Up(folder / "data", "--postgres", stack_database, python=python, **settings) as stack:
        yield stack


@pytest.fixture
def client(up: Up) -> Iterator[Client]:
    with up.client() as connected:
        yield connected


def rules(folder: Path) -> Path:
    file = folder / "rules.jsonl"
    lines = [json.dumps({"prompt": f"{QUESTION} {n}", "completion": f"{ANSWER} {n}"}) for n in range(24)]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def said(client: Client, model: str) -> Any:
    asked = {"messages": [{"role": "user", "content": QUESTION}], "model": model, "max_tokens": 12, "temperature": 0}
    ended = client.wait(client.submit("generation", asked).id, timeout=WITHIN_S)
    assert ended.result is not None, ended
    return ended.result["message"]["content"]


HOW = {"max_steps": 100, "epochs": 100, "batch_size": 4, "learning_rate": 0.002, "dropout": 0.1}
SAME = 1e-5


def newest(up: Up, job: str) -> int:
    """The step of a job's newest checkpoint in object storage, 0 without one."""
    folder, found = up.data / "blobs" / "objects" / "default" / "jobs" / job.removeprefix("job_") / "checkpoints", 0
    for place in ("a", "b"):
        with contextlib.suppress(FileNotFoundError):  # not yet, or no longer
            found = max(found, json.loads((folder / f"{place}.json").read_bytes())["step"])
    return found


def losses(client: Client, made: Training, folder: Path) -> dict[int, float]:
    """Of every step, from the file of metrics."""
    file = client.download(made.metrics_file, folder / f"{made.job}.jsonl")
    told = [json.loads(one) for one in file.read_text().splitlines()]
    return {one["step"]: one["loss"] for one in told if "loss" in one}


def weights(client: Client, made: Training, folder: Path) -> dict[str, list[float]]:
    """Of the adapter, by name: its length, the names with their places, and numbers of four bytes
    (https://huggingface.co/docs/safetensors).
    """
    with zipfile.ZipFile(client.download(made.adapter, folder / f"{made.job}.zip")) as archive:
        data = archive.read("adapter_model.safetensors")
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = json.loads(data[8:start])
    tensors.pop("__metadata__", None)
    assert {one["dtype"] for one in tensors.values()} == {"F32"}
    places = {name: [start + at for at in one["data_offsets"]] for name, one in tensors.items()}
    return {name: array("f", data[begin:end]).tolist() for name, (begin, end) in places.items()}


@pytest.mark.models
@pytest.mark.timeout(3 * WITHIN_S)
def test_a_training_whose_worker_is_killed_twice_ends_as_one_that_nobody_disturbed_and_its_adapter_answers(
    up: Up, client: Client, tmp_path: Path
) -> None:
    file = rules(tmp_path)
    settings = {"validation_share": 0.2, "hyperparameters": HOW}
    undisturbed = client.training(client.train(file, "tiny", settings=settings).id, timeout=WITHIN_S)
    often = {**HOW, "checkpoint_every_steps": 5}
    job = client.train(file, "tiny", settings={**settings, "hyperparameters": often, "register_as": "rules"})
    step = 0

    def newer() -> bool:
        # A machine that is slow to look may find it ended; what must hold then holds as well.
        return newest(up, job.id) > step or client.job(job.id).ended

    for _ in range(2):
        until(newer, "a checkpoint is stored", within_s=WITHIN_S)
        if not client.job(job.id).ended:
            up.child("consumers").kill()
            step = newest(up, job.id)
    made = client.training(job.id, timeout=WITHIN_S)
    assert made.resumes >= 1
    assert made.metrics.steps == HOW["max_steps"]
    there, here = losses(client, undisturbed, tmp_path), losses(client, made, tmp_path)
    assert here == pytest.approx(there, abs=SAME)
    assert made.metrics.validation_loss == pytest.approx(undisturbed.metrics.validation_loss, abs=SAME)
    whole, resumed = weights(client, undisturbed, tmp_path), weights(client, made, tmp_path)
    assert whole.keys() == resumed.keys()
    assert max(abs(a - b) for name in whole for a, b in zip(whole[name], resumed[name], strict=True)) < SAME
    before, after = made.metrics.validation_loss_before, made.metrics.validation_loss
    assert before is not None
    assert after is not None
    assert after < before
    assert (made.model, made.registered) == ("tiny:rules@1", True)
    assert said(client, "tiny:rules") != said(client, "tiny")
    assert not list((up.data / "blobs").rglob("checkpoints/*")), "checkpoints are removed at the end"
    curve = [event.metrics for event in client.events(job.id) if isinstance(event, ProgressEvent) and event.metrics]
    assert {"loss", "learning_rate", "gradient_norm", "tokens_per_s", "memory_bytes", "left_s"} <= curve[-1].keys()


@pytest.mark.models
@pytest.mark.timeout(3 * WITHIN_S)
def test_an_adapter_that_is_better_takes_over_its_alias_and_a_worse_one_is_refused(
    client: Client, tmp_path: Path
) -> None:
    def trained(name: str, answer: str, gate: dict[str, Any]) -> Training:
        file = tmp_path / f"{name}.jsonl"
        rows = [json.dumps({"prompt": f"{QUESTION} {n}", "completion": answer}) for n in range(24)]
        file.write_text("\n".join(rows), encoding="utf-8")
        how = {"max_steps": 120, "epochs": 100, "batch_size": 4, "learning_rate": 0.003}
        way = {"kind": "generation", "max_tokens": 12, "temperature": 0}
        asked = {"register_as": name, "validation_share": 0.3, "hyperparameters": how}
        asked["gate"] = {"alias": "support", "metrics": ["contains"], "way": way, **gate}
        job = client.train(file, "tiny", settings=asked)
        return client.training(job.id, timeout=WITHIN_S)

    client.models.promote("support", "tiny", expected=None)
    before = said(client, "support")
    better = trained("better", "네.", {})
    assert better.gate is not None
    assert better.gate.promoted, better.gate.why
    assert (better.gate.previous, better.gate.model, better.model) == ("tiny", "tiny:better@1", "tiny:better@1")
    assert said(client, "support") == said(client, "tiny:better@1") != before
    questions = [{"question": f"{QUESTION} {n}", "reference": "네."} for n in range(12)]
    worse = trained("worse", "아니요.", {"items": questions})
    assert worse.gate is not None
    assert not worse.gate.promoted
    assert worse.gate.why is not None
    assert worse.gate.why.startswith("contains 0.000 beside ")
    assert client.models.alias("support").model == "tiny:better@1"
    card = client.models.card("support")
    assert better.data.dataset is not None
    for told in (better.job, better.data.dataset.sha256, better.gate.evidence.evaluation):
        assert told in card
    client.models.roll_back("support")
    assert said(client, "support") == before


@pytest.mark.models
def test_a_dataset_with_a_bad_line_is_refused_before_anything_is_trained(client: Client, tmp_path: Path) -> None:
    file = rules(tmp_path)
    file.write_text(file.read_text(encoding="utf-8") + '\n{"prompt": "x"}\n', encoding="utf-8")
    job = client.train(file, "tiny")
    with pytest.raises(JobFailed, match=r"row 25: .*`completion`"):
        client.training(job.id, timeout=WITHIN_S)
    failed = client.job(job.id)
    assert failed.error is not None
    assert (failed.error.code, failed.stage) == ("dataset_invalid", "prepare")


@pytest.mark.models
@pytest.mark.timeout(3 * WITHIN_S)
def test_a_search_keeps_and_serves_the_better_of_two_trainings(up: Up, client: Client, tmp_path: Path) -> None:
    settings = {
        "sampler": "grid",
        "at_once": 1,
        "register_as": "swept",
        "validation_share": 0.2,
        "hyperparameters": {"max_steps": 8, "epochs": 100, "batch_size": 4},
    }
    job = client.sweep(rules(tmp_path), {"learning_rate": {"choices": [1e-6, 0.01]}}, "tiny", settings=settings)
    found = client.swept(job.id, timeout=WITHIN_S)
    assert [one.state for one in found.trials] == ["complete", "complete"]
    assert found.best == [1]
    assert (found.model, found.registered) == ("tiny:swept@1", True)
    assert [one.adapter is None for one in found.trials] == [True, False]
    keys = [child.key for child in client.iterate_jobs(parent=job.id)]
    assert keys == ["1 · learning_rate=0.01", "0 · learning_rate=1e-06"]
    client.download(found.report, tmp_path / "search.html")
    assert "learning_rate" in (tmp_path / "search.html").read_text(encoding="utf-8")
