"""How the commands print: JSON for programs, tables for people, progress on stderr."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.client.cli.terminal import print_document, visible

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.progress import Progress, Task
    from rich.text import Text

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]

UNBOUND_WIDTH = 10_000
"""Width without a terminal: in a pipe nothing is cut, and a passage is one line."""


def plain(value: "BaseModel | Sequence[BaseModel]") -> Any:
    """A model, or a list of them, as JSON values."""
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return value.model_dump(mode="json")


def print_json(value: Any, *, line: bool = False) -> None:
    """One JSON document; `line` for one of many, each on its line."""
    if line:
        print_document(json.dumps(value, ensure_ascii=False), flush=True)
    else:
        print_document(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def console(*, stderr: bool = False) -> "Console":
    """Where rich prints: as wide as the terminal, or wide enough for a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else UNBOUND_WIDTH, highlight=False, soft_wrap=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """A table. When the terminal is too narrow, the widest columns are wrapped, but never `id`."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    named = None if title is None else Text(visible(title))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, title=named, title_justify="left", padding=(0, 1, 0, 0))
    cells = [["" if cell is None else visible(str(cell)) for cell in row] for row in rows]
    for position, name in enumerate(columns):
        whole = max((cell_len(row[position]) for row in cells), default=None) if name == "id" else None
        table.add_column(Text(visible(name)), overflow="fold", min_width=whole)
    for row in cells:
        table.add_row(*map(Text, row))
    console().print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """A column of names and values."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value in fields.items():
        if value is not None:
            table.add_row(Text(name, style="dim"), Text(visible(str(value))))
    console().print(table)


def progress_bars(*, quiet: bool, bytes: bool = False) -> "Progress":
    """Progress bars on stderr, removed when done; none when `quiet` or without a terminal."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        ProgressColumn,
        TaskProgressColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    class Description(ProgressColumn):
        """The current action, verbatim: markup and control characters have no effect in it."""

        def render(self, task: "Task") -> "Text":
            return Text(visible(task.description))

    amount = DownloadColumn() if bytes else TaskProgressColumn()
    return Progress(
        Description(),
        BarColumn(),
        amount,
        TimeElapsedColumn(),
        console=console(stderr=True),
        transient=True,
        disable=quiet or not sys.stderr.isatty(),
    )


def one_line(text: str | None) -> str:
    """Text with its line breaks and runs of blanks made single blanks."""
    return " ".join((text or "").split())


def age(at: datetime) -> str:
    """How long ago that was, in its largest unit: `12 s`, `5 min`, `3 h`, `2 d`."""
    seconds = max(0, int((datetime.now(UTC) - at).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def moment(at: datetime | None) -> str | None:
    """A time in the reader's zone."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else None
