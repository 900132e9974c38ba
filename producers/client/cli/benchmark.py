"""`welip benchmark`: measure a model alone, with a live line, and show the figures."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from producers.client.cli.choices import given, read_settings
from producers.client.cli.failures import WrongUse
from producers.client.cli.output import JsonFlag, plain, print_json, print_table, progress_bars
from producers.client.cli.terminal import note, say

if TYPE_CHECKING:
    from producers.client.benchmarks import Benchmark
    from producers.client.cli.session import Session
    from producers.client.models import Job
    from schemas.kinds.benchmark.result import Measured

PANEL = "Evaluation"
OF_FILES: Final = frozenset({"perplexity", "multiple_choice"})


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command(rich_help_panel=PANEL)(benchmark)


def benchmark(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="A chat model of the server, or an adapter: base:adapter.")],
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="perplexity=FILE, multiple_choice=FILE, lm-eval's NAME, or NAME=ARCHIVE.zip. Repeat it.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first items of each task.")] = None,
    shots: Annotated[int | None, typer.Option(help="Examples before each item of lm-eval's tasks.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="lm-eval's prompts go through the chat template.")] = False,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More of the job's input as JSON: tasks and others.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask again what the model was asked before.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Save the samples, JSON Lines, here.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit and leave.")] = False,
    json: JsonFlag = False,
) -> None:
    """Measure how well a model does alone: by files of yours, or by lm-evaluation-harness. Ctrl-C leaves it running."""
    session: Session = ctx.obj
    asked = (read_settings(settings) if settings else {}) | given(limit=limit, reuse=False if fresh else None)
    of_lm_eval = given(shots=shots, chat=chat or None)
    tasks = [*asked.pop("tasks", []), *(parse_task(one, of_lm_eval) for one in task or [])]
    if not tasks:
        raise WrongUse("there is nothing to measure", "give --task perplexity=FILE, or tasks in --settings")
    with session.connect() as client:
        job = client.run_benchmark(model, tasks, settings=asked)
        if no_wait:
            print_json(plain(job)) if json else say(job.id)
            return
        session.watch(client, job)
        with progress_bars(quiet=json) as bars:
            shown = bars.add_task("checking the files", total=1.0)

            def show(seen: "Job") -> None:
                bars.update(shown, completed=min(seen.fraction, 0.99), description=line(seen))

            found = client.benchmark(job.id, on_change=show)
        if output is not None:
            client.download(found.samples, output)
    print_json(plain(found)) if json else _print(found)


def line(job: "Job") -> str:
    """`40 of 120 · accuracy · 12.0/s`, or what the job does else."""
    seen = job.progress
    said = seen.message or str(job.state)
    return f"{seen.done:,} of {seen.total:,} · {said}" if job.stage == "run" and seen.total else said


def parse_task(text: str, of_lm_eval: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`perplexity=texts.jsonl`, `kmmlu` or `kmmlu=data.zip` as a task; the last two with more fields.

    Raises `WrongUse`.
    """
    kind, equals, file = text.partition("=")
    path = Path(file)
    if not kind or (equals and not file) or (kind in OF_FILES and not file):
        raise WrongUse(f"--task {text!r} is no task", "write perplexity=FILE, multiple_choice=FILE, NAME or NAME=FILE")
    if file and not path.is_file():
        raise WrongUse(f"there is no file {path}")
    if kind in OF_FILES:
        return {"type": kind, "name": name_of(path), "file": path}
    return {"type": "lm_eval", "task": kind, **({"file": path} if file else {}), **(of_lm_eval or {})}


def name_of(path: Path) -> str:
    """What figures of a file are called: its name without its ending, with `_` for what a name may not hold."""
    name = re.sub(r"[^\w.+=-]", "_", path.stem)
    return (name if re.match(r"\w", name) else f"_{name}")[:100]


def _print(found: "Benchmark") -> None:
    rows = [
        [task.name, f"{task.items:,}", name, f"{metric.value:.4f}", _spread(metric)]
        for task in found.tasks
        for name, metric in task.metrics.items()
    ]
    title = f"{found.model}: {found.asked:,} requests, {found.reused:,} answered before, {found.tokens:,} tokens"
    print_table(["task", "items", "metric", "value", "standard error"], rows, title=title)
    for task in found.tasks:
        for code, count in task.unscored.items():
            note(f"welip: {task.name}: {count:,} not scored ({code}): {task.messages.get(code, '')}")
        if task.cut:
            note(f"welip: {task.name}: of {task.cut:,} items the beginning did not fit into the model's context")


def _spread(metric: "Measured") -> str:
    return "–" if metric.stderr is None else f"± {metric.stderr:.4f}"
