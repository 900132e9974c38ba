"""How fast a job trains beside TRL alone, what checkpoints and killed workers cost, and whether the model learns.

`python -m benchmarks.train` runs the embedded stack with SmolLM2-135M-Instruct on this machine's processor. 64 rows of
made-up house rules are trained on: for `--steps` steps by TRL alone and as jobs, one undisturbed, one that stores a
checkpoint after every step, one whose worker is killed twice; then for `--epochs` epochs, and ten other phrasings are
asked before and after. The last line is JSON.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.house_rules import questions, training_rows
from infra.local import engines, models, training
from infra.local.child import free_port
from producers.client.sync import Client
from producers.client.trainings import Training

WITHIN_S: Final = 3_600
INTERVAL_S: Final = 600
"""Between two checkpoints, by default."""
HOW: Final = {"batch_size": 8, "max_length": 128, "learning_rate": 5e-4, "rank": 16, "alpha": 32, "seed": 0}
CLI: Final = "from producers.client.cli import main; main()"


def main() -> int:
    """Exit status 0; 1 when a job did not succeed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--steps", type=int, default=16, help="of each run that is timed")
    parser.add_argument("--epochs", type=float, default=10, help="of the run after which the rules are asked for")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="welip-bench-") as made:
        found = measure(Path(made), given.steps, given.epochs)
    for name, value in found.items():
        print(f"{name:28} {value}")
    print(json.dumps(found))
    return 0


def measure(folder: Path, steps: int, epochs: float) -> dict[str, Any]:
    """The figures."""
    weights = models.make_smollm2()
    python = training.install()
    rows = folder / "rules.jsonl"
    rows.write_text("\n".join(json.dumps(row) for row in training_rows()), encoding="utf-8")
    timed = {**HOW, "max_steps": steps, "epochs": 100}
    with stack(folder, weights) as (up, url), Client(url) as client:

        def train(how: dict[str, Any], **settings: Any) -> Training:
            job = client.train(rows, "small", settings={"validation_share": 0, "hyperparameters": how, **settings})
            return client.training(job.id, timeout=WITHIN_S)

        before = direct(python, folder, weights, rows, steps)
        whole = train(timed)
        alone = [before, direct(python, folder, weights, rows, steps)]
        often = train({**timed, "checkpoint_every_steps": 1})
        killed, resume_s = disturbed(client, up, folder, rows, {**timed, "checkpoint_every_steps": 2})
        known_before = known(client, "small")
        train({**HOW, "epochs": epochs}, register_as="rules")
        known_after = known(client, "small:rules")
    a_checkpoint = max(0.0, (often.metrics.seconds - whole.metrics.seconds) / steps)
    return {
        "tokens_share": round(statistics.mean(alone) / whole.metrics.seconds, 3),
        "checkpoint_cost": round(a_checkpoint / INTERVAL_S, 5),
        "checkpoint_s": round(a_checkpoint, 3),
        "loss_difference_after_kills": abs((killed.metrics.train_loss or 0) - (whole.metrics.train_loss or 0)),
        "resumes": killed.resumes,
        "resume_s": round(resume_s, 1),
        "rules_known_before": known_before,
        "rules_known_after": known_after,
        "rules": len(questions()),
    }


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
    command = [str(engines.install()), "-c", CLI, "up", "--data", str(folder / "data"), "--port", str(port)]
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
        up.send_signal(signal.SIGINT)
        up.wait(60)


def direct(python: Path, folder: Path, weights: Path, rows: Path, steps: int) -> float:
    """Seconds that TRL alone trains."""
    how = {**HOW, "weights": str(weights), "max_steps": steps, "device_batch_size": HOW["batch_size"]}
    how |= {"accumulation": 1, "warmup_steps": int(0.03 * steps), "output": str(folder / "direct")}
    (folder / "direct.json").write_text(json.dumps(how))
    turned = folder / "direct.jsonl"
    turned.write_text("\n".join(json.dumps(conversation(row)) for row in training_rows()), encoding="utf-8")
    command = [str(python), "-m", "benchmarks.train_direct", str(folder / "direct.json"), str(turned)]
    done = subprocess.run(command, env=training.environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2_000:])
    seconds: float = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds


def conversation(row: dict[str, str]) -> dict[str, Any]:
    """A row as a job trains on it."""
    return {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "completion": [{"role": "assistant", "content": row["completion"]}],
    }


def disturbed(
    client: Client, up: "subprocess.Popen[bytes]", folder: Path, rows: Path, how: dict[str, Any]
) -> tuple[Training, float]:
    """A job whose worker is killed twice; and how long after the last kill it made a step again."""
    job = client.train(rows, "small", settings={"validation_share": 0, "hyperparameters": how})
    took = 0.0
    for part in (3, 1.5):
        aim = int(how["max_steps"] / part)
        until(lambda aim=aim: stepping(client, job.id) >= aim)  # type: ignore[misc]
        worker(up).kill()
        killed = time.monotonic()
        until(lambda: loading(client, job.id))  # until then the job tells what it told before
        until(lambda: stepping(client, job.id) > 0)
        took = time.monotonic() - killed
    return client.training(job.id, timeout=WITHIN_S), took


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


def until(found: Any) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + WITHIN_S
    while not found():
        if time.monotonic() > deadline:
            raise RuntimeError("it takes too long")
        time.sleep(0.2)


def known(client: Client, model: str) -> int:
    """How many of the rules a model tells when it is asked in other words."""
    right = 0
    for question, wanted in questions():
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
