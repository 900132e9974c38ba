"""Weights in object storage: fetched once into a folder that is whole or not there."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from infra.blobs.folder import FolderBlobs
from infra.settings import BlobsSettings, WeightsSettings
from infra.weights import UNFINISHED, fetched
from schemas.errors import Conflict
from schemas.models import VllmModel

FILES = {"config.json": b"{}", "model.safetensors": b"0" * 3_000_000}


class Storage:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "blobs"
        self.blobs = BlobsSettings(url=f"file://{self.root}")
        self.cache = WeightsSettings(cache=folder / "weights")

    async def keep(self, prefix: str) -> None:
        store = FolderBlobs(self.root)
        for name, content in FILES.items():
            await store.put(f"{prefix}/{name}", content)

    async def fetch(self, weights: str = "blobs://models/tiny", **fields: object) -> Path:
        row = {"name": "m", "engine": "vllm", "weights": weights, **fields}
        return Path((await fetched(VllmModel.model_validate(row), self.blobs, self.cache)).weights)

    def folders(self) -> list[Path]:
        return [path for path in self.cache.cache.iterdir() if path.is_dir()]


@pytest.fixture
async def storage(tmp_path: Path) -> Storage:
    made = Storage(tmp_path)
    await made.keep("models/tiny")
    return made


async def test_every_file_under_the_prefix_is_fetched_once(storage: Storage) -> None:
    await storage.keep("models/tiny/original")  # a folder in it is left out
    first, second = await asyncio.gather(storage.fetch(), storage.fetch())
    assert first == second
    assert first.name == "tiny"
    assert {path.name: path.read_bytes() for path in first.iterdir()} == FILES
    await FolderBlobs(storage.root).delete("models/tiny")
    assert await storage.fetch() == first, "it is kept, also for the next worker"
    assert len(storage.folders()) == 1


async def test_weights_that_are_not_what_they_should_be_are_not_kept(storage: Storage) -> None:
    right = hashlib.sha256(FILES["config.json"]).hexdigest()
    for digests, code in (
        ({"config.json": "0" * 64}, "weights_differ"),
        ({"config.json": right, "none.bin": right}, "weights_missing"),
    ):
        with pytest.raises(Conflict) as refused:
            await storage.fetch(sha256=digests)
        assert refused.value.reason == code
        assert storage.folders() == []
    assert (await storage.fetch(sha256={"config.json": right})).is_dir()


async def test_what_a_killed_worker_left_is_no_part_of_it(storage: Storage) -> None:
    whole = await storage.fetch()
    source = whole.parent.name
    making = storage.cache.cache / f"{UNFINISHED}{source}"
    making.mkdir()
    (making / "rest.bin").write_bytes(b"half")
    (whole / "config.json").unlink()
    (whole / "model.safetensors").unlink()
    whole.rmdir()
    assert {path.name for path in (await storage.fetch()).iterdir()} == set(FILES)


@pytest.mark.parametrize(
    ("weights", "said"),
    [("blobs://models/none", "no files under"), ("s3://bucket/models/tiny", "WELIP_BLOBS_URL names a folder")],
)
async def test_weights_that_are_not_there_are_told(storage: Storage, weights: str, said: str) -> None:
    with pytest.raises(Conflict, match=said) as refused:
        await storage.fetch(weights)
    assert refused.value.reason == "weights_missing"


async def test_weights_elsewhere_stay_where_they_are(storage: Storage) -> None:
    row = VllmModel(name="m", engine="vllm", weights="Qwen/Qwen3-8B")
    assert await fetched(row, storage.blobs, storage.cache) is row
