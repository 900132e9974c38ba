"""`welip tracking`: what MLflow refused, read and settled in the server's database."""

from collections.abc import Callable, Sequence
from typing import Annotated
from uuid import UUID

import typer

from producers.client.cli.database import Postgres, database
from producers.client.cli.failures import WrongUse
from producers.client.cli.groups import need
from producers.client.cli.output import JsonFlag, moment, print_json, print_table
from producers.client.cli.terminal import note, say
from schemas.errors import NotFound
from schemas.ids import parsed

Jobs = Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="Jobs of which something was refused.")]
All = Annotated[bool, typer.Option("--all", help="Those of every job.")]

Settle = Callable[[str, Sequence[UUID] | None], list[str]]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True)
    group.callback()(tracking)
    group.command("list")(show)
    group.command("retry")(retry)
    group.command("drop")(drop)
    app.add_typer(group, name="tracking", rich_help_panel="Run a server")


def tracking() -> None:
    """Runs and entries that MLflow refused: list, retry, drop (on the server's machine)."""
    need("tracking", "gateway")


def show(
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    postgres: Postgres = None,
    json: JsonFlag = False,
) -> None:
    """List what MLflow refused and why, that of the latest job first."""
    from infra.postgres.refusals import list_refused

    with database(postgres) as dsn:
        refused = list_refused(dsn, limit)
    if json:
        print_json(refused)
        return
    rows = [
        [one["job"], one["experiment"], one["run"], one["what"], moment(one["said_at"]), one["error"]]
        for one in refused
    ]
    print_table(["id", "experiment", "run", "what", "said", "why"], rows)
    if not refused:
        note("MLflow refused nothing")


def retry(jobs: Jobs = None, all: All = False, postgres: Postgres = None, json: JsonFlag = False) -> None:
    """Send again what was refused, after its cause was removed in MLflow. Prints the jobs of which something waits."""
    from infra.postgres.refusals import retry_refused

    _settle(retry_refused, jobs, all, postgres, json)


def drop(jobs: Jobs = None, all: All = False, postgres: Postgres = None, json: JsonFlag = False) -> None:
    """Forget what was refused. Prints the jobs of which something was. Jobs and their results stay."""
    from infra.postgres.refusals import drop_refused

    _settle(drop_refused, jobs, all, postgres, json)


def _settle(settle: Settle, jobs: list[str] | None, all: bool, postgres: str | None, json: bool) -> None:
    if bool(jobs) == all:
        raise WrongUse("name jobs by their ids, or give --all", "see `welip tracking list`")
    try:
        wanted = None if all else [parsed("job", job) for job in jobs or ()]
    except NotFound as error:
        raise WrongUse(error.message, "see `welip tracking list`") from error
    with database(postgres) as dsn:
        settled = settle(dsn, wanted)
    if lacking := sorted({*(jobs or ())} - {*settled}):
        note(f"nothing of {', '.join(lacking)} was refused")
    if json:
        print_json({"jobs": settled})
    else:
        for job in settled:
            say(job)
