"""Tokenised examples are kept for other trainings of the same examples."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from schemas.errors import (
    StorageFull,
)
from schemas.kinds.training.plan import (
    Frame,
    Tokenised,
    TrainingPlan,
)
from tests.unit.ports_in_memory import MemoryBlobs
from tests.unit.scripted_trainer import BEGUN, COUNTED, ends, place


def tokenises(plan: TrainingPlan) -> Frame:
    file = Path(plan.output) / "made.zip"
    file.write_bytes(b"tokens")
    return Tokenised(file=str(file))


async def test_another_training_of_the_same_examples_finds_them_tokenised(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, tokenises, BEGUN, ends])
    await here.trained()
    assert here.trainer.plans[0].tokenised is None
    [kept] = [key for key in here.world.blobs.data if "/tokenised/" in key]
    assert kept in here.world.expiry.after, "it goes by itself"

    async def tokenised(name: str, rows: bytes = b"train\n", **changes: Any) -> bytes | None:
        folder = tmp_path / name
        folder.mkdir()
        other = place(folder, [COUNTED, BEGUN, ends], **changes)
        other.world.blobs.data |= {kept: b"tokens", "t/rows": rows}
        await other.trained()
        found = other.trainer.plans[0].tokenised
        return None if found is None else Path(found).read_bytes()  # noqa: ASYNC240 - small, in a test

    assert await tokenised("rate", hyperparameters={"learning_rate": 0.1, "rank": 4, "batch_size": 8}) == b"tokens"
    assert await tokenised("rows", b"others\n") is None
    assert await tokenised("length", hyperparameters={"max_length": 64}) is None
    assert await tokenised("method", method="dpo") is None
    assert await tokenised("base", base_model="large") is None


async def test_a_tenant_without_room_trains_all_the_same(tmp_path: Path) -> None:
    class Full(MemoryBlobs):
        async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "") -> int:
            if "/tokenised/" in key:
                raise StorageFull("full")
            return await super().put_stream(key, chunks)

    here = place(tmp_path, [COUNTED, tokenises, BEGUN, ends])
    here.ports.blobs = Full(here.world.blobs.data)
    assert (await here.trained()).result.metrics.steps == 20
