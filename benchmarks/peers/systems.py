"""The systems that are measured: each queue with each of its settings. To add one, add a row here and a module."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Table = Literal["durable", "default"]

CONCURRENCY: Final = 10
SILENCE_S: Final = 15
"""In seconds: WeLIP's default lease; other systems are tuned to the same where they have a lease."""

FAST: Final = ("uvloop==0.22.1", "hiredis==3.3.0")


@dataclass(frozen=True, slots=True)
class System:
    """One queue with one setting.

    `worker` is what follows `python -m`. `grace_s` is how long a worker has to stop before it is killed. `schema`: the
    module's `prepare()` creates tables. `rounds` is how many rounds it takes part in; None means all.
    """

    queue: str
    label: str
    tables: tuple[Table, ...]
    store: Literal["redis", "redis-durable", "postgres", "welip"]
    worker: tuple[str, ...]
    requirements: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    schema: bool = False
    grace_s: float = 0
    variant: str = ""
    rounds: int | None = None

    @property
    def key(self) -> str:
        """Its name in the figures, unique in each table."""
        return self.queue + self.variant

    @property
    def name(self) -> str:
        """A unique name that can be a file name."""
        return f"{self.key}-{'-'.join(self.tables)}"


def _module(queue: str) -> str:
    return f"benchmarks.peers.queues.{queue}"


def _on_redis(
    queue: str, label: str, requirements: tuple[str, ...], worker: tuple[str, ...], env: Mapping[str, str] | None = None
) -> tuple[System, System]:
    """A queue at its defaults, and with durable settings."""
    return (
        System(queue, label, ("default",), "redis", worker, requirements, env or {}),
        System(
            queue,
            label,
            ("durable",),
            "redis-durable",
            worker,
            requirements,
            {**(env or {}), "PEERS_DURABLE": "1"},
        ),
    )


SYSTEMS: Final = (
    System(
        "welip",
        "WeLIP",
        ("durable", "default"),
        "welip",
        (_module("welip"),),
        # A killed member of a Kafka group blocks its successors until its session ends.
        grace_s=30,
    ),
    *_on_redis(
        "celery",
        "Celery, threads",
        ("celery[redis]==5.7.0", *FAST),
        (
            "celery",
            f"--app={_module('celery')}",
            "worker",
            "--pool=threads",
            f"--concurrency={CONCURRENCY}",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
        ),
    ),
    *_on_redis(
        "dramatiq",
        "Dramatiq",
        ("dramatiq[redis]==2.2.1", *FAST),
        ("dramatiq", _module("dramatiq"), "--processes=1", f"--threads={CONCURRENCY}"),
    ),
    *_on_redis(
        "taskiq",
        "Taskiq",
        ("taskiq==0.13.0", "taskiq-redis==1.2.4", *FAST),
        (
            "taskiq",
            "worker",
            f"{_module('taskiq')}:broker",
            "--workers=1",
            f"--max-async-tasks={CONCURRENCY}",
            "--log-level=WARNING",
            "--ack-type=when_saved",
        ),
    ),
    *_on_redis(
        "arq",
        "arq, poll 10 ms",
        ("arq==0.28.0", *FAST),
        ("arq", f"{_module('arq')}.WorkerSettings", "--custom-log-dict", f"{_module('arq')}.LOGGING"),
    ),
    System(
        "arq",
        "arq, its poll of 500 ms",
        ("default",),
        "redis",
        ("arq", f"{_module('arq')}.WorkerSettings", "--custom-log-dict", f"{_module('arq')}.LOGGING"),
        ("arq==0.28.0", *FAST),
        {"PEERS_ARQ_POLL_S": "0.5"},
        variant="-default-poll",
        rounds=1,
    ),
    *_on_redis(
        "rq",
        "RQ, SimpleWorker",
        ("rq==2.12.0", *FAST),
        (
            "rq.cli",
            "worker-pool",
            "default",
            f"--config={_module('rq')}",  # for the module's `REDIS_URL`
            f"--num-workers={CONCURRENCY}",
            f"--worker-class={_module('rq')}.NotingWorker",
            "--logging-level=WARNING",
            "--quiet",
        ),
    ),
    System(
        "procrastinate",
        "Procrastinate",
        ("durable", "default"),
        "postgres",
        ("procrastinate", f"--app={_module('procrastinate')}.app", "worker"),
        ("procrastinate==3.10.0", "psycopg[binary]==3.3.9", *FAST),
        schema=True,
    ),
    System(
        "pgqueuer",
        "pgqueuer",
        ("durable", "default"),
        "postgres",
        (
            "pgqueuer",
            "run",
            f"{_module('pgqueuer')}:worker",
            f"--batch-size={CONCURRENCY // 2}",  # must be at most half of the next value
            f"--max-concurrent-tasks={CONCURRENCY}",
            f"--heartbeat-timeout={SILENCE_S}",
        ),
        ("pgqueuer[asyncpg]==1.6.0", "typer==0.20.0", "click<8.2", *FAST),  # `pgq run` fails with newer ones
        schema=True,
    ),
)
