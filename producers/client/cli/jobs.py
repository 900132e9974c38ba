"""`welip jobs`, `job` and `cancel`: list, follow and cancel jobs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.client.cli.output import JsonFlag, age, moment, one_line, plain, print_fields, print_json, print_table
from producers.client.cli.terminal import note, say
from producers.client.errors import JobFailed

if TYPE_CHECKING:
    from producers.client.cli.session import Session
    from producers.client.events import Event
    from producers.client.models import Job

PANEL = "Jobs"
JobArgument = Annotated[str, typer.Argument(metavar="ID", help="The job's id, job_...")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(rich_help_panel=PANEL)(jobs)
    app.command(rich_help_panel=PANEL)(job)
    app.command(rich_help_panel=PANEL)(cancel)


def jobs(
    ctx: typer.Context,
    state: Annotated[
        str | None, typer.Option(help="queued, running, retry_wait, succeeded, failed, cancelled.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="indexing, inference, ...")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many, newest first.")] = 20,
    json: JsonFlag = False,
) -> None:
    """List jobs, newest first."""
    with ctx.obj.connect() as client:
        page = client.jobs(state=state, kind=kind, limit=limit)
    if json:
        print_json(plain(page))
    elif page.data:
        print_table(
            ["id", "kind", "state", "stage", "age"],
            [[j.id, j.kind, j.state, _where(j), age(j.created_at)] for j in page.data],
        )
    else:
        note("no such jobs")


def job(
    ctx: typer.Context,
    id: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print its events until it ends.")] = False,
    json: JsonFlag = False,
) -> None:
    """Show a job; with --follow, its events as they happen (with --json, one per line)."""
    if follow:
        _follow(ctx.obj, id, json)
        return
    with ctx.obj.connect() as client:
        found = client.job(id)
    print_json(plain(found)) if json else _print_job(found)


def cancel(ctx: typer.Context, id: JobArgument, json: JsonFlag = False) -> None:
    """Ask a job to stop."""
    with ctx.obj.connect() as client:
        found = client.cancel(id)
    print_json(plain(found)) if json else say(f"{found.id} {'cancelled' if found.ended else 'is being cancelled'}")


def _follow(session: "Session", id: str, json: bool) -> None:
    with session.connect() as client:
        session.watch(client, client.job(id))
        for event in client.events(id):
            print_json(plain(event), line=True) if json else say(_told(event), flush=True)
        ended = client.job(id)
    if ended.state != "succeeded":
        raise JobFailed(ended)


def _where(job: "Job") -> str | None:
    """The stage of a job and its progress, or where it failed; nothing once it has succeeded."""
    if job.state == "succeeded":
        return None
    return f"{job.stage} {job.fraction:.0%}" if job.fraction and not job.ended else job.stage


def _told(event: "Event") -> str:
    data: dict[str, Any] = event.data
    match event.type:
        case "state":
            text = " · ".join(str(data[name]) for name in ("state", "stage") if data.get(name))
            text += f" · try {data['attempt']}" if data.get("attempt", 1) > 1 else ""
            text += f": {data['error']['message']}" if (data.get("error") or {}).get("message") else ""
        case "progress":
            text = f"{data.get('done')}/{data.get('total')} {data.get('message') or ''}"
        case "stage":
            children = data.get("children")
            text = str(data.get("stage")) + (f", once its children ({children}) have ended" if children else "")
        case "stream":
            text = f"{data.get('stage')} begins to write"
        case "token":
            text = str(data.get("text"))
        case _:
            text = " ".join(str(value) for value in data.values() if value is not None)
    return f"{event.at.astimezone():%H:%M:%S}  {event.type:<8}  {one_line(text)}"


def _print_job(job: "Job") -> None:
    progress = job.progress
    children = job.children
    shown = progress.total and not children and job.state != "succeeded"
    done = f"{progress.done:,} of {progress.total:,} {progress.message or ''}".strip() if shown else None
    print_fields(
        {
            "id": job.id,
            "kind": job.kind,
            "state": job.state,
            "lane": job.lane,
            "stage": job.stage,
            "attempt": f"{job.attempt} of {job.max_attempts}",
            "progress": done,
            "children": f"{children.ended} of {children.total} ended, {children.failed} failed" if children else None,
            "paused": moment(job.steering.paused_at) if job.steering else None,
            "parent": job.parent,
            "created": moment(job.created_at),
            "started": moment(job.started_at),
            "finished": moment(job.finished_at),
            "error": f"{job.error.message} [{job.error.code}]" if job.error else None,
        }
    )
    if job.result is not None:
        print_json(job.result)
