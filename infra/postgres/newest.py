"""Whether a database needs no migration, told without Alembic: its import takes as long as PostgreSQL's start."""

import re
from pathlib import Path
from typing import Final

import asyncpg

VERSIONS: Final = Path(__file__).parent / "migrations" / "versions"
_LINE: Final = re.compile(r'^(down_revision|revision)\b[^=]*= "(\w+)"', re.MULTILINE)


def newest_revision() -> str:
    """The migration that no other one follows."""
    named: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for file in VERSIONS.glob("*.py"):
        for what, name in _LINE.findall(file.read_text(encoding="utf-8")):
            named[what].add(name)
    (newest,) = named["revision"] - named["down_revision"]
    return newest


async def is_newest(url: str) -> bool:
    """Whether the database at a `postgresql://` URL has the newest schema."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return bool(await connection.fetchval("SELECT version_num FROM alembic_version") == newest_revision())
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()
