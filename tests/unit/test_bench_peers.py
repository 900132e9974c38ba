"""What `make bench-peers` concludes from the workers' notes; the benchmark runs the queues themselves."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.peers import notes, tables
from benchmarks.peers.measure import RATES, Sizes, latency
from benchmarks.peers.notes import Notes
from benchmarks.peers.recovery import Patient
from benchmarks.peers.running import Peer, kill, processes
from benchmarks.peers.stores import PostgresStore
from benchmarks.peers.systems import SYSTEMS


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "_files", {})
    monkeypatch.setenv("PEERS_NOTES", str(tmp_path / "notes"))
    yield Notes(tmp_path / "notes", alive=lambda: True)
    for file in notes._files.values():
        os.close(file)


def test_notes_of_a_worker_are_read_back(kept):
    before = time.time()
    notes.started("job-1")
    notes.done("job-1")
    assert kept.wait(["job-1"], within_s=5) == 0
    assert before - 0.001 <= kept.started["job-1"] <= kept.done["job-1"] <= time.time()
    assert kept.writers == 1


def test_a_job_that_ran_twice_counts_from_its_first_start_to_its_first_end(kept):
    (kept.folder / "1.notes").write_text("s 10.0 job\n")
    (kept.folder / "2.notes").write_text("s 25.0 job\nd 26.0 job\n")
    kept.read()
    (kept.folder / "1.notes").write_text("s 10.0 job\nd 30.0 job\n")
    kept.read()
    assert kept.seconds(["job"]) == 16.0
    assert kept.times_done["job"] == 2


def test_half_a_line_is_read_when_its_other_half_has_come(kept):
    file = kept.folder / "1.notes"
    file.write_text("s 10.0 job\nd 11")
    kept.read()
    assert kept.done == {}
    file.write_text("s 10.0 job\nd 11.5 job\n")
    kept.read()
    assert kept.done == {"job": 11.5}


def test_waiting_says_how_many_jobs_are_unfinished(kept):
    notes.started("a")
    notes.done("a")
    notes.started("b")
    assert kept.wait(["a", "b", "c"], within_s=0.1) == 2


def test_waiting_for_workers_that_ended_fails_at_once(tmp_path):
    with pytest.raises(RuntimeError, match="ended by themselves"):
        Notes(tmp_path / "notes", alive=lambda: False).wait(["a"], within_s=60)


def test_latency_is_by_rank_and_a_job_that_is_not_done_is_slower_than_every_other():
    sent = {str(n): 100.0 for n in range(100)}
    done = {str(n): 100.0 + n / 1000 for n in range(98)}
    found = latency(sent, done)
    assert found["p50"] == pytest.approx(50, abs=0.01)
    assert found["p99"] is None


@pytest.mark.parametrize(
    ("values", "expected"), [([3.0, 1.0, 2.0], 2.0), ([1.0, None, 3.0], 3.0), ([1.0, None, None], None), ([], None)]
)
def test_a_round_that_did_not_keep_up_is_worse_than_every_figure(values, expected):
    assert tables.middle(values) == expected


def test_the_summary_can_be_written_as_json():
    turn = {"jobs_per_s": 10.5, "short_s": None, "latency_ms": {"50": {"p50": 1.0, "p99": 2.0}}}
    found = json.loads(json.dumps(tables.summary([turn, turn], None)))
    assert found["jobs_per_s_rounds"] == [10, 10]
    assert found["latency_ms"]["50"] == {"p50": 1.0, "p99": 2.0}
    assert found["latency_ms"][str(RATES[-1])] == {"p50": None, "p99": None}
    assert found["short_s"] is None


def test_each_queue_stands_in_both_tables_under_a_name_of_its_own():
    for table in ("durable", "default"):
        keys = [system.key for system in SYSTEMS if table in system.tables]
        assert len(keys) == len(set(keys))
        assert {system.queue for system in SYSTEMS if table in system.tables} == {system.queue for system in SYSTEMS}
    assert len({system.name for system in SYSTEMS}) == len(SYSTEMS)
    for system in SYSTEMS:
        assert importlib.util.find_spec(f"benchmarks.peers.queues.{system.queue}")


def test_what_runs_in_a_queues_environment_imports_nothing_of_ours():
    modules = ["benchmarks.peers.notes", "benchmarks.peers.queues.given", "benchmarks.peers.queues.threaded"]
    ask = f"import sys, {', '.join(modules)}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True, text=True).stdout.split()
    assert not {"infra", "schemas", "producers", "consumers", "gateway", "pydantic", "asyncpg"} & set(loaded)


def test_a_killed_worker_leaves_no_process_behind():
    nested = "import subprocess, time; subprocess.Popen(['sleep', '60']); print(flush=True); time.sleep(60)"
    worker = subprocess.Popen([sys.executable, "-c", nested], stdout=subprocess.PIPE, start_new_session=True)
    assert worker.stdout is not None
    with worker.stdout:
        worker.stdout.readline()
    (child,) = psutil.Process(worker.pid).children()
    kill(worker)
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_recovery_counts_unfinished_jobs_and_those_that_ended_twice(kept, tmp_path):
    peer = Peer(SYSTEMS[0], Path(sys.executable), PostgresStore("postgresql:///", "peer"), tmp_path)
    (kept.folder / "1.notes").write_text("s 1.0 a\nd 2.0 a\nd 3.0 a\ns 1.5 b\n")
    patient = Patient(peer, [], kept, [], {"a": time.time(), "b": time.time()}, killed=True)
    assert patient.look(Sizes()) is False
    assert patient.found() == {"recovered_s": None, "undone": 1, "twice": 1}
    with (kept.folder / "1.notes").open("a") as file:
        file.write("d 9.0 b\n")
    assert patient.look(Sizes()) is True
    assert patient.found() == {"recovered_s": 8.0, "undone": 0, "twice": 1}


def test_the_worker_that_runs_more_jobs_is_killed(kept, tmp_path):
    workers = [subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2)]
    try:
        lines = "".join(f"s 1.0 running{n}\n" for n in range(10))
        (kept.folder / f"{workers[1].pid}.notes").write_text("s 1.0 over\nd 2.0 over\n" + lines)
        jobs = dict.fromkeys(["over", "queued"], time.time())
        peer = Peer(SYSTEMS[0], Path(sys.executable), PostgresStore("postgresql:///", "peer"), tmp_path)
        patient = Patient(peer, workers, kept, [processes(worker) for worker in workers], jobs)
        assert patient.look(Sizes()) is False
        assert patient.killed
        assert workers[0].poll() is None
        assert workers[1].poll() == -9
    finally:
        for worker in workers:
            kill(worker)


def test_a_quick_run_is_smaller_in_everything():
    quick, whole = Sizes.quick(), Sizes()
    assert all(getattr(quick, name) < getattr(whole, name) for name in Sizes.__dataclass_fields__)
