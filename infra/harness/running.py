"""Runs lm-eval's tasks one after the other, with the worker's model, and writes down each sample."""

import importlib.metadata
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import evaluate
import lm_eval.utils
from datasets import load_dataset
from jinja2 import BaseLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from lm_eval import simple_evaluate
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from infra.harness.archives import data_of, task_files, unpacked
from infra.harness.model import WorkersModel
from infra.harness.pipe import Cannot, Pipe
from infra.harness.sandbox import CodeEval
from schemas.kinds.benchmark.harness import Ended, HarnessPlan, HarnessTask, Told

RESAMPLES: Final = 1_000
"""For the standard errors that lm-eval finds by the bootstrap."""


def run(plan: HarnessPlan, pipe: Pipe) -> Ended:
    """Raises `Cannot`, and whatever lm-eval raises."""
    _confine_programs()
    samples = Path(plan.folder) / "samples.jsonl"
    with samples.open("w", encoding="utf-8") as file:
        told = [_told(task, plan, WorkersModel(pipe, task.name), file) for task in plan.tasks]
    return Ended(tasks=told, samples=str(samples), lm_eval=importlib.metadata.version("lm-eval"))


def _told(task: HarnessTask, plan: HarnessPlan, model: WorkersModel, samples: Any) -> Told:
    with _prepared(task, Path(plan.folder)) as (spec, manager):
        found: Any = simple_evaluate(
            model=model,
            tasks=[spec],
            task_manager=manager,
            num_fewshot=task.shots,
            limit=plan.limit,
            bootstrap_iters=RESAMPLES,
            apply_chat_template=task.chat,
            confirm_run_unsafe_code=True,
        )
    for name, rows in found["samples"].items():
        for row in rows:
            line = {"task": task.name, "lm_eval": name, **row}
            samples.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    results = {**found["results"], **found.get("groups", {})}
    return Told(
        name=task.name,
        results={name: dict(one) for name, one in results.items()},
        items={name: one["effective"] for name, one in found["n-samples"].items()},
        versions={name: str(one) for name, one in found["versions"].items() if one is not None},
        shots=dict(found["n-shot"].items()),
    )


@cache
def _known() -> TaskManager:
    """lm-eval's own tasks. Blocking: it reads thousands of files."""
    return TaskManager()


@contextmanager
def _prepared(task: HarnessTask, folder: Path) -> Iterator[tuple[str | dict[str, Any], TaskManager]]:
    """What lm-eval is to run, and where it looks for it. Raises `Cannot`."""
    own: dict[str, dict[str, Any]] = {}
    data: Path | None = None
    if task.data is not None:
        data = folder / f"{Path(task.data).stem}-unpacked"
        data.mkdir()
        unpacked(Path(task.data), data)
        own = task_files(data)
    with _data_from(data, folder):
        if task.task in own:
            with _templates_in_a_sandbox():
                yield own[task.task], TaskManager(include_defaults=False)
            return
        manager = _known()
        if task.task not in manager.all_tasks:
            known = f"; the archive has {', '.join(own)}" if own else ""
            raise Cannot("task_unknown", f"lm-eval has no task {task.task!r}{known}")
        yield task.task, manager


@contextmanager
def _data_from(data: Path | None, folder: Path) -> Iterator[None]:
    """Let every task take its data from an unpacked archive; None: from where the task says, a hub."""
    before = ConfigurableTask.download

    def download(task: Any, dataset_kwargs: dict[str, Any] | None = None, **more: Any) -> None:
        if data is None:
            before(task, dataset_kwargs, **more)
        else:
            files = data_of(data, task.DATASET_NAME)
            task.dataset = load_dataset("json", data_files=files, cache_dir=str(folder / "datasets"))

    ConfigurableTask.download = download
    try:
        yield
    finally:
        ConfigurableTask.download = before


@contextmanager
def _templates_in_a_sandbox() -> Iterator[None]:
    """For templates that a tenant wrote: no attributes that lead out of the data, no endless ranges."""
    before = lm_eval.utils.env
    sandbox = SandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    sandbox.filters["regex_replace"] = before.filters["regex_replace"]
    lm_eval.utils.env = sandbox
    try:
        yield
    finally:
        lm_eval.utils.env = before


def _confine_programs() -> None:
    """lm-eval's tasks run what a model wrote through `evaluate`'s metric `code_eval`: here that name means ours."""
    load = evaluate.load

    def loaded(path: str, *arguments: Any, **more: Any) -> Any:
        return CodeEval() if path == "code_eval" else load(path, *arguments, **more)

    evaluate.load = loaded
