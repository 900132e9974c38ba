"""`welip dataset`: keep versions of datasets, and check how good one is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from producers.client.cli import imports
from producers.client.cli.choices import given, read_settings
from producers.client.cli.failures import WrongUse
from producers.client.cli.output import JsonFlag, age, plain, print_json, print_table, progress_bars
from producers.client.cli.synthesize import generate
from producers.client.cli.terminal import note, say

if TYPE_CHECKING:
    from producers.client.cli.session import Session
    from producers.client.datasets import DatasetQuality
    from producers.client.models import File, Job
    from producers.client.sync import Client

PANEL = "Evaluation"
NOT_PASSED: Final = 4
"""The exit code of a check that ended well, of a dataset that did not pass."""

Reference = Annotated[
    str, typer.Argument(metavar="FILE|NAME|ID", help="A file; or of the server NAME, NAME@VERSION or file_...")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Datasets: keep versions, check how good one is.")
    for command in (check, add, generate):
        group.command()(command)
    group.command("list")(show_all)
    imports.register(group)
    app.add_typer(group, name="dataset", rich_help_panel=PANEL)


def check(
    ctx: typer.Context,
    dataset: Reference,
    against: Annotated[
        str | None,
        typer.Option(metavar="FILE|NAME|ID", help="Another dataset, as training data, whose rows it must not share."),
    ] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Look for each question's document here.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Passages to look among. Default: 10.")] = None,
    similarity: Annotated[float | None, typer.Option(help="Near duplicates from here on. Default: 0.85.")] = None,
    min_score: Annotated[float | None, typer.Option(help="With a lower score it does not pass.")] = None,
    form: Annotated[
        str | None, typer.Option(help="questions, sft, dpo, orpo or kto. Default: its columns say.")
    ] = None,
    question_column: Annotated[str | None, typer.Option(help="Default: question.")] = None,
    reference_column: Annotated[str | None, typer.Option(help="Default: reference, if there is one.")] = None,
    relevant_column: Annotated[str | None, typer.Option(help="Default: relevant, if there is one.")] = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More of the job's input as JSON: title, experiment.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Save all findings here, JSON Lines.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Check a dataset row by row: form, duplicates, empty fields, language, lengths, leakage, unanswerable questions.

    Exit code 4: it does not pass. A row is not valid, or stands in the other dataset, too, or the score is too low.
    """
    session: Session = ctx.obj
    asked = read_settings(settings) if settings else {}
    asked |= given(top_k=top_k, similarity=similarity, min_score=min_score, form=form)
    columns = given(question=question_column, reference=reference_column, relevant=relevant_column)
    with session.connect() as client:
        purpose = "evals" if form in (None, "questions") else "fine-tune"
        file = on_the_server(client, dataset, purpose, quiet=json).id
        other = None if against is None else on_the_server(client, against, purpose, quiet=json).id
        job = client.check_dataset(file, columns=columns, against=other, collection=collection, settings=asked)
        session.watch(client, job)
        with progress_bars(quiet=json) as bars:
            task = bars.add_task("reading the rows", total=1.0)

            def show(seen: "Job") -> None:
                bars.update(task, completed=min(seen.fraction, 0.99), description=seen.progress.message or seen.state)

            found = client.dataset_quality(job.id, on_change=show)
        if output is not None:
            client.download(found.findings_file, output)
    print_json(plain(found)) if json else _print(found, output)
    if not found.passed:
        raise typer.Exit(NOT_PASSED)


def add(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=".jsonl, .csv, .tsv or .parquet")],
    training: Annotated[bool, typer.Option("--training", help="It holds examples of a training.")] = False,
    json: JsonFlag = False,
) -> None:
    """Upload a dataset as the newest version of its name. What is there with the same content is not uploaded again."""
    from producers.client.datasets import version_of

    with ctx.obj.connect() as client:
        stored = on_the_server(client, str(file), "fine-tune" if training else "evals", quiet=json)
    print_json(plain(stored)) if json else say(f"{version_of(stored)}  {stored.id}")


def show_all(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only the versions of this one.")] = None,
    json: JsonFlag = False,
) -> None:
    """List datasets with their versions, the newest first."""
    from producers.client.datasets import version_of

    with ctx.obj.connect() as client:
        found = client.datasets(name)
    if json:
        print_json(plain(found))
        return
    rows = [
        [version_of(one), one.id, f"{one.bytes:,}", one.purpose, age(one.created_at) if one.created_at else ""]
        for one in found
    ]
    print_table(["version", "id", "bytes", "purpose", "age"], rows)


def on_the_server(client: "Client", reference: str, purpose: str, *, quiet: bool) -> "File":
    """The dataset that is meant: a file here is uploaded, unless it is there. Raises `WrongUse`."""
    from producers.client.datasets import DatasetNotFound

    path = Path(reference)
    if path.is_file():
        with progress_bars(quiet=quiet, bytes=True) as bars:
            task = bars.add_task(f"uploading {path.name}", total=path.stat().st_size)
            return client.add_dataset(path, purpose=purpose, progress=lambda sent: bars.update(task, completed=sent))
    try:
        return client.dataset(reference)
    except DatasetNotFound as error:
        raise WrongUse(f"there is no file {reference} here, and on the server {error}") from error


def _print(found: "DatasetQuality", output: Path | None) -> None:
    what = "questions" if found.form == "questions" else f"examples for {found.form}"
    verdict = "" if found.passed else ", NOT PASSED"
    parts: list[list[Any]] = [[part, "–" if share is None else f"{share:.1%}"] for part, share in found.parts.items()]
    print_table(
        ["part", "rows without a finding"],
        [*parts, ["score", f"{found.score:.1%}{verdict}"]],
        title=f"{found.rows:,} {what}, sha256 {found.sha256[:12]}",
    )
    if found.counts:
        first: dict[str, str] = {}
        for one in found.findings:
            first.setdefault(one.code, f"row {one.row}: {one.message}")
        rows = [[code, f"{count:,}", first.get(code)] for code, count in found.counts.items()]
        print_table(["finding", "rows", "the first"], rows, title="\nFindings")
    print_table(
        ["column", "rows", "shortest", "5 %", "median", "95 %", "longest"],
        [
            [column, *(f"{value:,}" for value in (one.rows, one.min, one.p05, one.p50, one.p95, one.max))]
            for column, one in found.lengths.items()
        ],
        title="\nCharacters",
    )
    note("languages: " + ", ".join(f"{name} {count:,}" for name, count in found.languages.items()))
    if found.retrieval is not None:
        note(f"answer found: {found.retrieval.found:,} of {found.retrieval.asked:,} questions")
    for warning in found.warnings:
        note(f"welip: {warning}")
    if found.tracking is not None:
        note(f"MLflow: experiment {found.tracking.experiment}, welip.run = {found.tracking.run}")
    note(f"all findings: {output}" if output else f"all findings: {found.findings_file}")
