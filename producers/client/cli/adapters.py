"""`welip adapters`: LoRA adapters of the deployment's models, which requests name as `base:name`."""

from pathlib import Path
from typing import Annotated

import typer

from producers.client.cli.failures import WrongUse
from producers.client.cli.output import JsonFlag, age, plain, print_json, print_table, progress_bars
from producers.client.cli.terminal import note, say


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="LoRA adapters: add, list, remove.")
    group.command("add")(add)
    group.command("list")(list_)
    group.command("remove")(remove)
    app.add_typer(group, name="adapters", rich_help_panel="Models")


def add(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A zip archive of the files that PEFT saves.")],
    base: Annotated[str, typer.Option(help="The model it was trained on, by its name here.")],
    name: Annotated[str, typer.Option(help="Requests name it as BASE:NAME.")],
    json: JsonFlag = False,
) -> None:
    """Register an adapter as the next version of its name."""
    if not file.is_file():
        raise WrongUse(f"there is no file {file}", "zip -j FILE adapter_config.json adapter_model.safetensors")
    with ctx.obj.connect() as client, progress_bars(quiet=json, bytes=True) as bars:
        task = bars.add_task(f"uploading {file.name}", total=file.stat().st_size)
        added = client.adapters.add(file, base, name, progress=lambda sent: bars.update(task, completed=sent))
    print_json(plain(added)) if json else say(f"{added.id}@{added.version}")


def list_(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List adapters, each in its newest version."""
    with ctx.obj.connect() as client:
        found = client.adapters.list()
    if json:
        print_json(plain(found))
    elif found:
        print_table(
            ["id", "version", "rank", "age", "served"],
            [[one.id, one.version, one.rank, age(one.created), "yes" if one.served else "no"] for one in found],
        )
    else:
        note("no adapters")


def remove(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="BASE:NAME, or BASE:NAME@VERSION.")],
    json: JsonFlag = False,
) -> None:
    """Remove adapters with all their versions, or single versions. Jobs that wait for them fail."""
    with ctx.obj.connect() as client:
        gone = [client.adapters.remove(named) for named in ids]
    if json:
        print_json(plain(gone))
    else:
        for one in gone:
            say(f"{one.id} is removed")
