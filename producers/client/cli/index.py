"""`welip index`: tables, files and folders into a collection, with progress and a summary."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from producers.client.cli import indexed
from producers.client.cli.choices import SettingsFile, given, read_settings
from producers.client.cli.columns import choose_columns
from producers.client.cli.failures import WrongUse
from producers.client.cli.output import JsonFlag, plain, print_json, progress_bars
from producers.client.cli.sources import TEXTUAL, FoundCorpus, FoundDocument, Sources, discover
from producers.client.cli.terminal import note
from producers.client.errors import ApiError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from producers.client.cli.session import Session
    from producers.client.models import Job
    from producers.client.sync import Client

Columns = dict[str, object]
Refusals = list[dict[str, str]]


class How(TypedDict):
    """How a collection is to be indexed."""

    chunking: dict[str, Any] | None
    settings: dict[str, Any] | None


MAX_PREFIX_CHARS = 100
REFUSED_BY_ITSELF = frozenset({413, 422})
"""The server's answers to one bad upload; the others continue."""


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(rich_help_panel="Documents")(index)


def index(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Documents, tables, folders of both.")],
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="The target; created if it is new.")
    ] = "default",
    text_column: Annotated[str | None, typer.Option(help="Of a table: the text. Guessed when it is plain.")] = None,
    title_column: Annotated[str | None, typer.Option(help="Of a table: the title.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Of a table: the document's id. Default: row number.")] = None,
    metadata_column: Annotated[list[str] | None, typer.Option(help="Of a table: kept for filters; repeat it.")] = None,
    format: Annotated[
        str | None, typer.Option(help="pdf, docx, hwp, ..., csv, parquet: when a name does not tell.")
    ] = None,
    settings: SettingsFile = None,
    max_chars: Annotated[
        int | None, typer.Option(min=50, max=4000, help="Of a new collection: characters of a chunk.")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(min=0, max=5, help="Of a new collection: sentences that chunks share.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit and leave.")] = False,
    json: JsonFlag = False,
) -> None:
    """Index documents, tables of documents, and folders of both.

    Documents are .pdf, .docx, .hwp, .hwpx, .md, .html and .txt; tables are .tsv, .csv, .jsonl and .parquet.

    A document with a known id is replaced, or left alone when nothing changed. A document that cannot be read is
    refused by itself.
    """
    sources = discover(paths, format)
    refused: Refusals = []
    choose = partial(choose_columns, text=text_column, title=title_column, id=id_column, metadata=metadata_column or [])
    tables = _tables(sources, choose, refused)
    # Flags for a new collection; one that already has other chunks refuses them instead of being indexed again.
    how: How = {
        "chunking": given(max_chars=max_chars, overlap_sentences=overlap) or None,
        "settings": read_settings(settings) if settings else None,
    }
    session: Session = ctx.obj
    with session.connect() as client:
        jobs = _submit(session, client, collection, sources, tables, how, refused, quiet=json)
        if no_wait:
            submitted = {"collection": collection, "jobs": plain(jobs), "errors": refused}
            print_json(submitted) if json else indexed.print_submitted(jobs)
            return
        ended = indexed.wait(client, jobs, quiet=json)
        summary = indexed.summarise(client, collection, ended, refused)
    if json:
        print_json(summary)
    else:
        indexed.print_summary(summary)
        if left_out := sources.said_skipped():
            note(left_out)
    indexed.end_with(ended)


def _tables(
    sources: Sources, choose: Callable[[Path, str], Columns], refused: Refusals
) -> list[tuple[FoundCorpus, Columns]]:
    """The tables with their columns. A named table must have them; a table in a folder is refused by itself."""
    tables = []
    several = len(sources.corpora) > 1
    for corpus in sources.corpora:
        try:
            columns = choose(corpus.path, corpus.format)
        except WrongUse as error:
            if corpus.named:
                raise
            message = f"{error}; {error.remedy}" if error.remedy else str(error)
            refused.append({"id": corpus.id, "code": "columns_unknown", "message": message})
            continue
        if "id" not in columns and (several or not corpus.named):
            # Row 1 of one table is not row 1 of another.
            columns["id_prefix"] = f"{corpus.id[-MAX_PREFIX_CHARS + 1 :]}#"
        tables.append((corpus, columns))
    return tables


def _submit(
    session: "Session",
    client: "Client",
    collection: str,
    sources: Sources,
    tables: Sequence[tuple[FoundCorpus, Columns]],
    how: How,
    refused: Refusals,
    *,
    quiet: bool,
) -> "list[Job]":
    jobs: list[Job] = []

    def submitted(job: "Job") -> None:
        jobs.append(job)
        session.watch(client, job)

    with progress_bars(quiet=quiet, bytes=True) as bars:
        for corpus, columns in tables:
            path = corpus.path
            task = bars.add_task(f"uploading {path.name}", total=path.stat().st_size)
            sent = partial(_show_sent, bars, task)
            submitted(client.index_corpus(collection, path, columns, **how, progress=sent, lane="bulk"))
    if sources.documents:
        with progress_bars(quiet=quiet) as bars:
            task = bars.add_task("reading documents", total=len(sources.documents))
            documents = _documents(client, sources.documents, refused, partial(bars.advance, task))
            client.index_documents(collection, documents, **how, on_submit=submitted, lane="bulk")
    return jobs


def _show_sent(bars: "Progress", task: "TaskID", sent: int) -> None:
    bars.update(task, completed=sent)


def _documents(
    client: "Client", found: list[FoundDocument], refused: Refusals, advance: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    from pydantic import TypeAdapter, ValidationError

    from schemas.names import DocumentId

    ids = TypeAdapter(DocumentId)
    for document in found:
        advance()
        try:
            name = ids.validate_python(document.id)
            content = _content(client, document)
        except ValidationError as error:
            refused.append({"id": document.id, "code": "document_id", "message": error.errors()[0]["msg"]})
        except OSError as error:
            refused.append({"id": document.id, "code": "unreadable", "message": str(error)})
        except ApiError as error:
            if error.status not in REFUSED_BY_ITSELF:
                raise
            refused.append({"id": document.id, "code": error.code, "message": error.message})
        else:
            yield {"id": name, **content}


def _content(client: "Client", document: FoundDocument) -> dict[str, Any]:
    """A short text inline; everything else as an uploaded file, whose name and content tell the server its format."""
    from producers.client.flows import MAX_INLINE_BYTES

    path = document.path
    if document.format in TEXTUAL and path.stat().st_size <= MAX_INLINE_BYTES:
        try:
            return {"format": document.format, "text": path.read_text("utf-8-sig")}
        except UnicodeDecodeError:
            pass  # another encoding: the server detects it from the bytes
    told = {"format": document.format} if document.told else {}
    return {**told, "file": client.upload(path).id}
