"""`welip pause`, `resume` and `steer`: how a training, the children of a job, or the lines of a batch go on."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.client.cli.failures import WrongUse
from producers.client.cli.output import JsonFlag, moment, plain, print_json
from producers.client.cli.terminal import say
from producers.client.cli.times import parse_time

if TYPE_CHECKING:
    from producers.client.batches import Batches
    from producers.client.sync import Client

PANEL = "Jobs"
ParentArgument = Annotated[str, typer.Argument(metavar="ID", help="A job, job_..., or batch_...")]
ReasonOption = Annotated[str | None, typer.Option(help="Why; the job's events say so.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    for command in (pause, resume, steer):
        app.command(rich_help_panel=PANEL)(command)


def pause(ctx: typer.Context, id: ParentArgument, reason: ReasonOption = None, json: JsonFlag = False) -> None:
    """Begin no more of a job's children; what runs ends. A training saves a checkpoint and leaves its worker."""
    with ctx.obj.connect() as client:
        found = _calls(client, id).pause(id, reason=reason)
    print_json(plain(found)) if json else say(f"{found.id} is paused")


def resume(ctx: typer.Context, id: ParentArgument, reason: ReasonOption = None, json: JsonFlag = False) -> None:
    """Go on with a paused job: with its children, or from its checkpoint."""
    with ctx.obj.connect() as client:
        found = _calls(client, id).resume(id, reason=reason)
    print_json(plain(found)) if json else say(f"{found.id} goes on")


def steer(
    ctx: typer.Context,
    id: ParentArgument,
    weight: Annotated[int | None, typer.Option(min=1, max=100, help="Turns beside your other work in bulk.")] = None,
    at_once: Annotated[str | None, typer.Option(help="Children at the same time, at most; `none`: any number.")] = None,
    deadline: Annotated[
        str | None, typer.Option(help="In 30min, 12h, 7d, or a date and time: before it, this goes first. Or `none`.")
    ] = None,
    reason: ReasonOption = None,
    json: JsonFlag = False,
) -> None:
    """Change how a job's children are taken up, while it runs."""
    settings: dict[str, Any] = {}
    if weight is not None:
        settings["weight"] = weight
    if at_once is not None:
        settings["at_once"] = _number(at_once)
    if deadline is not None:
        settings["deadline"] = _time(deadline)
    if not settings:
        raise WrongUse("nothing to change", "give --weight, --at-once or --deadline")
    with ctx.obj.connect() as client:
        found = _calls(client, id).steer(id, settings, reason=reason)
    if json:
        print_json(plain(found))
    else:
        say(
            f"{found.id}: " + ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in settings.items())
        )


def _calls(client: "Client", id: str) -> "Batches | Client":
    return client.batches if id.startswith("batch_") else client


def _number(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isascii() or not text.isdecimal():
        raise WrongUse(f"{text!r} is not a number of children", "write a number, or none")
    return int(text)


def _time(text: str) -> str | None:
    if text == "none":
        return None
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except ValueError:
        pass
    try:
        return (datetime.now(UTC) + parse_time(text)).isoformat()
    except (WrongUse, OverflowError):
        raise WrongUse(f"{text!r} is no time", "write 12h, 5d, 2026-01-31T09:00, or none") from None


def _shown(value: Any) -> str:
    return moment(datetime.fromisoformat(value)) or "" if isinstance(value, str) else str(value or "none")
