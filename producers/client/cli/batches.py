"""`welip batch` and `welip batches`: send a file of requests, wait, and fetch what became of them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.client.cli.failures import JOB_FAILED, WrongUse
from producers.client.cli.output import (
    JsonFlag,
    age,
    moment,
    plain,
    print_fields,
    print_json,
    print_table,
    progress_bars,
)
from producers.client.cli.terminal import note, say

if TYPE_CHECKING:
    from producers.client.batches import Batch
    from producers.client.sync import Client

PANEL = "Jobs"
BatchArgument = Annotated[str, typer.Argument(metavar="ID", help="The batch's id, batch_...")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(rich_help_panel=PANEL)(batch)
    group = typer.Typer(no_args_is_help=True, help="Batches: list, show, cancel, retry what failed.")
    group.command("list")(show_all)
    group.command("show")(show)
    group.command("cancel")(cancel)
    group.command("retry")(retry)
    app.add_typer(group, name="batches", rich_help_panel=PANEL)


def batch(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FILE", help="One request a line; or the id of a batch, batch_...")],
    endpoint: Annotated[
        str, typer.Option(help="What the lines are for: /v1/jobs, /v1/chat/completions, /v1/embeddings, ...")
    ] = "/v1/jobs",
    window: Annotated[str, typer.Option(help="How long it may take: 30m, 24h, 7d. The rest is cut off.")] = "24h",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the answers go. Default: FILE.output.jsonl.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Send it and leave.")] = False,
    json: JsonFlag = False,
) -> None:
    """Send a file of requests as a batch, wait for its end, and fetch the answers and the errors.

    Ctrl-C leaves the batch running: `welip batch ID` waits for it again.
    """
    with ctx.obj.connect() as client:
        made = (
            client.batches.get(source) if source.startswith("batch_") else _sent(client, source, endpoint, window, json)
        )
        ctx.obj.watch(client, client.job(made.job))
        ended = made if no_wait else _waited(client, made, quiet=json)
        to = output or Path(f"{source}.output.jsonl")
        files = _fetched(client, ended, to)
    if json:
        print_json({**plain(ended), "files": {name: str(file) for name, file in files.items()}})
    elif no_wait:
        say(ended.id)
    else:
        _print(ended)
        for name, file in files.items():
            say(f"{name}  {file}")
    if ended.ended and ended.status != "completed":
        raise typer.Exit(JOB_FAILED)


def show_all(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many, newest first.")] = 20,
    json: JsonFlag = False,
) -> None:
    """List batches, newest first."""
    with ctx.obj.connect() as client:
        page = client.batches.list(limit=limit)
    if json:
        print_json(plain(page))
    elif page.data:
        rows = [
            [b.id, b.status, _counts(b), b.endpoint, age(datetime.fromtimestamp(b.created_at, UTC))] for b in page.data
        ]
        print_table(["id", "status", "done", "endpoint", "age"], rows)
    else:
        note("no batch yet: send one with `welip batch FILE`")


def show(ctx: typer.Context, id: BatchArgument, json: JsonFlag = False) -> None:
    """Show a batch."""
    with ctx.obj.connect() as client:
        found = client.batches.get(id)
    print_json(plain(found)) if json else _print(found)


def cancel(ctx: typer.Context, id: BatchArgument, json: JsonFlag = False) -> None:
    """Cancel what is not done; what is done stays."""
    with ctx.obj.connect() as client:
        found = client.batches.cancel(id)
    print_json(plain(found)) if json else say(f"{found.id} is {found.status}")


def retry(ctx: typer.Context, id: BatchArgument, json: JsonFlag = False) -> None:
    """Make a new batch of the lines that failed or were cut off."""
    with ctx.obj.connect() as client:
        found = client.batches.retry_failed(id)
    print_json(plain(found)) if json else say(found.id)


def _sent(client: "Client", source: str, endpoint: str, window: str, quiet: bool) -> "Batch":
    path = Path(source)
    if not path.is_file():
        raise WrongUse(f"there is no file {source}")
    with progress_bars(quiet=quiet, bytes=True) as bars:
        task = bars.add_task(f"uploading {path.name}", total=path.stat().st_size)
        return client.batches.create(
            path,
            endpoint=endpoint,
            completion_window=window,
            progress=lambda sent: bars.update(task, completed=sent),
        )


def _waited(client: "Client", made: "Batch", *, quiet: bool) -> "Batch":
    with progress_bars(quiet=quiet) as bars:
        task = bars.add_task(made.status, total=None)

        def changed(now: "Batch") -> None:
            counts = now.request_counts
            bars.update(
                task,
                total=counts.total or None,
                completed=counts.completed + counts.failed,
                description=f"{now.status} · {_counts(now)}",
            )

        return client.batches.wait(made.id, on_change=changed)


def _fetched(client: "Client", ended: "Batch", to: Path) -> dict[str, Path]:
    """The files that the batch left, where they were put."""
    found: dict[str, Path] = {}
    if ended.output_file_id:
        found["answers"] = client.download(ended.output_file_id, to)
    if ended.error_file_id:
        found["errors"] = client.download(ended.error_file_id, to.with_name(f"{to.name}.errors"))
    return found


def _counts(batch: "Batch") -> str:
    counts = batch.request_counts
    failed = f", {counts.failed:,} failed" if counts.failed else ""
    return f"{counts.completed:,} of {counts.total:,}{failed}"


def _print(batch: "Batch") -> None:
    print_fields(
        {
            "id": batch.id,
            "status": batch.status,
            "endpoint": batch.endpoint,
            "done": _counts(batch),
            "created": moment(datetime.fromtimestamp(batch.created_at, UTC)),
            "expires": moment(datetime.fromtimestamp(batch.expires_at, UTC)),
            "paused": moment(datetime.fromtimestamp(batch.paused_at, UTC)) if batch.paused_at else None,
            "retries": batch.retry_of,
        }
    )
    for fault in batch.errors.data if batch.errors else ():
        where = f"line {fault.line}: " if fault.line else ""
        say(f"{where}{fault.message} [{fault.code}]" + (f" ({fault.param})" if fault.param else ""))
