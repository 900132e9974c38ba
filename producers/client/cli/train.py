"""`welip train`: train a model on a dataset, with a live line, and show what came of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.client.cli.choices import given, read_settings
from producers.client.cli.evaluated import GATE_FAILED
from producers.client.cli.examples import PANEL, check_files, set_hyperparameters, submit
from producers.client.cli.failures import WrongUse
from producers.client.cli.output import JsonFlag, plain, print_fields, print_json, progress_bars
from producers.client.cli.terminal import note

if TYPE_CHECKING:
    from producers.client.cli.session import Session
    from producers.client.trainings import Training


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command(rich_help_panel=PANEL)(train)


def train(
    ctx: typer.Context,
    dataset: Annotated[Path, typer.Argument(metavar="FILE", help="Examples: .jsonl, .csv, .tsv or .parquet.")],
    base: Annotated[str, typer.Option(help="The model to train, by its name in the deployment.")] = "default",
    method: Annotated[str, typer.Option(help="sft, dpo, orpo or kto.")] = "sft",
    adapter: Annotated[str, typer.Option(help="lora, qlora (needs a GPU), dora, or full: all weights.")] = "lora",
    validation: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Held-out examples. Default: a tenth of FILE.")
    ] = None,
    register_as: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Serve what was made as BASE:NAME.")
    ] = None,
    promote: Annotated[
        str | None, typer.Option(metavar="ALIAS", help="With --as: let ALIAS point to it if it is not worse.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --promote: what decides. Default: held-out examples.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(help="Machines that train together, where the deployment has some.")
    ] = None,
    export: Annotated[
        list[str] | None, typer.Option(metavar="FORM", help="Also make: merged, gguf or onnx. Repeat it.")
    ] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A hyperparameter: epochs=5. Repeat it.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More of the job's input as JSON: hyperparameters and others.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Save the adapter, a zip archive, here.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit and leave.")] = False,
    json: JsonFlag = False,
) -> None:
    """Train a model on examples: conversations, questions with answers, or preferences. Ctrl-C leaves it running.

    Exit code 4: the adapter is not shown to be as good as what the alias points to.
    """
    from producers.client.cli.live_training import LiveTraining

    session: Session = ctx.obj
    if questions is not None and promote is None:
        raise WrongUse("--questions belongs to --promote")
    check_files(dataset, validation, questions)
    asked = (read_settings(settings) if settings else {}) | given(
        method=method, adapter=adapter, register_as=register_as, nodes=nodes, export=export
    )
    if promote is not None:
        if not asked.get("register_as"):
            raise WrongUse("--promote needs --as, the name under which the adapter is promoted")
        asked["gate"] = {**(asked.get("gate") or {}), "alias": promote}
    set_hyperparameters(asked, set)
    with session.connect() as client:
        if questions is not None:
            asked["gate"]["dataset"] = {"file": client.upload(questions, "evals").id}
        job = submit(
            session,
            client,
            dataset,
            lambda sent: client.train(dataset, base, validation=validation, settings=asked, progress=sent),
            leave=no_wait,
            json=json,
        )
        if job is None:
            return
        with progress_bars(quiet=json) as bars:
            live = LiveTraining()
            task = bars.add_task(live.text, total=1.0)
            for event in client.events(job.id):
                live.add(event)
                bars.update(task, completed=min(live.fraction, 0.99), description=live.text)
            made = client.training(job.id)
        if output is not None:
            client.download(made.adapter, output)
    print_json(plain(made)) if json else _print(made, output)
    if made.gate is not None and not made.gate.promoted:
        note(f"welip: {made.gate.alias} still points to {made.gate.previous}: {made.gate.why}")
        raise typer.Exit(GATE_FAILED)


def _print(made: "Training", output: Path | None) -> None:
    metrics, data, chosen = made.metrics, made.data, made.settings
    print_fields(
        {
            "model": made.model,
            "adapter": made.adapter if output is None else output,
            "examples": f"{data.rows:,}, {data.validation_rows:,} held out, {data.tokens:,} tokens",
            "steps": f"{metrics.steps:,} of {chosen.batch_size} examples, {metrics.epochs:g} epochs on {chosen.device}",
            "loss": None if metrics.train_loss is None else f"{metrics.train_loss:.4f}",
            "held-out loss": _held_out(made),
            "speed": f"{metrics.tokens_per_s:,.0f} tokens/s, {metrics.seconds:,.0f} s",
            "resumed": made.resumes or None,
            "metrics": made.metrics_file,
            **{f"as {form}": file for form, file in made.exports.items()},
            "promoted": _promoted(made),
        }
    )
    for warning in made.warnings:
        note(f"welip: {warning}")


def _promoted(made: "Training") -> str | None:
    gate = made.gate
    if gate is None or not gate.promoted:
        return None
    return f"{gate.alias} points to it now" + (f", before to {gate.previous}" if gate.previous else "")


def _held_out(made: "Training") -> str | None:
    before, after = made.metrics.validation_loss_before, made.metrics.validation_loss
    if after is None:
        return None
    return f"{after:.4f}" if before is None else f"{before:.4f} before, {after:.4f} after"
