"""Commands for operators: API keys, read and written in the server's database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from producers.client.cli.failures import WrongUse
from producers.client.cli.groups import need
from producers.client.cli.output import JsonFlag, print_json, print_table
from producers.client.cli.terminal import say
from producers.client.errors import WelipError
from schemas.errors import InvalidInput

Postgres = Annotated[
    str | None, typer.Option(help="The server's PostgreSQL, URL. Default: WELIP_POSTGRES_URL, or that of `welip up`.")
]

POSTGRES_URL_FILE = Path(".welip/postgres.url")
"""Where a running `welip up` writes its database's URL, below the folder it was started in."""


class NoDatabase(WelipError):
    """The server's PostgreSQL does not answer."""

    remedy = "name it with --postgres or WELIP_POSTGRES_URL; or run this in the folder where `welip up` runs"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True)
    group.callback()(keys)
    group.command("create")(create)
    group.command("list")(show)
    group.command("revoke")(revoke)
    app.add_typer(group, name="key", rich_help_panel="Run a server")


def keys() -> None:
    """API keys: create, list, revoke (on the server's machine)."""
    need("key", "gateway")


def create(
    tenant: Annotated[str, typer.Option(help="Whom the key belongs to.")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    operator: Annotated[
        bool, typer.Option("--operator", help="It also sees dead letters that belong to no tenant.")
    ] = False,
    postgres: Postgres = None,
    json: JsonFlag = False,
) -> None:
    """Make a key and print it, this once."""
    from infra.postgres.keys import create_key

    try:
        with _database(postgres) as dsn:
            key = create_key(dsn, tenant, name, operator=operator)
    except InvalidInput as error:
        raise WrongUse(error.message) from error
    print_json({"key": key, "tenant": tenant, "name": name, "operator": operator}) if json else say(key)


def show(postgres: Postgres = None, json: JsonFlag = False) -> None:
    """List the keys; the keys themselves cannot be read back."""
    from infra.postgres.keys import list_keys

    with _database(postgres) as dsn:
        keys = list_keys(dsn)
    if json:
        print_json(keys)
    else:
        names = list(keys[0]) if keys else ["id", "tenant", "name"]
        print_table(names, [[key[name] for name in names] for key in keys])


def revoke(
    id: Annotated[str, typer.Argument(help="The key's id, as listed.")],
    postgres: Postgres = None,
    json: JsonFlag = False,
) -> None:
    """Make a key invalid from now on."""
    from infra.postgres.keys import revoke_key

    try:
        with _database(postgres) as dsn:
            revoked = revoke_key(dsn, id)
    except ValueError:
        revoked = False
    if not revoked:
        raise WrongUse(f"there is no live key {id!r}", "see `welip key list`")
    print_json({"id": id, "revoked": True}) if json else say(f"revoked {id}")


@contextmanager
def _database(given: str | None) -> Iterator[str]:
    from infra.settings import PostgresSettings

    dsn = given
    if dsn is None and "WELIP_POSTGRES_URL" not in os.environ and POSTGRES_URL_FILE.exists():
        dsn = POSTGRES_URL_FILE.read_text().strip()
    try:
        yield dsn or PostgresSettings().url.get_secret_value()
    except OSError as error:
        raise NoDatabase(f"no answer from the server's PostgreSQL: {error}") from error
