"""`welip judge calibrate`: how far a judge agrees with people, and what it favours."""

import csv
import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.client.cli import evaluated
from producers.client.cli.choices import read_settings
from producers.client.cli.failures import WrongUse
from producers.client.cli.output import JsonFlag, plain, print_fields, print_json, print_table
from producers.client.cli.terminal import note

if TYPE_CHECKING:
    from producers.client.cli.session import Session
    from producers.client.evaluations import Calibration

PANEL = "Evaluation"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True)
    group.callback()(judge)
    group.command("calibrate")(calibrate)
    app.add_typer(group, name="judge", rich_help_panel=PANEL)


def judge() -> None:
    """The models that score answers: how far one agrees with people."""


def calibrate(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Judged answers, .jsonl or .csv: question, answer, human [, reference]."),
    ],
    model: Annotated[str, typer.Option("--judge", metavar="MODEL", help="A chat model of the server.")] = "default",
    grader: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A grader as JSON: score_model or label_model.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Instead of a grader, a metric of RAGAS: faithfulness, ...")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="A score passes from here on. Default: 0.5.")] = None,
    json: JsonFlag = False,
) -> None:
    """Have a judge score answers that people have judged: agreement, Cohen's kappa, bias, and what it favours.

    Exit code 1: not one answer was scored.
    """
    session: Session = ctx.obj
    if (grader is None) == (metric is None):
        raise WrongUse("say what the judge is asked", "give --grader FILE, or --metric faithfulness and the like")
    with session.connect() as client:
        job = client.calibrate(
            read_items(file),
            {"model": model},
            grader=None if grader is None else read_settings(grader),
            metric=metric,
            threshold=threshold,
        )
        session.watch(client, job)
        evaluated.follow(client, job, quiet=json)
        found = client.calibration(job.id)
    print_json(plain(found)) if json else _print(found)
    if found.missing == found.items:
        raise typer.Exit(1)


def read_items(file: Path) -> list[dict[str, Any]]:
    """The items of a JSON Lines or CSV file. Raises `WrongUse`."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"{file} cannot be read: {error}") from error
    if file.suffix.lower() == ".csv":
        return [_cells(row) for row in csv.DictReader(text.splitlines(keepends=True))]
    items = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = json_format.loads(line)
        except ValueError as error:
            raise WrongUse(f"{file}, line {number}: not JSON: {error}") from error
        if not isinstance(item, dict):
            raise WrongUse(f"{file}, line {number}: not an object")
        items.append(item)
    return items


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """A row of CSV: empty cells are left out, `human` is a number or a truth value where it can be one."""
    item = {name: value for name, value in row.items() if name is not None and value not in (None, "")}
    try:
        human = json_format.loads(str(item.get("human", "")).lower())
    except ValueError:
        return item
    return {**item, "human": human} if isinstance(human, bool | int | float) else item


def _print(found: "Calibration") -> None:
    low, high = found.bias_ci95 or (0.0, 0.0)
    print_fields(
        {
            "judge": found.judge,
            "answers": f"{found.items:,}" + (f", {found.missing:,} not scored" if found.missing else ""),
            "agreement": _share(found.agreement),
            "Cohen's kappa": _number(found.kappa),
            "weighted kappa": _number(found.weighted_kappa),
            "bias": "–"
            if found.bias is None
            else f"{found.bias:+.3f} ({low:+.3f} to {high:+.3f}); above 0 it is milder",
            "verbosity": _number(found.verbosity) + "; above 0 it favours long answers",
            "position": _share(found.position) + " of verdicts change with the order of the labels",
        }
    )
    both = found.confusion
    print_table(
        ["", "judge: pass", "judge: fail"],
        [["people: pass", both.both, both.human_only], ["people: fail", both.judge_only, both.neither]],
    )
    for code, count in found.unscored.items():
        note(f"welip: {count:,} not scored ({code}): {found.messages.get(code, '')}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
