"""`welip tune`: finds settings for a collection with questions whose documents are known. Needs no server."""

import typer

from producers.client.cli.groups import need
from producers.client.cli.server import become

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Documents", context_settings=PASS_ON, add_help_option=False)(tune)


def tune(ctx: typer.Context) -> None:
    """Find k1, b and the weights of the arms with questions whose documents are known."""
    need("tune", "cpu")
    # Tuning encodes as a worker does, and commands do not import workers.
    become("consumers.tuning", *ctx.args)
