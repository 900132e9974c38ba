"""The stack that `benchmarks.generate` measures: a worker with vLLM in it, and two gateways."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.generation_models import BenchModel
from benchmarks.processes import Bench
from benchmarks.processor_time import Readings
from infra.kafka.embedded import EmbeddedBroker
from infra.local import engines
from infra.local.child import free_port
from infra.local.postgres import EmbeddedPostgres
from infra.postgres.migrate import migrate
from schemas.kinds.registry import routes
from schemas.models import Models, VllmModel


@dataclass(frozen=True, slots=True)
class Running:
    """A stack of a worker and two gateways, of which `first` is killed; `gateways` and `probe` are ports.

    `adapter`: the archive of a LoRA adapter that nobody knows yet.
    """

    postgres: str
    gateways: list[int]
    probe: int
    adapter: Path
    worker: "subprocess.Popen[bytes]"
    first: "subprocess.Popen[bytes]"
    processor: Readings


@contextlib.contextmanager
def stack(folder: Path, name: str, model: BenchModel, python: Path) -> Iterator[Running]:
    """Run it; the worker may still be warming up."""
    env = {**engines.environment(), **model.env}
    weights = folder / "weights"
    weights.mkdir()

    def run(command: Sequence[str]) -> None:
        subprocess.run(command, env=env, check=True, capture_output=True)

    adapter = folder / "adapter"
    maker = [str(python), "-m", "benchmarks.generation_models", name]
    run([*maker, str(weights)])
    run([*maker, str(adapter), "--adapter", str(weights)])
    archive = shutil.make_archive(str(adapter), "zip", adapter)
    row = VllmModel(name="bench", engine="vllm", weights=str(weights), context_length=model.context_length)
    row = row.model_copy(update={"options": model.options})
    file = folder / "models.yaml"
    asked = row.model_dump(include={"name", "engine", "weights", "context_length", "options"})
    file.write_text(json.dumps({"models": [asked]}))  # JSON is YAML
    with contextlib.ExitStack() as exits:
        postgres = EmbeddedPostgres(folder / "postgres")
        exits.callback(postgres.stop)
        url = postgres.start()
        asyncio.run(migrate(url))
        broker = EmbeddedBroker(route.topic for route in routes(Models((row,))))
        exits.callback(broker.close)
        bench = Bench(folder, url, broker.url, embedded=True)
        bench.env |= {"WELIP_MODELS": str(file), "WELIP_LIMIT_RATE": "0", "WELIP_LIMIT_WAITING": "0"}
        probe = free_port()
        command = ["benchmarks.engine_probe", str(probe), "--model", "bench"]
        worker = exits.enter_context(bench.process(*command, python=str(python), **_apart(env)))
        first = exits.enter_context(bench.gateway())
        ports = [bench.port]
        bench.port = free_port()
        second = exits.enter_context(bench.gateway(WELIP_GATEWAY_PORT=str(bench.port)))
        processor = Readings({"worker": [worker.pid], "gateways": [first.pid, second.pid]}, folder / "postgres")
        yield Running(url, [*ports, bench.port], probe, Path(archive), worker, first, processor)


def _apart(env: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if os.environ.get(name) != value}
