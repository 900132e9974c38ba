"""The root of the command line: global options, the groups of commands, and what an error means to the shell."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from producers.client.cli import (
    adapters,
    ask,
    batches,
    benchmark,
    calibrate,
    collections,
    datasets,
    dead,
    evaluate,
    index,
    jobs,
    keys,
    models,
    server,
    steer,
    sweep,
    tracking,
    train,
    tune,
    webhooks,
)
from producers.client.cli.failures import INTERRUPTED, report, report_defect
from producers.client.cli.interrupts import interruptible
from producers.client.cli.session import Session
from producers.client.cli.terminal import say
from producers.client.errors import WelipError
from schemas.version import version


class _Guarded(TyperGroup):
    """Turns every error into one line and an exit code; no command needs to."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with interruptible():
                return super().invoke(ctx)
        except WelipError as error:
            raise typer.Exit(report(error)) from None
        except KeyboardInterrupt:
            session = ctx.obj
            if isinstance(session, Session):
                session.say_goodbye()
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # `welip jobs | head`: the reader has left; close stdout so that nothing more is flushed to it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            raise typer.Exit(report_defect(error) if _debugging() else report(error)) from None
        except Exception as error:
            if _debugging() or type(error).__module__.startswith("typer"):
                raise
            raise typer.Exit(report_defect(error)) from None


app = typer.Typer(
    name="welip",
    cls=_Guarded,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Event-driven, asynchronous jobs for language-model work: index documents, ask questions, follow the jobs.",
    epilog="Exit codes: 0 done, 1 a job failed or was cancelled, 2 wrong use or input, 3 no answer from the server, "
    "4 an evaluation's gate was not passed, 130 interrupted.",
)
for group in (
    ask,
    index,
    collections,
    adapters,
    models,
    tune,
    evaluate,
    calibrate,
    benchmark,
    datasets,
    train,
    sweep,
    jobs,
    batches,
    steer,
    dead,
    webhooks,
    keys,
    tracking,
    server,
):
    group.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"welip {version()}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Option(help="The server. Default: WELIP_URL, .welip/gateway.url, http://127.0.0.1:8080.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(help="Default: WELIP_API_KEY.", show_default=False)] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before the command."""
    ctx.obj = Session(url, api_key)


def _debugging() -> bool:
    return bool(os.environ.get("WELIP_DEBUG"))


def main() -> None:
    """The console script."""
    try:
        with interruptible():
            app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
