"""`welip dataset generate`: have a model write questions about a collection, and fetch those that can be answered."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.client.cli.choices import given
from producers.client.cli.output import JsonFlag, plain, print_fields, print_json, progress_bars
from producers.client.cli.terminal import note

if TYPE_CHECKING:
    from producers.client.cli.session import Session
    from producers.client.models import Job


def generate(
    ctx: typer.Context,
    collection: Annotated[str, typer.Option("--collection", "-c", help="What the questions are about.")],
    count: Annotated[int, typer.Option(help="How many questions, at most.")] = 100,
    model: Annotated[str, typer.Option(help="A chat model of the server.")] = "default",
    prompt: Annotated[str | None, typer.Option(help="Default: question-ko or question-en.")] = None,
    top_k: Annotated[
        int | None, typer.Option(help="A search must find the passage among so many. Default: 10.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the choice of passages. Default: 0.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Save the accepted questions, JSON Lines.")
    ] = None,
    review: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save all questions with passages and flags, CSV.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Have a model write questions about a collection. Accepted are those whose passage our own search finds."""
    session: Session = ctx.obj
    settings = given(prompt=prompt, top_k=top_k, seed=seed)
    with session.connect() as client:
        job = client.synthesize(collection, count, model=model, settings=settings)
        session.watch(client, job)
        with progress_bars(quiet=json) as bars:
            task = bars.add_task("drawing passages", total=1.0)

            def show(seen: "Job") -> None:
                children = seen.children
                said = seen.progress.message or str(seen.state)
                if children and children.ended < children.total:
                    what = "questions written" if seen.stage == "verify" else "passages looked for"
                    said = f"{children.ended:,} of {children.total:,} {what}"
                bars.update(task, completed=min(seen.fraction, 0.99), description=said)

            made = client.synthesis(job.id, on_change=show)
        for file, path in (made.questions_file, output), (made.review_file, review):
            if path is not None:
                client.download(file, path)
    if json:
        print_json(plain(made))
        return
    print_fields(
        {
            "accepted": f"{made.accepted:,} of {made.passages:,} questions",
            "flags": ", ".join(f"{flag} {count:,}" for flag, count in made.flags.items()) or None,
            "model": made.model,
            "tokens": f"{made.usage.prompt_tokens + made.usage.completion_tokens:,}",
            "questions": output or made.questions_file,
            "review": review or made.review_file,
        }
    )
    note(f"welip evaluate {output or made.questions_file} -c {collection}")
