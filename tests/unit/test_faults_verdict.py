"""The judge of the fault matrix: what it must not let pass."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from schemas.lifecycle import JobState as S
from tests.faults.journal import Journal, Try
from tests.faults.verdict import Verdict, twice

DONE = [S.RUNNING, S.SUCCEEDED]
AGAIN = [S.RUNNING, S.RETRY_WAIT, S.QUEUED, S.RUNNING, S.SUCCEEDED]


@dataclass
class Site:
    blobs: Path
    deaths: dict[int, float] = field(default_factory=dict)
    frozen: set[int] = field(default_factory=set)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def job(site: Site) -> UUID:
    """A job whose effect in each epoch is where it belongs."""
    made = uuid4()
    for epoch in (1, 2):
        effect = site.blobs / "objects" / _effect(made, epoch)
        effect.parent.mkdir(parents=True)
        effect.write_text(f"{made.hex} {epoch}")
    return made


def _effect(job: UUID, epoch: int) -> str:
    return f"default/jobs/{job.hex}/{epoch}/effect"


def row(job: UUID, *, epoch: int = 1, of: int | None = None, state: S = S.SUCCEEDED) -> dict[str, Any]:
    named = epoch if of is None else of
    return {
        "id": job,
        "kind": "probe",
        "state": state,
        "epoch": epoch,
        "result": json.dumps({"epoch": named, "effect": _effect(job, named)}),
    }


def tried(job: UUID, epoch: int, began: float, over: float | None, *, pid: int, how: str | None = "ended") -> Try:
    return Try(job, "act", epoch, epoch, pid, began, over, how if over is not None else None)


def test_a_job_that_ran_once_is_good(site: Site, job: UUID) -> None:
    assert twice(row(job), DONE, [tried(job, 1, 0, 1, pid=1)], site) is None


def test_a_job_whose_worker_died_and_that_ran_again_is_good(site: Site, job: UUID) -> None:
    site.deaths[1] = 1.0
    tries = [tried(job, 1, 0, None, pid=1), tried(job, 2, 5, 6, pid=2)]
    assert twice(row(job, epoch=2), AGAIN, tries, site) is None


def test_two_ends_are_seen(site: Site, job: UUID) -> None:
    assert "2 ends" in str(twice(row(job), [*DONE, S.SUCCEEDED], [tried(job, 1, 0, 1, pid=1)], site))


def test_an_end_without_history_is_seen(site: Site, job: UUID) -> None:
    assert "0 ends" in str(twice(row(job), [S.RUNNING], [tried(job, 1, 0, 1, pid=1)], site))


def test_a_move_that_no_job_may_make_is_seen(site: Site, job: UUID) -> None:
    assert "goes from queued to succeeded" in str(twice(row(job), [S.SUCCEEDED], [], site))


def test_two_tries_of_one_epoch_are_seen(site: Site, job: UUID) -> None:
    tries = [tried(job, 1, 0, 1, pid=1), tried(job, 1, 2, 3, pid=2)]
    assert "epochs [1, 1]" in str(twice(row(job), DONE, tries, site))


def test_two_tries_at_the_same_time_are_seen_unless_one_was_frozen(site: Site, job: UUID) -> None:
    tries = [tried(job, 1, 0, 6, pid=1), tried(job, 2, 5, 7, pid=2)]
    assert "at the same time" in str(twice(row(job, epoch=2), AGAIN, tries, site))
    site.frozen.add(1)
    assert twice(row(job, epoch=2), AGAIN, tries, site) is None


def test_a_try_whose_end_nobody_saw_counts_as_running(site: Site, job: UUID) -> None:
    tries = [tried(job, 1, 0, None, pid=1), tried(job, 2, 5, 7, pid=2)]
    assert "at the same time" in str(twice(row(job, epoch=2), AGAIN, tries, site))


def test_a_result_of_a_stale_epoch_is_seen(site: Site, job: UUID) -> None:
    tries = [tried(job, 1, 0, 1, pid=1), tried(job, 2, 5, 6, pid=2)]
    assert "of epoch 1" in str(twice(row(job, epoch=2, of=1), AGAIN, tries, site))


def test_an_effect_that_is_gone_is_seen(site: Site, job: UUID) -> None:
    (site.blobs / "objects" / _effect(job, 1)).unlink()
    assert "cannot be read" in str(twice(row(job), DONE, [tried(job, 1, 0, 1, pid=1)], site))


@pytest.mark.parametrize("bad", [{"lost": 1}, {"doubled": 1}, {"recovery_s": 2.0}, {"problems": ["something"]}])
def test_a_verdict_is_good_only_when_nothing_is_wrong(bad: dict[str, Any]) -> None:
    assert Verdict(jobs=1, bound_s=1.0).good
    assert not Verdict(jobs=1, bound_s=1.0, **bad).good


def test_the_journal_tells_tries_from_lines(tmp_path: Path) -> None:
    path, job = tmp_path / "journal", uuid4()
    act = f"{job.hex} act"
    path.write_text(f"1.0 began {act} 1 1 7\n2.0 began {act} 2 2 8\n3.0 aborted {act} 1 1 7\n4.0 en")
    journal = Journal(path)
    assert [(t.epoch, t.how) for t in journal.by_job()[job]] == [(1, "aborted"), (2, None)]
    assert [t.epoch for t in journal.running(8)] == [2]
    with path.open("a") as file:
        file.write(f"ded {act} 2 2 8\n")
    assert journal.running(8) == []
    assert journal.by_job()[job][1].how == "ended"
