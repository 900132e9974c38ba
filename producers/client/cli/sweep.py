"""`welip sweep`: search for the hyperparameters that suit a dataset, with a live table of the trials."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.client.cli import trials
from producers.client.cli.choices import given, read_settings
from producers.client.cli.examples import PANEL, check_files, parse_pair, set_hyperparameters, submit
from producers.client.cli.failures import WrongUse
from producers.client.cli.output import JsonFlag, plain, print_json
from producers.client.cli.terminal import note

if TYPE_CHECKING:
    from producers.client.cli.session import Session

NUMBER = r"[-+0-9.eE]+"
_RANGE = re.compile(rf"(?P<low>{NUMBER}?)\.\.(?P<high>{NUMBER})(?P<log>:log)?(:step=(?P<step>{NUMBER}))?")


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command(rich_help_panel=PANEL)(sweep)


def sweep(
    ctx: typer.Context,
    dataset: Annotated[Path, typer.Argument(metavar="FILE", help="Examples: .jsonl, .csv, .tsv or .parquet.")],
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary", metavar="KEY=VALUES", help="learning_rate=1e-5..1e-3:log, rank=8,16,32 and the like. Repeat it."
        ),
    ] = None,
    base: Annotated[str, typer.Option(help="The model to train, by its name in the deployment.")] = "default",
    number: Annotated[int | None, typer.Option("--trials", help="At most so many. Default: 20.")] = None,
    at_once: Annotated[int | None, typer.Option(help="Trials that run at the same time. Default: 2.")] = None,
    budget: Annotated[float | None, typer.Option(metavar="SECONDS", help="No trial begins later than this.")] = None,
    sampler: Annotated[str | None, typer.Option(help="tpe, random or grid.")] = None,
    pruner: Annotated[str | None, typer.Option(help="auto, median, hyperband or none.")] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="validation_loss, train_loss, tokens_per_s, seconds or peak_memory_bytes. Repeat it for several."
        ),
    ] = None,
    method: Annotated[str | None, typer.Option(help="sft, dpo, orpo or kto.")] = None,
    adapter: Annotated[str | None, typer.Option(help="lora, qlora (needs a GPU), dora, or full: all weights.")] = None,
    validation: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Held-out examples. Default: a tenth of FILE.")
    ] = None,
    register_as: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Serve the best trial's adapter as BASE:NAME.")
    ] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="What all trials share: epochs=5. Repeat it.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More of the job's input as JSON, such as its `space`.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Of the report: ko or en.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Save the report here.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit and leave.")] = False,
    json: JsonFlag = False,
) -> None:
    """Train with different hyperparameters and keep the best adapter. Ctrl-C leaves it running."""
    session: Session = ctx.obj
    check_files(dataset, validation)
    asked = (read_settings(settings) if settings else {}) | given(
        trials=number,
        at_once=at_once,
        budget_s=budget,
        sampler=sampler,
        pruner=pruner,
        objectives=objective,
        method=method,
        adapter=adapter,
        register_as=register_as,
        language=language,
    )
    set_hyperparameters(asked, set)
    space = {**asked.pop("space", {}), **dict(map(parse_values, vary or []))}
    if not space:
        raise WrongUse("there is nothing to vary", "say --vary 'learning_rate=1e-5..1e-3:log'")
    with session.connect() as client:
        job = submit(
            session,
            client,
            dataset,
            lambda sent: client.sweep(dataset, space, base, validation=validation, settings=asked, progress=sent),
            leave=no_wait,
            json=json,
        )
        if job is None:
            return
        trials.follow(client, job, quiet=json)
        found = client.swept(job.id)
        if html is not None:
            client.download(found.report, html)
    if json:
        print_json(plain(found))
        return
    trials.print_search(found)
    note(f"report: {html or found.report}")


def parse_values(text: str) -> tuple[str, dict[str, Any]]:
    """`rank=8,16` or `learning_rate=1e-5..1e-3:log` as the submission has it. Raises `WrongUse`."""
    name, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not values or not re.fullmatch(r"[a-z_]+", name):
        raise WrongUse(f"--vary {text!r} is not key=values", "write 'rank=8,16' or 'learning_rate=1e-5..1e-3:log'")
    if ".." not in values:
        return name, {"choices": [parse_pair(f"x={one}")[1] for one in values.split(",")]}
    found = _RANGE.fullmatch(values)
    try:
        if found is None:
            raise ValueError
        made: dict[str, Any] = {"low": float(found["low"]), "high": float(found["high"])}
        made |= {"log": True} if found["log"] else {}
        return name, made | ({"step": float(found["step"])} if found["step"] else {})
    except ValueError:
        remedy = "write 'learning_rate=1e-5..1e-3:log' or 'epochs=1..5:step=1'"
        raise WrongUse(f"--vary {text!r}: {values!r} is no range", remedy) from None
