"""Waits for indexing jobs with progress, sums up their results, and prints the summary."""

import json as jsonlib
from typing import TYPE_CHECKING, Any

import typer

from producers.client.cli.failures import JOB_FAILED, report
from producers.client.cli.output import print_table, progress_bars
from producers.client.cli.terminal import note, say
from producers.client.errors import JobFailed

if TYPE_CHECKING:
    from producers.client.models import Job
    from producers.client.sync import Client

COUNTS = ("added", "replaced", "unchanged", "failed")
RARE_COUNTS = ("superseded",)
"""Shown only when there are any."""

SHOWN_ERRORS = 50


def wait(client: "Client", jobs: "list[Job]", *, quiet: bool, doing: str = "indexing") -> "list[Job]":
    """The jobs once they have ended, with a bar on stderr meanwhile."""
    ended: list[Job] = []
    with progress_bars(quiet=quiet) as bars:
        task = bars.add_task(doing, total=len(jobs))

        def show(job: "Job") -> None:
            named = f"{doing} {len(ended) + 1}/{len(jobs)}" if len(jobs) > 1 else doing
            # The parts alone: a bar that has been full once, after the first stage, would not move again.
            parts = job.children
            done = parts.ended / parts.total if parts and parts.total else 0.0
            told = f"{parts.ended} of {parts.total} parts" if parts else job.progress.message or job.state
            bars.update(task, completed=len(ended) + min(done, 0.99), description=f"{named} · {told}")

        for job in jobs:
            ended.append(client.wait(job.id, on_change=show))
    return ended


def summarise(client: "Client", collection: str, jobs: "list[Job]", refused: list[dict[str, str]]) -> dict[str, Any]:
    """The results of the jobs as one; `refused` are documents that were never submitted."""
    documents = dict.fromkeys((*COUNTS, *RARE_COUNTS), 0)
    documents["failed"] = len(refused)
    summary: dict[str, Any] = {
        "collection": collection,
        "documents": documents,
        "chunks": 0,
        "errors": list(refused),
        "warnings": [],
    }
    for job in jobs:
        if job.state != "succeeded":
            continue
        result = job.result
        if result is None or "documents" not in result:
            whole = client.result(job.id)
            result = jsonlib.loads(whole) if isinstance(whole, bytes) else whole
        for name in documents:
            documents[name] += int(result["documents"].get(name, 0))
        summary["chunks"] += int(result["chunks"])
        summary["errors"] += result["errors"]
        summary["warnings"] += result.get("warnings", [])
    summary["jobs"] = [{"id": job.id, "state": str(job.state)} for job in jobs]
    return summary


def print_submitted(jobs: "list[Job]") -> None:
    """The ids of jobs that are still running."""
    for job in jobs:
        say(job.id)
    note("follow with: welip job ID --follow")


def print_summary(summary: dict[str, Any]) -> None:
    """The counts, each refused document with its reason, and each that lacks a part."""
    counts = summary["documents"]
    shown_counts = [*COUNTS, *(name for name in RARE_COUNTS if counts[name])]
    print_table(
        ["collection", *shown_counts, "chunks"],
        [[summary["collection"], *(f"{counts[name]:,}" for name in shown_counts), f"{summary['chunks']:,}"]],
    )
    errors = summary["errors"]
    if errors:
        shown = [[e["id"], e["code"], e["message"]] for e in errors[:SHOWN_ERRORS]]
        print_table(["document", "code", "message"], shown, title="\nRefused documents")
    if len(errors) > SHOWN_ERRORS or len(errors) < counts["failed"]:
        note(f"{min(len(errors), SHOWN_ERRORS)} of {counts['failed']} refused documents are shown")
    if warnings := summary["warnings"]:
        shown = [[w["id"], w["code"], w["message"]] for w in warnings[:SHOWN_ERRORS]]
        print_table(["document", "code", "message"], shown, title="\nIndexed, but not whole")
    if len(warnings) > SHOWN_ERRORS:
        note(f"{SHOWN_ERRORS} of {len(warnings)} such documents are shown")


def end_with(jobs: "list[Job]") -> None:
    """Report the jobs that did not succeed, and exit with the code that says so."""
    failed = [job for job in jobs if job.state != "succeeded"]
    for job in failed:
        report(JobFailed(job))
    if failed:
        raise typer.Exit(JOB_FAILED)
