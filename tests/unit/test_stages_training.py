"""The stages of `training` without torch: a run is followed, and its end becomes the job's."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from consumers.stages import patience
from consumers.stages.training import pausing
from consumers.stages.training.choosing import batch_size
from schemas.adapters import NewAdapter
from schemas.errors import (
    Conflict,
    DependencyUnavailable,
    InvalidInput,
    StorageFull,
    TrainingBroke,
    TrainingFailed,
)
from schemas.kinds.training import TrainingResult
from schemas.kinds.training.plan import (
    Failed,
    Frame,
    Stopped,
    TrainingPlan,
)
from schemas.lineage import Lineage
from schemas.outcomes import UNTIL_RESUMED, Done, Fail, Snooze
from tests.unit.ports_in_memory import MemoryBlobs, World
from tests.unit.scripted_trainer import BEGUN, COUNTED, Place, ends, place, saves, stepped


class Registry:
    error: Exception | None = None

    async def registered(self, tenant: str, new: NewAdapter, lineage: Lineage, run: UUID | None) -> str:
        if self.error is not None:
            raise self.error
        assert lineage.archive == new.file
        return f"{new.base}:{new.name}@1 of {tenant}"


async def test_a_run_that_ends_leaves_an_archive_and_figures_and_then_no_checkpoint(tmp_path: Path) -> None:
    here = place(
        tmp_path,
        [COUNTED, BEGUN, stepped(0, validation_loss=2.0), stepped(10, loss=1.0), saves(10), ends],
    )
    carry = await here.trained()
    assert set(carry.leftovers) >= {"t/rows", "t/held"}, "until the end is recorded they may be needed again"
    here.ports.adapter_registry = Registry()
    done = await here.register(carry)
    assert isinstance(done, Done)
    result = TrainingResult.model_validate(done.result)
    assert (result.registered, result.model, result.resumes) == (False, None, 0)
    assert (result.metrics.validation_loss_before, result.metrics.validation_loss) == (2.0, 0.7)
    assert (result.data.rows, result.data.tokens, result.data.masked_away) == (20, 900, 1)
    assert any("longer than max_length" in warning for warning in result.warnings)
    packed = here.archive(result.adapter)
    assert set(packed) == {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert json.loads(packed["adapter_config.json"])["base_model_name_or_path"] == "small"
    assert here.checkpoints == []
    assert "t/rows" not in here.world.blobs.data
    assert (10, 20, "loss 1.000 · 100 tokens/s · 2 s left") in here.world.reports
    plan = here.trainer.plans[0]
    assert (plan.weights, plan.batch_size, plan.learning_rate, plan.alpha) == ("/models/small", 2, 2e-4, 32)
    assert (tmp_path / "train.jsonl").read_bytes() == b"train\n"


async def test_a_training_of_more_nodes_than_there_are_fails_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        await place(tmp_path, nodes=3).train()
    assert (refused.value.reason, refused.value.field) == ("nodes_unavailable", "input.nodes")
    here = place(tmp_path, [COUNTED, BEGUN, Stopped(step=1)], nodes=2)
    await here.train()
    assert [plan.nodes for plan in here.trainer.plans] == [2]


async def test_a_named_adapter_is_registered_and_one_that_is_refused_is_still_the_result(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, BEGUN, ends], base_model="large", register_as="mine")
    carry = await here.trained()
    here.ports.adapter_registry = registry = Registry()
    done = await here.register(carry)
    assert isinstance(done, Done)
    assert (done.result["model"], done.result["registered"]) == ("large:mine@1 of t", True)
    registry.error = Conflict("too many", code="too_many_adapters")
    failed = await here.register(carry)
    assert isinstance(failed, Fail)
    assert failed.result is not None
    assert failed.result["adapter"] == done.result["adapter"]
    registry.error = DependencyUnavailable("away")
    with pytest.raises(DependencyUnavailable):
        await here.register(carry)


async def test_a_worker_that_stops_stores_its_checkpoint_and_the_next_goes_on_from_there(tmp_path: Path) -> None:
    here = place(
        tmp_path,
        [COUNTED, BEGUN, stepped(0, validation_loss=2.0), saves(10), Stopped(step=10)],
        [COUNTED, BEGUN, ends],
    )
    assert await here.train() == Snooze(timedelta(0))
    assert here.checkpoints
    here.job = World.again(here.job)
    result = (await here.trained()).result
    assert here.trainer.resumed[1]["adapter_model.safetensors"] == b"weights 10"
    assert here.trainer.resumed[1]["optimizer.pt"] == b"moments"
    assert (result.resumes, result.metrics.validation_loss_before) == (1, 2.0)
    assert result.metrics.seconds == pytest.approx(3.0)


async def test_where_memory_runs_out_half_of_the_examples_are_taken_once(tmp_path: Path) -> None:
    broke = Failed(code="out_of_memory", message="CUDA out of memory")
    here = place(tmp_path, [COUNTED, BEGUN, saves(5), broke], [COUNTED, BEGUN, ends])
    result = (await here.trained()).result
    assert [plan.device_batch_size for plan in here.trainer.plans] == ["auto", 4]
    assert here.trainer.plans[1].batch_size == here.trainer.plans[0].batch_size
    assert here.trainer.resumed[1]["adapter_model.safetensors"] == b"weights 5"
    assert any("4 examples at a time from step 5 on" in warning for warning in result.warnings)


async def test_memory_that_runs_out_twice_fails_the_job(tmp_path: Path) -> None:
    broke = Failed(code="out_of_memory", message="CUDA out of memory")
    here = place(tmp_path, [COUNTED, BEGUN, broke], [COUNTED, BEGUN, broke])
    with pytest.raises(TrainingFailed) as failed:
        await here.train()
    assert (failed.value.reason, failed.value.retryable) == ("out_of_memory", False)


async def test_a_loss_that_is_no_number_leaves_the_last_good_adapter(tmp_path: Path) -> None:
    broken = Failed(code="loss_not_finite", message="at step 12 ...")
    here = place(tmp_path, [COUNTED, BEGUN, saves(5), saves(10), broken])
    failed = await here.train()
    assert isinstance(failed, Fail)
    assert failed.error.reason == "loss_not_finite"
    assert failed.result is not None
    packed = here.archive(failed.result["adapter"])
    assert packed["adapter_model.safetensors"] == "weights 10"
    assert "optimizer.pt" not in packed


async def test_a_fault_of_the_machine_is_tried_again(tmp_path: Path) -> None:
    here = place(tmp_path, [Failed(code="disk_full", message="full", retryable=True)])
    with pytest.raises(TrainingBroke) as broke:
        await here.train()
    assert (broke.value.reason, broke.value.retryable) == ("disk_full", True)


class Away(MemoryBlobs):
    """Fails so many writes of checkpoints."""

    error: Exception
    times = 0

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "") -> int:
        if "/checkpoints/" in key and self.times:
            self.times -= 1
            raise self.error
        return await super().put_stream(key, chunks)


def with_storage(here: Place, error: Exception, times: int) -> None:
    blobs = Away(here.world.blobs.data)
    blobs.error, blobs.times = error, times
    here.ports.blobs = blobs


async def test_a_checkpoint_waits_until_storage_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.01)
    here = place(tmp_path, [COUNTED, BEGUN, saves(5), saves(10), saves(15), Stopped(step=15)])
    with_storage(here, DependencyUnavailable("away"), 3)
    assert await here.train() == Snooze(timedelta(0))
    assert any("/checkpoints/1-15/" in key for key in here.checkpoints)
    assert len(list((tmp_path / "output").glob("checkpoint-*"))) == 1, "what is stored is removed from the disk"


async def test_a_full_storage_ends_the_training(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, BEGUN, saves(5), Stopped(step=5)])
    with_storage(here, StorageFull("full"), 1)
    with pytest.raises(StorageFull):
        await here.train()


@pytest.mark.parametrize(("examples", "size"), [(3, 1), (16, 2), (64, 8), (10_000, 16)])
def test_a_small_dataset_gets_a_small_batch(examples: int, size: int) -> None:
    assert batch_size(examples, "sft") == size
    assert batch_size(examples, "kto") == max(4, size)


async def stops_when_told(plan: TrainingPlan) -> Frame:
    while not Path(plan.stop_file).exists():  # noqa: ASYNC240 - no file is read
        await asyncio.sleep(0.01)
    return Stopped(step=10)


async def test_a_paused_training_saves_a_checkpoint_leaves_its_worker_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pausing, "EVERY_S", 0.01)

    def paused(plan: TrainingPlan) -> Frame:
        here.world.steering.pause = True
        return stepped(9, loss=1.0)

    here = place(tmp_path, [COUNTED, BEGUN, paused, saves(10), stops_when_told], [COUNTED, BEGUN, ends])
    assert await here.train() == Snooze(UNTIL_RESUMED)
    assert any("/checkpoints/1-10/" in key for key in here.checkpoints)
    here.job = World.again(here.job)
    assert await here.train() == Snooze(UNTIL_RESUMED), "a paused job that a worker takes all the same leaves it"
    assert len(here.trainer.plans) == 1
    here.world.steering.pause = False
    (tmp_path / "stop").unlink()  # in its own workspace, the next try finds none
    assert (await here.trained()).result.resumes == 1
    assert here.trainer.resumed[1]["adapter_model.safetensors"] == b"weights 10"
