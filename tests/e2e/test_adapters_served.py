"""An adapter from its upload to an answer that it changed: the whole stack, with transformers and a tiny model.

The model's weights lie in object storage.
"""

import asyncio
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.blobs.folder import FolderBlobs
from infra.local import engines
from producers.client.adapters import Adapter
from producers.client.errors import ApiError
from producers.client.sync import Client
from schemas.errors import DependencyMissing
from tests.e2e.processes import Up, environment, until

WITHIN_S = 300
MAKES = """
import sys
from pathlib import Path
from tests.contract import tiny_models

folder = Path(sys.argv[1])
base = tiny_models.llama(folder / "tiny-llama")
for name, config in (("one", {"seed": 1}), ("two", {"seed": 2}), ("dora", {"use_dora": True})):
    tiny_models.adapter(base, folder / name, **config)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama and adapters trained on it, as folders and as archives."""
    try:
        python = engines.install()
    except DependencyMissing as error:
        pytest.skip(error.message)
    folder = tmp_path_factory.mktemp("adapters")
    subprocess.run([str(python), "-c", MAKES, str(folder)], env=environment(), check=True, timeout=WITHIN_S)
    for name in ("one", "two", "dora"):
        shutil.make_archive(str(folder / name), "zip", folder / name)
    return folder


@pytest.fixture(scope="module")
def up(made: Path, stack_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    models = made / "models.toml"
    models.write_text('[[models]]\nname = "tiny"\nengine = "transformers"\nweights = "blobs://models/tiny-llama"\n')
    folder = tmp_path_factory.mktemp("stack")
    settings = {"WELIP_MODELS": str(models), "OMP_NUM_THREADS": "1", "WELIP_BLOBS_URL": f"file://{folder / 'stored'}"}
    asyncio.run(store(made / "tiny-llama", folder / "stored"))
    with (
        Up(folder / "data", "--postgres", stack_database, python=str(engines.installed()), **settings) as stack,
        httpx.Client(base_url=stack.url) as client,
    ):
        until(lambda: _model(client, "tiny").get("served"), "the model is served", within_s=WITHIN_S)
        yield client


async def store(weights: Path, folder: Path) -> None:
    blobs = FolderBlobs(folder)
    for name in os.listdir(weights):
        await blobs.put(f"models/{weights.name}/{name}", (weights / name).read_bytes())


def _model(client: httpx.Client, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/models/{name}").json()
    return found


def register(client: httpx.Client, archive: Path, name: str) -> Adapter:
    with Client(str(client.base_url)) as ours:
        try:
            return ours.adapters.add(archive, "tiny", name)
        finally:
            assert not ours.files().data, "the uploaded file is removed"


def submit(client: httpx.Client, model: str) -> httpx.Response:
    asked = {"messages": [{"role": "user", "content": "안녕"}], "model": model, "max_tokens": 12, "temperature": 0}
    return client.post(
        "/v1/jobs", json={"kind": "generation", "input": asked}, headers={"prefer": "wait=60"}, timeout=120
    )


def answer(client: httpx.Client, model: str) -> tuple[str, str]:
    """What the model says, and what the result calls it."""
    job = submit(client, model).json()
    assert job["state"] == "succeeded", job
    return job["result"]["message"]["content"], job["result"]["model"]


@pytest.mark.models
@pytest.mark.timeout(2 * WITHIN_S)
def test_a_registered_adapter_changes_the_answer_until_it_is_removed(up: httpx.Client, made: Path) -> None:
    plain = answer(up, "tiny")
    assert plain[1] == "tiny"
    assert register(up, made / "one.zip", "mine").version == 1
    one, two = answer(up, "tiny:mine"), register(up, made / "two.zip", "mine")
    assert (one[1], two.version, _model(up, "tiny:mine")["served"]) == ("tiny:mine@1", 2, True)
    newest = answer(up, "tiny:mine")
    assert newest[1] == "tiny:mine@2"
    assert len({plain[0], one[0], newest[0]}) == 3
    assert answer(up, "tiny:mine@1") == one
    assert answer(up, "tiny") == plain
    with pytest.raises(ApiError, match="DoRA") as refused:
        register(up, made / "dora.zip", "mine")
    assert (refused.value.status, refused.value.code) == (422, "adapter_refused")
    with Client(str(up.base_url)) as ours:
        assert [(one.id, one.version) for one in ours.adapters.list()] == [("tiny:mine", 2)]
        assert ours.adapters.remove("tiny:mine").deleted
    assert submit(up, "tiny:mine").json()["code"] == "adapter_not_found"


@pytest.mark.models
@pytest.mark.timeout(WITHIN_S)
def test_a_benchmark_measures_a_model_and_asks_nothing_twice(up: httpx.Client, tmp_path: Path) -> None:
    exam, texts = tmp_path / "exam.jsonl", tmp_path / "texts.txt"
    rows = [{"question": f"{n} + 1?", "choices": [str(n + 1), str(n)], "answer": 0} for n in range(8)]
    exam.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    texts.write_text("한라산은 제주도에 있다.\n" * 40)
    tasks = [
        {"type": "multiple_choice", "name": "exam", "file": exam},
        {"type": "perplexity", "name": "texts", "file": texts},
    ]
    with Client(str(up.base_url)) as client:
        first, again = (client.benchmark(client.run_benchmark("tiny", tasks).id, timeout=WITHIN_S) for _ in range(2))
        samples = client.download(first.samples, tmp_path / "samples.jsonl").read_text()
    assert [(task.name, task.items, next(iter(task.metrics))) for task in first.tasks] == [
        ("exam", 8, "acc"),
        ("texts", 1, "perplexity"),
    ]
    assert (first.asked, first.reused, again.asked, again.reused) == (9, 0, 0, 9)
    assert [task.metrics for task in again.tasks] == [task.metrics for task in first.tasks]
    assert first.tasks[1].metrics["perplexity"].value > 1
    assert len(samples.splitlines()) == 9


@pytest.mark.models
@pytest.mark.usefixtures("lm_eval")
@pytest.mark.timeout(2 * WITHIN_S)
def test_a_task_of_lm_eval_is_answered_by_the_worker(up: httpx.Client, tmp_path: Path) -> None:
    rows = [{"q": f"{n} + 1 =", "a": [str(n + 1), "0"], "right": 0} for n in range(4)]
    task = {"task": "mine", "output_type": "multiple_choice", "test_split": "test", "doc_to_text": "{{q}}"}
    task |= {"doc_to_choice": "{{a}}", "doc_to_target": "right", "metric_list": [{"metric": "acc"}]}
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as to:
        to.writestr("mine.yaml", json.dumps(task))
        to.writestr("test.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    with Client(str(up.base_url)) as client:
        job = client.run_benchmark("tiny", [{"type": "lm_eval", "task": "mine", "file": archive}])
        found = client.benchmark(job.id, timeout=WITHIN_S)
    [result] = found.tasks
    assert (result.name, result.items, set(result.metrics)) == ("mine", 4, {"acc"})
    assert (found.asked, found.versions["lm_eval"]) == (4, "0.4.13")
