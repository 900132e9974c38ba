"""Commands that run a server: the whole embedded stack, or one process of a larger deployment."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from producers.client.cli.groups import need

PANEL = "Run a server"
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(rich_help_panel=PANEL)(up)
    app.command(rich_help_panel=PANEL, context_settings=PASS_ON)(gateway)
    app.command(rich_help_panel=PANEL)(worker)
    app.command(rich_help_panel=PANEL, context_settings=PASS_ON)(relay)
    app.command(rich_help_panel=PANEL)(migrate)


def up(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default: 8080, or a free one when that is taken.")
    ] = None,
    data: Annotated[Path, typer.Option(help="The folder that holds everything.")] = Path(".welip"),
    kafka: Annotated[str | None, typer.Option(help="A Kafka to use, host:port; default: one in memory.")] = None,
    postgres: Annotated[str | None, typer.Option(help="A PostgreSQL to use, URL; default: one of its own.")] = None,
    s3: Annotated[
        str | None, typer.Option(help="An S3 store to use, s3+http://host:9000/bucket; default: a folder.")
    ] = None,
    mlflow: Annotated[bool, typer.Option(help="Run MLflow too, if `make mlflow` has installed it.")] = True,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Give up data that this version cannot keep; it says which.")
    ] = False,
) -> None:
    """Run everything on this machine: gateway, worker, PostgreSQL, broker and index. Stop it with Ctrl-C."""
    need("up", "cpu", "embedded")
    from infra.local.stack import StackOptions, run_stack

    options = StackOptions(
        data=data,
        host=host,
        port=port,
        kafka=kafka,
        postgres=postgres,
        s3=s3,
        mlflow=mlflow,
        accept_loss=accept_loss,
    )
    raise typer.Exit(run_stack(options))


def gateway(ctx: typer.Context) -> None:
    """Run the gateway, the HTTP side, with settings from the environment."""
    need("gateway", "gateway")
    become("gateway", *ctx.args)


def worker(
    pool: Annotated[
        list[str] | None, typer.Option(help="A pool to work for (cpu, gpu, train, webhook); repeat it for more.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model to serve, and no other; repeat it for more. Without --pool, nothing else is done."),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="A kind of job to run stages of, and no other; repeat it for more.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Jobs at once in each lane.")] = None,
) -> None:
    """Run a worker, with settings from the environment."""
    need("worker", "gateway")
    pools = [part for name in pool or [] for part in ("--pool", name)]
    models = [part for name in model or [] for part in ("--model", name)]
    kinds = [part for name in kind or [] for part in ("--kind", name)]
    become("consumers", *pools, *models, *kinds, *(["--concurrency", str(concurrency)] if concurrency else []))


def relay(ctx: typer.Context) -> None:
    """Run only the agents: relay, due retries, rescue."""
    need("relay", "gateway")
    become("producers", *ctx.args)


def migrate(
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done, and do nothing.")] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Give up data that this version cannot keep.")
    ] = False,
) -> None:
    """Bring the database's schema up to date; first says what it will do."""
    need("migrate", "gateway")
    from infra.postgres.migrate import main

    raise typer.Exit(main([*(["--plan"] if plan else []), *(["--accept-loss"] if accept_loss else [])]))


def become(module: str, *args: str) -> NoReturn:
    """Replace this process by `python -m module`; signals then reach it directly."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *args])
