"""How fast a job trains beside TRL alone, what checkpoints and killed workers cost, and whether the model learns.

`python -m benchmarks.train` runs the embedded stack with SmolLM2-135M-Instruct on this machine's processor. 64 rows of
made-up house rules are trained on: for `--steps` steps by TRL alone and as a job in turn, as a job that stores a
checkpoint after every step, and as one whose worker is killed twice; then for `--epochs` epochs, and ten other
phrasings are asked before and after. The last line is JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from benchmarks.house_rules import questions, training_rows
from benchmarks.train_share import Run, alone, logged, share
from infra.local import engines, models, training
from infra.local.child import free_port
from producers.client.sync import Client
from producers.client.trainings import Training

WITHIN_S: Final = 3_600
PARTS: Final = ("share", "checkpoints", "kills", "rules")
INTERVAL_S: Final = 600
"""Between two checkpoints, by default."""
HOW: Final = {
    "batch_size": 8,
    "device_batch_size": 8,
    "max_length": 128,
    "learning_rate": 5e-4,
    "rank": 16,
    "alpha": 32,
    "seed": 0,
}
CLI: Final = "from producers.client.cli import main; main()"


def main() -> int:
    """Exit status 0; 1 when a job did not succeed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--steps", type=int, default=10, help="of each run that is timed")
    parser.add_argument("--rounds", type=int, default=4, help="of TRL alone and of the job, in turn")
    parser.add_argument("--epochs", type=float, default=6, help="of the run after which the rules are asked for")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured; all of it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="welip-bench-") as made:
        found = measure(Path(made), given.steps, given.rounds, given.epochs, frozenset(given.parts))
    for name, value in found.items():
        print(f"{name:28} {value}")
    print(json.dumps(found))
    return 0


def measure(folder: Path, steps: int, rounds: int, epochs: float, parts: frozenset[str]) -> dict[str, Any]:
    """The figures of these parts."""
    weights = models.make_smollm2()
    python = training.install()
    rows = folder / "rules.jsonl"
    rows.write_text("\n".join(json.dumps(row) for row in training_rows()), encoding="utf-8")
    with stack(folder, weights) as (up, url), Client(url) as client:
        bench = Bench(client, up, folder, rows, {**HOW, "max_steps": steps, "epochs": 100})
        found: dict[str, Any] = {}
        wholes: list[Training] = []
        apart: list[Run] = []
        for _ in range(rounds if "share" in parts else 1):
            if "share" in parts:
                if not apart:
                    known(client, "small", questions()[:1])  # the worker has loaded all that it loads in advance
                how = {**HOW, "weights": str(weights), "max_steps": steps, "warmup_steps": int(0.03 * steps)}
                apart.append(alone(python, folder, how))
                note(f"alone: steps of {_told(apart[-1])} s")
            if parts & {"share", "checkpoints", "kills"}:
                wholes.append(bench.train(bench.timed))
        runs = [bench.run(made) for made in wholes]
        for run in runs:
            note(f"as a job: steps of {_told(run)} s")
        if "share" in parts:
            found |= share(apart, runs)
        if "checkpoints" in parts:
            often = bench.run(bench.train({**bench.timed, "checkpoint_every_steps": 1}))
            more = [after - before for before, after in zip(runs[-1].steps, often.steps, strict=True)]
            a_checkpoint = max(0.0, statistics.median(more))
            found["checkpoint_cost"] = round(a_checkpoint / INTERVAL_S, 5)
            found["checkpoint_s"] = round(a_checkpoint, 3)
        if "kills" in parts:
            found |= bench.killed(wholes[0])
        if "rules" in parts:
            found["rules_known_before"] = known(client, "small", questions())
            bench.train({**HOW, "epochs": epochs}, register_as="rules")
            found["rules_known_after"] = known(client, "small:rules", questions())
            found["rules"] = len(questions())
    return found


@dataclass(frozen=True, slots=True)
class Bench:
    """Trains on the house rules. `timed`: the hyperparameters of runs that are compared."""

    client: Client
    up: "subprocess.Popen[bytes]"
    folder: Path
    rows: Path
    timed: dict[str, Any]

    def submit(self, how: dict[str, Any], **settings: Any) -> str:
        """Begin a training; the id of its job."""
        asked = {"validation_share": 0, "hyperparameters": how, **settings}
        return self.client.train(self.rows, "small", settings=asked).id

    def train(self, how: dict[str, Any], **settings: Any) -> Training:
        """A training to its end."""
        began = time.monotonic()
        made = self.client.training(self.submit(how, **settings), timeout=WITHIN_S)
        note(f"{made.metrics.steps} steps: {made.metrics.seconds:.0f} s of {time.monotonic() - began:.0f} s")
        return made

    def run(self, made: Training) -> Run:
        """The steps of a training that ended."""
        return logged(self.client.download(made.metrics_file, self.folder / "metrics.jsonl").read_text().splitlines())

    def killed(self, whole: Training) -> dict[str, Any]:
        """A job whose worker is killed twice, beside one that nobody disturbed."""
        steps = self.timed["max_steps"]
        job = self.submit({**self.timed, "checkpoint_every_steps": 2})
        until(lambda: loading(self.client, job))
        begun = time.monotonic()
        took = loads = 0.0
        for part in (3, 1.5):
            until(lambda: stepping(self.client, job) > 0)
            loads = loads or time.monotonic() - begun
            until(lambda aim=int(steps / part): stepping(self.client, job) >= aim)  # type: ignore[misc]
            worker(self.up).kill()
            lost = time.monotonic()
            until(lambda: loading(self.client, job))  # until then the job tells what it told before
            until(lambda: stepping(self.client, job) > 0)
            took = time.monotonic() - lost
            note(f"killed at step {int(steps / part)} of {steps}: {took:.0f} s later it makes steps again")
        made = self.client.training(job, timeout=WITHIN_S)
        there, here = (self.adapter(one) for one in (whole, made))
        return {
            "loss_difference_after_kills": abs((made.metrics.train_loss or 0) - (whole.metrics.train_loss or 0)),
            "weights_difference_after_kills": float(np.abs(there - here).max()),
            "resumes": made.resumes,
            "resume_s": round(took, 1),
            "load_s": round(loads, 1),
        }

    def adapter(self, made: Training) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """All numbers of an adapter: behind its header, which says how long it is
        (https://huggingface.co/docs/safetensors).
        """
        with zipfile.ZipFile(self.client.download(made.adapter, self.folder / "adapter.zip")) as archive:
            data = archive.read("adapter_model.safetensors")
        return np.frombuffer(data, np.float32, offset=8 + int.from_bytes(data[:8], "little"))


@contextmanager
def stack(folder: Path, weights: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """`welip up` in the environment of engines, with the model."""
    file = folder / "models.yaml"
    row = {"name": "small", "engine": "transformers", "weights": str(weights)}
    file.write_text(json.dumps({"models": [row]}))  # JSON is YAML
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith("WELIP_") or name == "WELIP_CACHE"
    }
    env = {**plain, "PYTHONPATH": str(engines.ROOT), "WELIP_MODELS": str(file)}
    env |= {"WELIP_TRAINING_FOLDER": str(folder / "work"), "WELIP_LOG_LEVEL": "warning"}
    port = free_port()
    command = [
        str(engines.install()),
        "-c",
        CLI,
        "up",
        "--no-mlflow",
        "--data",
        str(folder / "data"),
        "--port",
        str(port),
    ]
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 180
        while not (folder / "data" / "gateway.url").exists():
            if up.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "up.log").read_text()[-2_000:])
            time.sleep(0.1)
        yield up, url
    finally:
        up.terminate()
        up.wait(60)


def stepping(client: Client, job: str) -> int:
    """The step that a job tells of while it trains, else 0."""
    seen = client.job(job)
    if seen.ended:
        return sys.maxsize
    told = seen.state == "running" and seen.progress.message is not None and "loss" in seen.progress.message
    return seen.progress.done if told else 0


def loading(client: Client, job: str) -> bool:
    """Whether a job, begun again, loads its model."""
    seen = client.job(job)
    return seen.ended or (seen.state == "running" and seen.progress.message == "loading the model")


def worker(up: "subprocess.Popen[bytes]") -> psutil.Process:
    """The stack's worker."""
    children = psutil.Process(up.pid).children()
    return next(child for child in children if child.cmdline()[-1:] == ["consumers"])


def _told(run: Run) -> str:
    return " ".join(f"{one:.2f}" for one in run.steps)


def note(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def until(found: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + WITHIN_S
    while not found():
        if time.monotonic() > deadline:
            raise RuntimeError("it takes too long")
        time.sleep(0.2)


def known(client: Client, model: str, asked_for: Sequence[tuple[str, str]]) -> int:
    """How many of the rules a model tells when it is asked in other words."""
    right = 0
    for question, wanted in asked_for:
        asked = {
            "messages": [{"role": "user", "content": question}],
            "model": model,
            "max_tokens": 40,
            "temperature": 0,
        }
        job = client.wait(client.submit("generation", asked).id, timeout=WITHIN_S)
        content = (job.result or {}).get("message", {}).get("content") or ""
        right += wanted in content
    return right


if __name__ == "__main__":
    sys.exit(main())
