"""Commands for operators: API keys, read and written in the server's database."""

from typing import Annotated

import typer

from producers.client.cli.database import Postgres, database
from producers.client.cli.failures import WrongUse
from producers.client.cli.groups import need
from producers.client.cli.output import JsonFlag, print_json, print_table
from producers.client.cli.terminal import say
from schemas.errors import InvalidInput


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
        with database(postgres) as dsn:
            key = create_key(dsn, tenant, name, operator=operator)
    except InvalidInput as error:
        raise WrongUse(error.message) from error
    print_json({"key": key, "tenant": tenant, "name": name, "operator": operator}) if json else say(key)


def show(postgres: Postgres = None, json: JsonFlag = False) -> None:
    """List the keys; the keys themselves cannot be read back."""
    from infra.postgres.keys import list_keys

    with database(postgres) as dsn:
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
        with database(postgres) as dsn:
            revoked = revoke_key(dsn, id)
    except ValueError:
        revoked = False
    if not revoked:
        raise WrongUse(f"there is no live key {id!r}", "see `welip key list`")
    print_json({"id": id, "revoked": True}) if json else say(f"revoked {id}")
