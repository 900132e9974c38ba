"""Checkpoints in object storage: whole or absent, whatever happens to the worker or to the bytes."""

from pathlib import Path
from typing import Any

import pytest

from consumers.stages.training.checkpoints import Checkpoints, Manifest
from schemas.errors import DependencyUnavailable
from tests.unit.storage_in_memory import MemoryBlobs

ROOT = "t/jobs/1/checkpoints"


def manifest(step: int) -> Manifest:
    return Manifest(step=step, folder="", parts=[], seconds=step, resumes=0, validation_loss_before=2.0)


def folder(under: Path, step: int) -> Path:
    made = under / f"checkpoint-{step}"
    (made / "inner").mkdir(parents=True)
    (made / "optimizer.pt").write_bytes(b"moments %d" % step * 50)
    (made / "inner" / "weights.safetensors").write_bytes(b"weights %d" % step)
    (made / "training_args.bin").write_bytes(b"a pickle")
    return made


async def saved(blobs: MemoryBlobs, under: Path, *steps: int) -> None:
    checkpoints = Checkpoints(blobs, ROOT, epoch=3)
    for step in steps:
        await checkpoints.save(folder(under, step), manifest(step))


async def restored(blobs: MemoryBlobs, into: Path) -> tuple[int | None, list[str]]:
    found, damaged = await Checkpoints(blobs, ROOT, epoch=4).restore(into)
    return None if found is None else found.step, damaged


async def test_the_newest_checkpoint_comes_back_as_it_was_and_no_pickle_with_it(tmp_path: Path) -> None:
    blobs = MemoryBlobs()
    await saved(blobs, tmp_path, 10, 20, 30)
    assert await restored(blobs, tmp_path / "back") == (30, [])
    back = {str(path.relative_to(tmp_path / "back")) for path in (tmp_path / "back").rglob("*") if path.is_file()}
    assert back == {"optimizer.pt", "inner/weights.safetensors"}
    assert (tmp_path / "back" / "inner" / "weights.safetensors").read_bytes() == b"weights 30"


async def test_two_checkpoints_are_kept_and_older_ones_are_removed(tmp_path: Path) -> None:
    blobs = MemoryBlobs()
    await saved(blobs, tmp_path, 10, 20, 30)
    assert {key.removeprefix(f"{ROOT}/").partition("/")[0] for key in blobs.data} == {
        "a.json",
        "b.json",
        "3-20",
        "3-30",
    }


async def test_without_a_checkpoint_training_begins(tmp_path: Path) -> None:
    assert await restored(MemoryBlobs(), tmp_path / "back") == (None, [])
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "manifest"])
async def test_a_checkpoint_that_was_torn_is_passed_over_for_the_one_before(tmp_path: Path, damage: str) -> None:
    blobs = MemoryBlobs()
    await saved(blobs, tmp_path, 10, 20)
    key = f"{ROOT}/3-20/optimizer.pt"
    match damage:
        case "cut":
            blobs.data[key] = blobs.data[key][:-1]
        case "changed":
            blobs.data[key] = b"x" + blobs.data[key][1:]
        case "gone":
            del blobs.data[key]
        case "manifest":
            blobs.data[f"{ROOT}/b.json"] = blobs.data[f"{ROOT}/b.json"][:40]
    step, damaged = await restored(blobs, tmp_path / "back")
    assert step == 10
    assert len(damaged) == 1
    assert (tmp_path / "back" / "inner" / "weights.safetensors").read_bytes() == b"weights 10"


class Breaks(MemoryBlobs):
    """Goes away after so many writes."""

    writes_left = 0

    async def put_stream(self, key: str, chunks: Any, *, content_type: str = "") -> int:
        self._count()
        return await super().put_stream(key, chunks)

    async def put(self, key: str, data: bytes, *, content_type: str = "") -> None:
        self._count()
        await super().put(key, data)

    def _count(self) -> None:
        if not self.writes_left:
            raise DependencyUnavailable("away")
        self.writes_left -= 1


@pytest.mark.parametrize("writes", [0, 1, 2])
async def test_a_worker_that_dies_while_it_saves_leaves_the_checkpoint_before(tmp_path: Path, writes: int) -> None:
    blobs = Breaks()
    blobs.writes_left = 6
    await saved(blobs, tmp_path, 10, 20)
    blobs.writes_left = writes
    late = Checkpoints(blobs, ROOT, epoch=4)
    await late.restore(tmp_path / "late")
    with pytest.raises(DependencyUnavailable):
        await late.save(folder(tmp_path, 30), manifest(30))
    assert await restored(blobs, tmp_path / "back") == (20, [])


async def test_a_worker_that_lost_its_job_can_only_put_an_older_checkpoint_back(tmp_path: Path) -> None:
    blobs = MemoryBlobs()
    await saved(blobs, tmp_path, 10, 20)
    lost, owner = Checkpoints(blobs, ROOT, epoch=3), Checkpoints(blobs, ROOT, epoch=4)
    await lost.restore(tmp_path / "lost")
    await owner.restore(tmp_path / "owner")
    await owner.save(folder(tmp_path, 30), manifest(30))
    await lost.save(folder(tmp_path, 25), manifest(25))
    step, damaged = await restored(blobs, tmp_path / "back")
    assert (step, damaged) == (25, [])
    assert (tmp_path / "back" / "inner" / "weights.safetensors").read_bytes() == b"weights 25"
