"""Follows the trials of a search in a live table, and prints what it found."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from producers.client.cli.output import console, print_fields, print_table
from producers.client.cli.terminal import note, visible
from producers.client.errors import JobFailed

if TYPE_CHECKING:
    from rich.table import Table

    from producers.client.models import Job
    from producers.client.searches import HyperparameterSearch
    from producers.client.sync import Client

LOOK_EVERY_S: Final = 1.0
SHOWN: Final = 12
"""Trials in the live table: all that run, and the newest of the others."""


def follow(client: "Client", job: "Job", *, quiet: bool) -> None:
    """Wait for the end, with a table of the trials on stderr. Raises `JobFailed`."""
    ended = client.wait(job.id) if quiet or not sys.stderr.isatty() else _watched(client, job.id)
    if ended.state != "succeeded":
        raise JobFailed(ended)


def _watched(client: "Client", id: str) -> "Job":
    from rich.live import Live

    with Live(console=console(stderr=True), transient=True, auto_refresh=False) as live:
        while True:
            job = client.job(id)
            if job.ended:
                return job
            live.update(table(job, client.jobs(parent=id, limit=100).data), refresh=True)
            time.sleep(LOOK_EVERY_S)


def table(job: "Job", children: Sequence["Job"]) -> "Table":
    """The trials, newest first; above them how many there are in which state."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    counts = job.children
    told = job.progress.message or str(job.state)
    if counts is not None:
        some = {"ended": counts.ended, "running": counts.running + counts.retry_wait, "waiting": counts.queued}
        told = ", ".join(f"{count:,} {what}" for what, count in some.items() if count)
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, title=Text(f"{job.id}: {told}"), title_justify="left")
    for name in ("#", "state", "tries", "now"):
        made.add_column(name)
    running = [one for one in children if str(one.state) in ("running", "retry_wait")]
    others = [one for one in children if one.ended]
    for one in [*running, *others][:SHOWN]:
        made.add_row(*(Text(visible(cell)) for cell in row(one)))
    return made


def row(job: "Job") -> tuple[str, str, str, str]:
    """`7`, `running`, `rank=16`, `step 40 of 120 · loss 1.234`."""
    number, _, params = (job.key or "").partition(" · ")
    state, now = str(job.state), ""
    if job.state == "cancelled" and job.result is not None:
        state = "pruned" if "pruned" in job.result else "skipped"
    if not job.ended:
        seen = job.progress
        now = f"step {seen.done:,} of {seen.total:,} · {seen.message}" if seen.total else seen.message or ""
    elif job.error is not None:
        now = job.error.code
    elif job.result is not None and "metrics" in job.result:
        loss = job.result["metrics"].get("validation_loss")
        now = "" if loss is None else f"held-out loss {loss:.4f}"
    return number, state, params, now


def print_search(found: "HyperparameterSearch") -> None:
    """The best trials, what mattered, and all trials."""
    names = list(dict.fromkeys(name for one in found.trials for name in one.params))
    print_table(
        ["#", "state", *names, "value", "seconds"],
        [
            [
                f"{one.number} *" if one.number in found.best else one.number,
                one.error or one.state,
                *(_shown(one.params.get(name)) for name in names),
                "" if one.values is None else " / ".join(map(_shown, one.values)),
                "" if one.seconds is None else f"{one.seconds:,.0f}",
            ]
            for one in found.trials
        ],
    )
    for objective, shares in found.importance.items():
        note(f"importance for {objective}: " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items()))
    best = [one for one in found.trials if one.number in found.best]
    adapters = ", ".join(one.adapter for one in best if one.adapter is not None)
    print_fields(
        {"model": found.model, "adapter": adapters or None, "best": ", ".join(str(one.number) for one in best)}
    )
    for warning in found.warnings:
        note(f"welip: {warning}")


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
