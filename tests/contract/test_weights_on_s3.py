"""Weights in a bucket of a real S3 server: a worker fetches them once, whole, and names what is missing."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from infra.blobs.s3 import PIECE_BYTES, MinioBlobs
from infra.local.minio import MinioServer
from infra.settings import BlobsSettings, WeightsSettings
from infra.weights import fetched
from schemas.errors import Conflict, DependencyUnavailable, JobError
from schemas.models import VllmModel

PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
FILES = {
    "config.json": b"{}",
    "model.safetensors.index.json": json.dumps({"weight_map": {"a": PARTS[0], "b": PARTS[1]}}).encode(),
    PARTS[0]: bytes(range(256)) * (3 * PIECE_BYTES // 256),
    PARTS[1]: b"1",
}

pytestmark = pytest.mark.minio


class Bucket:
    """A bucket beside the deployment's own, with the weights under `models/llama`."""

    def __init__(self, server: MinioServer, folder: Path) -> None:
        self.name = f"weights-{uuid4().hex[:12]}"
        self.store = MinioBlobs(server.url, server.access_key, server.secret_key, self.name)
        own = server.url.replace("http://", "s3+http://")
        self.blobs = BlobsSettings(url=f"{own}/deployment", access_key=server.access_key, secret_key=server.secret_key)
        self.cache = WeightsSettings(cache=folder / "weights")

    async def fetch(self, prefix: str = "models/llama", **fields: object) -> Path:
        row = {"name": "m", "engine": "vllm", "weights": f"s3://{self.name}/{prefix}", **fields}
        return Path((await fetched(VllmModel.model_validate(row), self.blobs, self.cache)).weights)

    def kept(self) -> list[Path]:
        return [path for path in self.cache.cache.iterdir() if path.is_dir()]


@pytest.fixture
async def bucket(minio: MinioServer, tmp_path: Path) -> AsyncIterator[Bucket]:
    made = Bucket(minio, tmp_path)
    await made.store.ensure()
    for name, content in FILES.items():
        await made.store.put(f"models/llama/{name}", content)
    await made.store.put("models/llama/original/params.json", b"{}")  # in a folder, which is left out
    yield made
    await made.store.close()


async def test_workers_of_a_machine_fetch_them_once_into_a_folder_that_stays(bucket: Bucket) -> None:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    first, second = await asyncio.gather(bucket.fetch(sha256=digests), bucket.fetch(sha256=digests))
    assert first == second
    assert first.name == "llama"
    assert {path.name: path.read_bytes() for path in first.iterdir()} == FILES
    await bucket.store.put("models/llama/config.json", b"something else")
    assert await bucket.fetch() == first
    assert (first / "config.json").read_bytes() == FILES["config.json"]
    assert len(bucket.kept()) == 1


async def test_a_part_that_is_not_there_is_named_and_nothing_is_kept_until_it_is(bucket: Bucket) -> None:
    await bucket.store.delete(f"models/llama/{PARTS[1]}")
    with pytest.raises(Conflict, match=f"no s3://{bucket.name}/models/llama/{PARTS[1]}") as refused:
        await bucket.fetch()
    assert refused.value.reason == "weights_missing"
    assert bucket.kept() == []
    await bucket.store.put(f"models/llama/{PARTS[1]}", FILES[PARTS[1]])
    assert (await bucket.fetch()).is_dir()


async def test_other_bytes_than_promised_are_not_kept(bucket: Bucket) -> None:
    with pytest.raises(Conflict, match=f"the sha256 of s3://{bucket.name}/models/llama/{PARTS[0]} is") as refused:
        await bucket.fetch(sha256={PARTS[0]: "0" * 64})
    assert refused.value.reason == "weights_differ"
    assert bucket.kept() == []


async def test_a_place_without_weights_and_a_wrong_key_are_told(bucket: Bucket) -> None:
    async def refusal(prefix: str) -> JobError:
        with pytest.raises(JobError) as refused:
            await bucket.fetch(prefix)
        return refused.value

    missing = await refusal("models/none")
    assert missing.reason == "weights_missing"
    assert f"s3://{bucket.name}/models/none" in missing.message
    bucket.blobs = bucket.blobs.model_copy(update={"secret_key": SecretStr("wrong")})
    assert isinstance(await refusal("models/llama"), DependencyUnavailable)
    assert bucket.kept() == []
