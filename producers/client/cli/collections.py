"""`welip collections`: what is indexed."""

import typer

from producers.client.cli.output import JsonFlag, note, plain, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(rich_help_panel="Documents")(collections)


def collections(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List the collections with their documents, chunks and bytes."""
    with ctx.obj.connect() as client:
        found = client.collections()
    if json:
        print_json(plain(found))
    elif found:
        print_table(
            ["name", "documents", "chunks", "bytes"],
            [[c.name, f"{c.documents:,}", f"{c.chunks:,}", f"{c.bytes:,}"] for c in found],
        )
    else:
        note("no collection yet: make one with `welip index PATH`")
