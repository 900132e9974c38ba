"""`welip dead`: jobs that ran out of attempts, and messages that could not be read."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.client.cli.failures import WRONG_USE, WrongUse
from producers.client.cli.output import JsonFlag, age, moment, one_line, plain, print_fields, print_json, print_table
from producers.client.cli.terminal import note, say
from producers.client.errors import ApiError

if TYPE_CHECKING:
    from producers.client.dead import DeadLetter
    from producers.client.sync import Client

CONFLICT = 409

Kind = Annotated[str | None, typer.Option(help="indexing, inference, ...")]
Reason = Annotated[str | None, typer.Option(help="The error's code: timeout, lease_expired, ...")]
Source = Annotated[str, typer.Option(help="job, or (with an operator's key) message or any.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The letters' ids, dead_...")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, requeue, drop.")
    group.command("list")(list_)
    group.command("show")(show)
    group.command("requeue")(requeue)
    group.command("drop")(drop)
    app.add_typer(group, name="dead", rich_help_panel="Jobs")


def list_(
    ctx: typer.Context,
    kind: Kind = None,
    reason: Reason = None,
    source: Annotated[str | None, typer.Option(help="job or message. Default: all that the key may see.")] = None,
    requeued: Annotated[bool, typer.Option("--requeued", help="Also those that were requeued.")] = False,
    after: Annotated[str | None, typer.Option(help="The last id of the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many, newest first.")] = 20,
    json: JsonFlag = False,
) -> None:
    """List dead letters, newest first."""
    with ctx.obj.connect() as client:
        page = client.dead.list(kind=kind, reason=reason, source=source, requeued=requeued, after=after, limit=limit)
    if json:
        print_json(plain(page))
    elif page.data:
        print_table(
            ["id", "of", "reason", "age", "requeued as"],
            [
                [letter.id, _of(letter), letter.reason, age(letter.created_at), letter.requeued_as]
                for letter in page.data
            ],
        )
        if page.has_more:
            note(f"there are more: --after {page.data[-1].id}")
    else:
        note("no dead letters")


def show(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="The letter's id, dead_...")],
    json: JsonFlag = False,
) -> None:
    """Show a dead letter with its payload."""
    with ctx.obj.connect() as client:
        letter = client.dead.show(id)
    if json:
        print_json(plain(letter))
        return
    print_fields(
        {
            "id": letter.id,
            "of": _of(letter),
            "job": letter.job,
            "error": one_line(f"{letter.error.message} [{letter.reason}]"),
            "created": moment(letter.created_at),
            "requeued": moment(letter.requeued_at),
            "requeued as": letter.requeued_as,
            "payload": letter.encoding,
        }
    )
    print_json(letter.payload)


def requeue(
    ctx: typer.Context,
    ids: Ids = None,
    all: Annotated[bool, typer.Option("--all", help="Every letter that fits the options below.")] = False,
    kind: Kind = None,
    reason: Reason = None,
    source: Source = "job",
    json: JsonFlag = False,
) -> None:
    """Give dead jobs another try, each as a new job with the same input."""
    _one_or_all(ids, all)
    with ctx.obj.connect() as client:
        if all:
            done = _requeue_all(client, kind=kind, reason=reason, source=_source(source))
        else:
            done = _requeue_each(client, ids or [])
    if json:
        print_json(done)
    else:
        for job in done["jobs"]:
            say(job)
        for refused in done["refused"]:
            note(f"{refused['id']} was not requeued: {refused['message']}")
        note(f"requeued {done['requeued']} as {len(done['jobs'])} jobs, {len(done['refused'])} refused")
    if done["refused"] and not all:
        raise typer.Exit(WRONG_USE)


def drop(
    ctx: typer.Context,
    ids: Ids = None,
    all: Annotated[bool, typer.Option("--all", help="Every letter not requeued that fits the options below.")] = False,
    kind: Kind = None,
    reason: Reason = None,
    source: Source = "job",
    json: JsonFlag = False,
) -> None:
    """Remove dead letters. Their failed jobs stay."""
    _one_or_all(ids, all)
    dropped = 0
    with ctx.obj.connect() as client:
        for letter in ids or ():
            client.dead.drop(letter)
            dropped += 1
        more = all
        while more:
            page = client.dead.drop_many(kind=kind, reason=reason, source=_source(source))
            dropped += page.dropped
            more = page.has_more
    print_json({"dropped": dropped}) if json else say(f"dropped {dropped}")


def _requeue_each(client: "Client", ids: list[str]) -> dict[str, Any]:
    done: dict[str, Any] = {"requeued": 0, "jobs": [], "refused": []}
    for letter in ids:
        try:
            job = client.dead.requeue(letter).letter.requeued_as
        except ApiError as error:
            if error.status != CONFLICT:
                raise
            done["refused"].append({"id": letter, "code": error.code, "message": error.message})
            continue
        done["requeued"] += 1
        if job not in done["jobs"]:
            done["jobs"].append(job)
    return done


def _requeue_all(client: "Client", **wanted: Any) -> dict[str, Any]:
    done: dict[str, Any] = {"requeued": 0, "jobs": [], "refused": []}
    after: str | None = None
    while True:
        page = client.dead.requeue_many(**wanted, after=after)
        done["requeued"] += page.requeued
        done["jobs"] += page.jobs
        done["refused"] += plain(page.refused)
        if not page.has_more:
            return done
        after = page.after


def _one_or_all(ids: list[str] | None, all: bool) -> None:
    if bool(ids) == all:
        raise WrongUse("name letters by their ids, or give --all", "see `welip dead list`")


def _source(given: str) -> str | None:
    return None if given == "any" else given


def _of(letter: "DeadLetter") -> str:
    """`noop.run`, or where a message was."""
    if letter.source == "job":
        return f"{letter.kind}.{letter.stage}"
    return f"{letter.topic} [{letter.partition}] @ {letter.offset}, {letter.bytes} bytes"
