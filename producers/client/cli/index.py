"""`welip index`: tables, files and folders into a collection, with progress and a summary."""

import json as jsonlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.client.cli.failures import JOB_FAILED, report
from producers.client.cli.output import JsonFlag, note, plain, print_json, print_table, progress_bars
from producers.client.cli.sources import FoundDocument, Sources, choose_columns, discover
from producers.client.errors import JobFailed

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from producers.client.cli.session import Session
    from producers.client.models import Job
    from producers.client.sync import Welip

COUNTS = ("added", "replaced", "unchanged", "failed")
SHOWN_ERRORS = 50


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(rich_help_panel="Documents")(index)


def index(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Tables, text files, folders.")],
    collection: Annotated[str, typer.Option("--collection", "-c", help="Where to; made when it is new.")] = "default",
    text_column: Annotated[str | None, typer.Option(help="Of a table: the text. Guessed when it is plain.")] = None,
    title_column: Annotated[str | None, typer.Option(help="Of a table: the title.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Of a table: the document's id. Default: row number.")] = None,
    metadata_column: Annotated[list[str] | None, typer.Option(help="Of a table: kept for filters; repeat it.")] = None,
    format: Annotated[
        str | None, typer.Option(help="tsv, csv, jsonl, text, markdown or html, when a name does not tell.")
    ] = None,
    max_chars: Annotated[int | None, typer.Option(min=50, max=4000, help="Characters of a chunk.")] = None,
    overlap: Annotated[int | None, typer.Option(min=0, max=5, help="Sentences that chunks share.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit and leave.")] = False,
    json: JsonFlag = False,
) -> None:
    """Index documents: the rows of .tsv, .csv and .jsonl tables, and .txt, .md and .html files, also in folders.

    A document with a known id is replaced, and left alone when nothing changed.
    """
    sources = discover(paths, format)
    columns = [
        choose_columns(path, kind, text=text_column, title=title_column, id=id_column, metadata=metadata_column or [])
        for path, kind in sources.corpora
    ]
    asked = {"max_chars": max_chars, "overlap_sentences": overlap}
    chunking = {name: value for name, value in asked.items() if value is not None}
    refused: list[dict[str, str]] = []
    session: Session = ctx.obj
    with session.connect() as client:
        jobs = _submit(session, client, collection, sources, columns, chunking, refused, quiet=json)
        if no_wait:
            print_json({"collection": collection, "jobs": plain(jobs)}) if json else _print_submitted(jobs)
            return
        ended = _wait(client, jobs, quiet=json)
        summary = summarise(client, collection, ended, refused)
    if json:
        print_json(summary)
    else:
        _print_summary(summary)
        if sources.skipped:
            note(f"left out of the folders: {sources.skipped} of another kind")
    failed = [job for job in ended if job.state != "succeeded"]
    for job in failed:
        report(JobFailed(job))
    if failed:
        raise typer.Exit(JOB_FAILED)


def _submit(
    session: "Session",
    client: "Welip",
    collection: str,
    sources: Sources,
    columns: list[dict[str, object]],
    chunking: dict[str, int],
    refused: list[dict[str, str]],
    *,
    quiet: bool,
) -> "list[Job]":
    jobs: list[Job] = []

    def submitted(job: "Job") -> None:
        jobs.append(job)
        session.watch(client, job)

    with progress_bars(quiet=quiet, bytes=True) as bars:
        for (path, _), chosen in zip(sources.corpora, columns, strict=True):
            task = bars.add_task(f"uploading {path.name}", total=path.stat().st_size)
            sent = partial(_show_sent, bars, task)
            submitted(client.index_corpus(collection, path, chosen, chunking=chunking, progress=sent, lane="bulk"))
    if sources.documents:
        with progress_bars(quiet=quiet) as bars:
            task = bars.add_task("reading documents", total=len(sources.documents))
            documents = _documents(client, sources.documents, refused, partial(bars.advance, task))
            client.index_documents(collection, documents, chunking=chunking, on_submit=submitted, lane="bulk")
    return jobs


def _show_sent(bars: "Progress", task: "TaskID", sent: int) -> None:
    bars.update(task, completed=sent)


def _documents(
    client: "Welip", found: list[FoundDocument], refused: list[dict[str, str]], advance: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    from pydantic import TypeAdapter, ValidationError

    from producers.client.flows import MAX_INLINE_BYTES
    from schemas.names import DocumentId

    ids = TypeAdapter(DocumentId)
    for document in found:
        advance()
        try:
            name = ids.validate_python(document.id)
            size = document.path.stat().st_size
            text = document.path.read_text("utf-8-sig") if size <= MAX_INLINE_BYTES else None
        except UnicodeDecodeError:
            text = None  # Another encoding: the server detects it from the bytes.
        except ValidationError as error:
            refused.append({"id": document.id, "code": "document_id", "message": error.errors()[0]["msg"]})
            continue
        except OSError as error:
            refused.append({"id": document.id, "code": "unreadable", "message": str(error)})
            continue
        content = {"text": text} if text is not None else {"file": client.upload(document.path).id}
        yield {"id": name, "format": document.format, **content}


def _wait(client: "Welip", jobs: "list[Job]", *, quiet: bool) -> "list[Job]":
    ended: list[Job] = []
    with progress_bars(quiet=quiet) as bars:
        task = bars.add_task("indexing", total=len(jobs))

        def show(job: "Job") -> None:
            named = f"indexing {len(ended) + 1}/{len(jobs)}" if len(jobs) > 1 else "indexing"
            # The parts alone: a bar that has been full once, after the first stage, would not move again.
            parts = job.children
            done = parts.ended / parts.total if parts and parts.total else 0.0
            told = f"{parts.ended} of {parts.total} parts" if parts else job.progress.message or job.state
            bars.update(task, completed=len(ended) + min(done, 0.99), description=f"{named} · {told}")

        for job in jobs:
            ended.append(client.wait(job.id, on_change=show))
    return ended


def summarise(client: "Welip", collection: str, jobs: "list[Job]", refused: list[dict[str, str]]) -> dict[str, Any]:
    """The results of the jobs as one; `refused` are documents that were never submitted."""
    documents = dict.fromkeys(COUNTS, 0)
    documents["failed"] = len(refused)
    summary: dict[str, Any] = {"collection": collection, "documents": documents, "chunks": 0, "errors": list(refused)}
    for job in jobs:
        if job.state != "succeeded":
            continue
        result = job.result
        if result is None or "documents" not in result:
            whole = client.result(job.id)
            result = jsonlib.loads(whole) if isinstance(whole, bytes) else whole
        for name in COUNTS:
            documents[name] += int(result["documents"].get(name, 0))
        summary["chunks"] += int(result["chunks"])
        summary["errors"] += result["errors"]
    summary["jobs"] = [{"id": job.id, "state": str(job.state)} for job in jobs]
    return summary


def _print_submitted(jobs: "list[Job]") -> None:
    for job in jobs:
        print(job.id)
    note("follow with: welip job ID --follow")


def _print_summary(summary: dict[str, Any]) -> None:
    counts = summary["documents"]
    print_table(
        ["collection", *COUNTS, "chunks"],
        [[summary["collection"], *(f"{counts[name]:,}" for name in COUNTS), f"{summary['chunks']:,}"]],
    )
    errors = summary["errors"]
    if errors:
        shown = [[e["id"], e["code"], e["message"]] for e in errors[:SHOWN_ERRORS]]
        print_table(["document", "code", "message"], shown, title="\nRefused documents")
    if len(errors) > SHOWN_ERRORS or len(errors) < counts["failed"]:
        note(f"{min(len(errors), SHOWN_ERRORS)} of {counts['failed']} refused documents are shown")
