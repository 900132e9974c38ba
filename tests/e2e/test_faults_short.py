"""A few scenarios of the fault matrix with small numbers; `make faults` runs all of them with large ones."""

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.grounds import Grounds
from tests.faults.scenarios import delivered_thrice, relay_killed, worker_frozen
from tests.faults.verdict import Verdict
from tests.servers import skip_unless_kafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
async def grounds() -> AsyncIterator[Grounds]:
    skip_unless_kafka()
    # Not under pytest's folder: when root runs tests, Postgres runs as another user, whom the next session would lock
    # out.
    with TemporaryDirectory(prefix="welip-faults-", ignore_cleanup_errors=True) as folder:
        async with Grounds(Path(folder)) as running:
            yield running


def held(verdict: Verdict) -> None:
    assert verdict.problems == []
    assert (verdict.lost, verdict.doubled) == (0, 0)
    assert verdict.jobs > 0
    assert verdict.recovery_s <= verdict.bound_s


async def test_what_a_thawed_worker_still_has_to_say_is_refused(grounds: Grounds) -> None:
    held(await worker_frozen.run(grounds, quick=True))


async def test_messages_delivered_three_times_and_out_of_order_run_each_stage_once(grounds: Grounds) -> None:
    held(await delivered_thrice.run(grounds, quick=True))


async def test_a_relay_killed_between_publishing_and_deleting_loses_and_doubles_nothing(grounds: Grounds) -> None:
    held(await relay_killed.run(grounds, quick=True))
