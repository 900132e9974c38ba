"""`welip models`, `promote`, `rollback`, `canary`, `diff`, `card`: look at models, and move aliases between them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from producers.client.cli.choices import given, read_settings
from producers.client.cli.evaluated import GATE_FAILED
from producers.client.cli.failures import WrongUse
from producers.client.cli.output import JsonFlag, moment, plain, print_fields, print_json, print_table, progress_bars
from producers.client.cli.terminal import note, say
from producers.client.errors import ApiError, JobFailed

if TYPE_CHECKING:
    from producers.client.aliases import ModelAlias, MovedAlias
    from producers.client.sync import Client

PANEL: Final = "Models"
NOT_PASSED: Final = "gate_not_passed"

Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="A name of your own for a model.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model, or base:adapter, or base:adapter@version.")]
ReasonOption = Annotated[str | None, typer.Option(help="Kept in the ledger.")]
ExpectedOption = Annotated[
    str | None, typer.Option(help="The model that it must point to now. Default: whatever it points to.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    for command in (models, promote, rollback, canary, diff, card):
        app.command(rich_help_panel=PANEL)(command)


def models(
    ctx: typer.Context,
    alias: Annotated[str | None, typer.Argument(metavar="[ALIAS]", help="Show this alias and its ledger.")] = None,
    json: JsonFlag = False,
) -> None:
    """List models, adapters and aliases; or show an alias with its ledger."""
    with ctx.obj.connect() as client:
        if alias is not None:
            _show(client, alias, json=json)
            return
        found = client.models.list()
    if json:
        print_json(plain(found))
        return
    rows = [
        [one.id, one.alias_of or "", ", ".join(one.tasks), one.engine, "yes" if one.served else "no"] for one in found
    ]
    print_table(["id", "points to", "tasks", "engine", "served"], rows)


def promote(
    ctx: typer.Context,
    alias: Alias,
    model: Model,
    evaluation: Annotated[
        str | None, typer.Option(metavar="ID", help="An evaluation, job_..., that compared the two models.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Questions: evaluate now, and promote if it is not worse.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="With --dataset: where to look. Default: the model alone.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --dataset: more of the job's input as JSON: way, graders.")
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(help="With --dataset: must not be worse. Default: f1.")] = None,
    by: Annotated[
        float | None, typer.Option(help="With --dataset: how much worse is still good. Default: 0.05.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Without an evaluation; give a --reason.")] = False,
    expected: ExpectedOption = None,
    reason: ReasonOption = None,
    json: JsonFlag = False,
) -> None:
    """Let an alias point to another model, or make it. Exit code 4: the model is not shown to be as good."""
    if dataset is not None and (evaluation is not None or force):
        raise WrongUse("give one of --dataset, --evaluation and --force")
    if dataset is None and (collection or settings or metric or by is not None):
        raise WrongUse("--collection, --settings, --metric and --by belong to --dataset")
    if force and reason is None:
        raise WrongUse("--force needs a --reason, which the ledger keeps")
    if dataset is not None and not dataset.is_file():
        raise WrongUse(f"there is no file {dataset}")
    with ctx.obj.connect() as client:
        now = expected if expected is not None else _champion(client, alias)
        if dataset is None:
            try:
                moved = client.models.promote(
                    alias, model, expected=now, evaluation=evaluation, force=force, reason=reason
                )
            except ApiError as error:
                if error.code != NOT_PASSED:
                    raise
                note(f"welip: {error.message}")
                raise typer.Exit(GATE_FAILED) from None
            _tell(moved, json=json)
            return
        asked: dict[str, Any] = read_settings(settings) if settings else {}
        asked |= given(collection=collection, metrics=metric, by=by)
        with progress_bars(quiet=json, bytes=True) as bars:
            task = bars.add_task(f"uploading {dataset.name}", total=dataset.stat().st_size)
            sent = client.upload(dataset, "evals", progress=lambda done: bars.update(task, completed=done))
        job = client.models.gate(alias, model, {**asked, "dataset": {"file": sent.id}}, reason=reason)
        ctx.obj.watch(client, job)
        with progress_bars(quiet=json) as bars:
            bars.add_task("evaluating both models", total=None)
            ended = client.wait(job.id)
        if json:
            print_json(plain(ended))
        if ended.state != "succeeded":
            failed = JobFailed(ended)
            if failed.code != NOT_PASSED:
                raise failed
            note(f"welip: {failed}")
            raise typer.Exit(GATE_FAILED)
        if not json:
            _print(client.models.alias(alias))


def rollback(
    ctx: typer.Context,
    alias: Alias,
    expected: ExpectedOption = None,
    reason: ReasonOption = None,
    json: JsonFlag = False,
) -> None:
    """Take back the last step of an alias: its canary if there is one, else the last promotion."""
    with ctx.obj.connect() as client:
        _tell(client.models.roll_back(alias, expected=expected, reason=reason), json=json)


def canary(
    ctx: typer.Context,
    alias: Alias,
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="The model on trial.")] = None,
    share: Annotated[float, typer.Option(help="Of the jobs, up to 0.5.")] = 0.1,
    end: Annotated[bool, typer.Option("--end", help="End the trial.")] = False,
    expected: ExpectedOption = None,
    reason: ReasonOption = None,
    json: JsonFlag = False,
) -> None:
    """Let a share of an alias's jobs run on another model. It is rolled back by itself when it is worse."""
    if end == (model is not None):
        raise WrongUse("give a MODEL, or --end")
    with ctx.obj.connect() as client:
        if model is None:
            moved = client.models.end_canary(alias)
        else:
            moved = client.models.canary(alias, model, share, expected=expected, reason=reason)
    _tell(moved, json=json)


def diff(
    ctx: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="A model or an alias.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    json: JsonFlag = False,
) -> None:
    """Show the figures of two models in the newest evaluation that asked both."""
    with ctx.obj.connect() as client:
        found = client.models.diff(first, second)
    if json:
        print_json(plain(found))
        return
    rows = [
        [
            name,
            _figure(one.first),
            _figure(one.second),
            ("" if one.gain is None else f"{one.gain:+.4f}") + (" *" if one.significant else ""),
            "" if one.ci95 is None else f"{one.ci95[0]:+.4f} to {one.ci95[1]:+.4f}",
        ]
        for name, one in found.metrics.items()
    ]
    title = f"{found.items:,} items of {found.evaluation}"
    print_table(["metric", found.first, found.second, "difference", "95 %"], rows, title=title)


def card(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model, an adapter, or an alias.")],
    json: JsonFlag = False,
) -> None:
    """Print the card of a model, or of the one that an alias points to, as Markdown."""
    with ctx.obj.connect() as client:
        text = client.models.card(model)
    print_json({"model": model, "card": text}) if json else say(text.rstrip())


def _champion(client: "Client", alias: str) -> str | None:
    try:
        return client.models.alias(alias).model
    except ApiError as error:
        if error.code != "alias_not_found":
            raise
        return None


def _show(client: "Client", alias: str, *, json: bool) -> None:
    found = client.models.alias(alias)
    steps = list(client.models.ledger(alias))
    if json:
        print_json({**plain(found), "ledger": plain(steps)})
        return
    _print(found)
    rows = [
        [
            moment(one.created_at),
            one.action + (" (forced)" if one.forced else ""),
            one.canary or one.model,
            one.previous,
            one.by,
            one.reason,
            one.evaluation,
        ]
        for one in steps
    ]
    print_table(["when", "what", "model", "before", "by", "reason", "evaluation"], rows, title="\nLedger")


def _tell(moved: "MovedAlias", *, json: bool) -> None:
    print_json(plain(moved)) if json else _print(moved)


def _print(found: "ModelAlias | MovedAlias") -> None:
    canary = None if found.canary is None else f"{found.canary.model}, {found.canary.share:.0%} of the jobs"
    print_fields({"alias": found.id, "model": found.model, "canary": canary})


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
