"""A training from its dataset to an answer that it changed, on the whole stack; its worker is killed in the middle."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local import engines, training
from producers.client.errors import JobFailed
from producers.client.sync import Client
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
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
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
    }
    with Up(folder / "data", python=python, **settings) as stack:
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


@pytest.mark.models
@pytest.mark.timeout(3 * WITHIN_S)
def test_a_training_survives_its_worker_and_its_adapter_answers(up: Up, client: Client, tmp_path: Path) -> None:
    how = {"max_steps": 120, "epochs": 100, "batch_size": 4, "learning_rate": 0.002, "checkpoint_every_steps": 5}
    settings = {"register_as": "rules", "validation_share": 0.2, "hyperparameters": how}
    job = client.train(rules(tmp_path), "tiny", settings=settings)

    def saved() -> bool:
        if client.job(job.id).ended:
            raise AssertionError(client.job(job.id))
        return any((up.data / "blobs").rglob("checkpoints/a.json"))

    until(saved, "a checkpoint is stored", within_s=WITHIN_S)
    up.child("consumers").kill()
    made = client.training(job.id, timeout=WITHIN_S)
    assert made.resumes >= 1
    assert made.metrics.steps == 120
    before, after = made.metrics.validation_loss_before, made.metrics.validation_loss
    assert before is not None
    assert after is not None
    assert after < before
    assert (made.model, made.registered) == ("tiny:rules@1", True)
    assert said(client, "tiny:rules") != said(client, "tiny")
    assert not list((up.data / "blobs").rglob("checkpoints/*")), "checkpoints are removed at the end"


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
