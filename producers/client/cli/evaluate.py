"""`welip evaluate`, `report` and `compare`: score answers to a dataset, show the figures, compare two runs."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from producers.client.cli import evaluated
from producers.client.cli.choices import given, read_settings
from producers.client.cli.datasets import on_the_server
from producers.client.cli.failures import WrongUse
from producers.client.cli.output import JsonFlag, plain, print_json
from producers.client.cli.terminal import note, say

if TYPE_CHECKING:
    from producers.client.cli.session import Session
    from producers.client.evaluations import Evaluation
    from producers.client.sync import Client

PANEL = "Evaluation"
_GATE: Final = re.compile(r"(?P<metric>[a-z0-9_@]+)\s*>=\s*(?P<aim>[^\s]+?)(?:\s*-\s*(?P<by>0?\.\d+))?")

HtmlOption = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Save the report, one HTML page, here.")
]
LanguageOption = Annotated[str | None, typer.Option(help="Of the report: ko or en. Default: ko.")]
GateOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CONDITION",
        help="'f1>=0.4', or 'f1>=job_...-0.01': not worse than that run by more than 0.01. Repeat it.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    for command in (evaluate, report, compare):
        app.command(rich_help_panel=PANEL)(command)


def evaluate(
    ctx: typer.Context,
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|NAME",
            help="Questions: .jsonl, .csv, .tsv or .parquet; a dataset of the server; or .json: the job's input.",
        ),
    ],
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Where to look.")] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:KEY=VALUE,...", help="A way to answer, as 'one:top_k=1,rerank=false'. Repeat it."),
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More of the job's input as JSON: variants, gates, breakdown.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="f1, recall@5, ...; default: all there are. Repeat it.")
    ] = None,
    gate: GateOption = None,
    judge: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A chat model of the server that scores, too: RAGAS' metrics.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Stop when answers and judge have used so many tokens.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Stop when they have cost so much, at the prices of the models file.")
    ] = None,
    breakdown: Annotated[str | None, typer.Option(help="Figures for each value of this metadata field.")] = None,
    question_column: Annotated[str | None, typer.Option(help="Default: question.")] = None,
    reference_column: Annotated[str | None, typer.Option(help="Default: reference, if there is one.")] = None,
    relevant_column: Annotated[str | None, typer.Option(help="Default: relevant, if there is one.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Default: id, if there is one.")] = None,
    language: LanguageOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask every question, even if an earlier evaluation has its answer.")
    ] = False,
    experiment: Annotated[
        str | None, typer.Option(help="Of MLflow, where the deployment has one. Default: the collection's name.")
    ] = None,
    html: HtmlOption = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit and leave.")] = False,
    json: JsonFlag = False,
) -> None:
    """Ask every question of a dataset, score the answers and report.

    Exit code 4: a gate was not passed; 1: not one question was answered.
    """
    session: Session = ctx.obj
    asked = read_settings(settings) if settings else {}
    items: list[dict[str, Any]] | None = None
    if dataset.suffix.lower() == ".json" and dataset.is_file():
        asked = read_settings(dataset) | asked
        items = asked.pop("items", None)
        if not items:
            raise WrongUse(f"{dataset} holds no `items`", "give a table, or what `welip dataset import` made")
    asked |= given(metrics=metric, breakdown=breakdown, language=language, experiment=experiment)
    asked |= {"reuse": False} if fresh else {}
    if judge is not None:
        asked["judge"] = {**asked.get("judge", {}), "model": judge}
    if ceiling := given(tokens=max_tokens, cost=max_cost):
        asked["ceiling"] = {**asked.get("ceiling", {}), **ceiling}
    columns = given(question=question_column, reference=reference_column, relevant=relevant_column, id=id_column)
    variants = [parse_variant(one) for one in variant or []]
    with session.connect() as client:
        if gate:
            asked["gates"] = [*asked.get("gates", []), *(parse_gate(client, one) for one in gate)]
        job = client.evaluate(
            items if items is not None else on_the_server(client, str(dataset), "evals", quiet=json),
            collection,
            variants,
            columns=columns,
            settings=asked,
        )
        if no_wait:
            print_json(plain(job)) if json else say(job.id)
            return
        session.watch(client, job)
        evaluated.follow(client, job, quiet=json)
        _tell(client, client.evaluation(job.id), html, json=json)


def report(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="The evaluation's job, job_...")],
    html: HtmlOption = None,
    json: JsonFlag = False,
) -> None:
    """Show the figures of an evaluation, and wait for them if it still runs. Exit code 4: a gate was not passed."""
    session: Session = ctx.obj
    with session.connect() as client:
        job = client.job(id)
        if job.kind != "evaluation":
            raise WrongUse(f"{id} is a job of kind {job.kind!r}, not an evaluation")
        session.watch(client, job)
        evaluated.follow(client, job, quiet=json)
        _tell(client, client.evaluation(id), html, json=json)


def compare(
    ctx: typer.Context,
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="An evaluation's job, the baseline.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Another evaluation's job.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="f1, recall@5, ...; default: all there are. Repeat it.")
    ] = None,
    language: LanguageOption = None,
    html: HtmlOption = None,
    json: JsonFlag = False,
) -> None:
    """Compare two evaluations, item by item: what changed, and whether it is more than chance."""
    session: Session = ctx.obj
    with session.connect() as client:
        try:
            job = client.compare_runs(
                {"before": client.evaluation(before), "after": client.evaluation(after)},
                settings=given(metrics=metric, language=language),
            )
        except ValueError as error:
            raise WrongUse(str(error)) from error
        session.watch(client, job)
        _tell(client, client.evaluation(job.id), html, json=json)


def parse_variant(text: str) -> dict[str, Any]:
    """`one:top_k=1,generate=null` as the submission has it; values are JSON where they can be. Raises `WrongUse`."""
    import json

    name, _, rest = text.partition(":")
    variant: dict[str, Any] = {"name": name}
    for pair in rest.split(",") if rest else []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise WrongUse(f"--variant {text!r}: {pair!r} is not key=value", "write 'one:top_k=1,rerank=false'")
        try:
            variant[key.strip()] = json.loads(value)
        except ValueError:
            variant[key.strip()] = value.strip()
    return variant


def parse_gate(client: "Client", text: str) -> dict[str, Any]:
    """`f1>=0.4`, `f1>=five-0.01` or `f1>=job_...-0.01` as the submission has it. Raises `WrongUse`."""
    found = _GATE.fullmatch(text.strip())
    if found is None:
        raise WrongUse(f"--gate {text!r} is not understood", "write 'f1>=0.4' or 'f1>=job_...-0.01'")
    aim = found["aim"]
    try:
        return {"metric": found["metric"], "min": float(aim)}
    except ValueError:
        pass
    if aim.startswith("job_"):
        try:
            earlier = client.evaluation(aim)
        except ValueError as error:
            raise WrongUse(f"--gate {text!r}: {error}") from error
        if earlier.items_file is None:
            raise WrongUse(f"--gate {text!r}: {aim} is a comparison and has no items of its own")
        aim = earlier.items_file
    return {"metric": found["metric"], "not_worse_than": aim, "by": float(found["by"] or 0)}


def _tell(client: "Client", evaluation: "Evaluation", html: Path | None, *, json: bool) -> None:
    if html is not None:
        client.download(evaluation.report, html)
    if json:
        print_json(plain(evaluation))
    else:
        evaluated.print_evaluation(evaluation)
        _remark(evaluation.warnings)
        if evaluation.tracking is not None:
            note(f"MLflow: experiment {evaluation.tracking.experiment}, welip.run = {evaluation.tracking.run}")
        note(f"report: {html}" if html else f"report: welip report {evaluation.job} --html report.html")
    if evaluation.passed is False:
        raise typer.Exit(evaluated.GATE_FAILED)
    if not evaluation.items.succeeded:
        raise typer.Exit(1)


def _remark(warnings: Sequence[str]) -> None:
    for warning in warnings:
        note(f"welip: {warning}")
