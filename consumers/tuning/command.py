"""The command `welip tune`: reads tables, encodes them once, tries the grid, prints what it found."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from consumers.ranking.metrics import METRICS
from consumers.tuning.choosing import choose
from consumers.tuning.judged import Columns, Judged, read_judged
from consumers.tuning.report import KEEP, named, report, rows
from producers.client.cli.choices import read_settings
from producers.client.cli.failures import INTERRUPTED, WrongUse
from producers.client.cli.failures import report as report_error
from producers.client.cli.interrupts import interruptible
from producers.client.cli.output import JsonFlag, print_json, print_table, progress_bars
from producers.client.cli.terminal import note
from producers.client.errors import WelipError
from schemas.collections import CollectionSettings
from schemas.errors import DependencyMissing, JobError

if TYPE_CHECKING:
    from consumers.tuning.encoding import Encoded

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


@app.command()
def tune(
    corpus: Annotated[list[Path], typer.Option(metavar="FILE", help="A table of documents; repeat it for more.")],
    questions: Annotated[Path, typer.Option(metavar="FILE", help="A table of questions; may be one of the corpora.")],
    text: Annotated[str, typer.Option(help="The corpus' column of texts.")] = "text",
    question: Annotated[str, typer.Option(help="The questions' column.")] = "question",
    relevant: Annotated[
        str | None,
        typer.Option(
            help="The column of ids that answer a question. Without it, the text in the question's own row does."
        ),
    ] = None,
    id: Annotated[str | None, typer.Option(help="The corpus' column of ids. Default: row number.")] = None,
    title: Annotated[str | None, typer.Option(help="The corpus' column of titles.")] = None,
    model: Annotated[
        str | None, typer.Option(help="An embedding model, by name or folder, for a dense arm and its weight.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The settings you have, as JSON. Default: the defaults.")
    ] = None,
    metric: Annotated[str, typer.Option(help=f"What counts: {', '.join(METRICS)}.")] = "ndcg@10",
    folds: Annotated[int, typer.Option(min=2, max=100, help="Parts of the questions, each judged by the others.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    collection: Annotated[str, typer.Option("--collection", "-c", help="Named in what to do next.")] = "default",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write the report, as JSON.")] = None,
    json: JsonFlag = False,
) -> None:
    """Find k1, b and the weights of the arms with questions whose documents are known. Needs no server.

    Chooses on some of the questions, judges on the others, and recommends a change only when the gain is statistically
    significant.
    """
    with _guarded():
        if metric not in METRICS:
            raise WrongUse(f"--metric {metric!r} is not known", f"one of {', '.join(METRICS)}")
        if out and not out.parent.is_dir():
            raise WrongUse(f"there is no folder {out.parent} for the report")
        base = _settings(settings)
        judged = read_judged(corpus, questions, Columns(text, question, title, id, relevant))
        if (asked := len(judged.questions)) < folds:
            raise WrongUse(f"{asked} questions are too few for {folds} folds", "give more questions, or fewer --folds")
        found = find(
            judged, base, model=model, metric=metric, folds=folds, seed=seed, collection=collection, quiet=json
        )
        if out:
            _write(found, out)
        print_json(found) if json else _show(found, out)


def find(
    judged: Judged,
    base: CollectionSettings,
    *,
    model: str | None,
    metric: str,
    folds: int,
    seed: int,
    collection: str,
    quiet: bool,
) -> dict[str, Any]:
    """Encode, try, choose and report. Raises `DependencyMissing` without the cpu group."""
    try:
        from consumers.tuning.encoding import encode
        from consumers.tuning.grid import candidates, run
        from infra.text.sparse import KiwiSparseEncoder
    except ImportError as error:
        raise DependencyMissing(f"tuning needs the `cpu` group ({error}): pip install 'welip[cpu]'") from error
    encoder = KiwiSparseEncoder()
    number = {document.id: position for position, document in enumerate(judged.documents)}
    relevant = [frozenset(number[one] for one in question.relevant) for question in judged.questions]
    with progress_bars(quiet=quiet) as bars:
        reading = bars.add_task("analysing documents", total=len(judged.documents))
        encoded = encode(judged, encoder, base, lambda done: bars.advance(reading, done))
        if model is not None:
            total = len(encoded.texts) + len(judged.questions)
            embedding = bars.add_task(f"embedding with {model}", total=total)
            _embed(encoded, judged, model, lambda done: bars.advance(embedding, done))
        tried = candidates(base, encoded.arms)
        trying = bars.add_task("trying settings", total=len({settings.sparse for settings in tried}))
        trial = run(encoded, encoder, tried, relevant, lambda: bars.advance(trying))
    choice = choose(trial.values[metric], base=0, folds=folds, seed=seed)
    return report(
        trial,
        choice,
        judged,
        metric=metric,
        chunks=len(encoded.pieces),
        arms=encoded.arms,
        model=model,
        collection=collection,
    )


def _embed(encoded: "Encoded", judged: Judged, model: str, advance: Callable[[int], None]) -> None:
    from consumers.tuning.encoding import embed
    from consumers.tuning.models import opened_embedder

    async def work() -> None:
        try:
            await embed(encoded, judged, embedder, advance)
        finally:
            await embedder.close()

    with opened_embedder(model) as embedder:
        asyncio.run(work())


def _settings(file: Path | None) -> CollectionSettings:
    if file is None:
        return CollectionSettings()
    try:
        return CollectionSettings.model_validate(read_settings(file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise WrongUse(f"{file}: {where}: {first['msg']}") from error


def _show(found: dict[str, Any], out: Path | None) -> None:
    note(
        f"{found['questions']:,} questions over {found['documents']:,} documents in {found['chunks']:,} chunks;"
        f" {found['candidates']:,} settings, {found['folds']} folds"
    )
    base, best = found["base"]["settings"], found["best"]["settings"]
    columns = [
        "",
        f"now: {named(base, found['arms'])}",
        "tuned, on questions it was not chosen by",
        "gain",
        "tuned, on all",
    ]
    print_table(columns, rows(found))
    typer.echo(f"\nbest on all questions: {named(best, found['arms'])}")
    if found["recommendation"] == KEEP:
        low, high = found["gain"][found["metric"]]["ci95"]
        interval = f"{low:+.4f} to {high:+.4f}"
        typer.echo(f"Recommended: {KEEP}. The gain of tuning is not statistically significant ({interval}).")
        return
    apply = found["apply"]
    typer.echo(f"Recommended: apply {_dumped(found['settings'], indent=None)}")
    file = str(_settings_beside(out)) if out else "FILE.json"
    typer.echo(f"  {apply['command'].replace('FILE.json', file)}")
    typer.echo(f"  or: {apply['http']['method']} {apply['http']['path']} {_dumped(apply['http']['body'], indent=None)}")


def _write(found: dict[str, Any], out: Path) -> None:
    out.write_text(_dumped(found), "utf-8")
    if found["settings"]:
        _settings_beside(out).write_text(_dumped(found["settings"]), "utf-8")


def _settings_beside(out: Path) -> Path:
    return out.with_suffix(".settings.json")


def _dumped(value: Any, indent: int | None = 2) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


@contextmanager
def _guarded() -> Iterator[None]:
    """Every error is one line and an exit code, as of any other command of `welip`."""
    try:
        with interruptible():
            yield
    except (WelipError, JobError, OSError) as error:
        raise typer.Exit(report_error(error)) from None
    except KeyboardInterrupt:
        note("welip: interrupted")
        raise typer.Exit(INTERRUPTED) from None
