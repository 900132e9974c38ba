"""Where commands for operators find the server's database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from producers.client.errors import WelipError

Postgres = Annotated[
    str | None, typer.Option(help="The server's PostgreSQL, URL. Default: WELIP_POSTGRES_URL, or that of `welip up`.")
]

POSTGRES_URL_FILE: Final = Path(".welip/postgres.url")
"""Where a running `welip up` writes its database's URL, below the folder it was started in."""


class NoDatabase(WelipError):
    """The server's PostgreSQL does not answer."""

    remedy = "name it with --postgres or WELIP_POSTGRES_URL; or run this in the folder where `welip up` runs"


@contextmanager
def database(given: str | None) -> Iterator[str]:
    """The URL of the database: the one `given`, else as the environment or the running stack says.

    In the block, a database that does not answer is `NoDatabase`.
    """
    from infra.settings import PostgresSettings

    dsn = given
    if dsn is None and "WELIP_POSTGRES_URL" not in os.environ and POSTGRES_URL_FILE.exists():
        dsn = POSTGRES_URL_FILE.read_text().strip()
    try:
        yield dsn or PostgresSettings().url.get_secret_value()
    except OSError as error:
        raise NoDatabase(f"no answer from the server's PostgreSQL: {error}") from error
