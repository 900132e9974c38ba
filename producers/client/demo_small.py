"""`make demo MODEL=small`: the whole path with small real models on a CPU; the last line on stdout is JSON.

SmolLM2-135M-Instruct writes the answers and multilingual-e5-small searches. It runs in the environment of engines.
"""

import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from infra.local import engines, models, sample
from infra.settings import environment_names
from producers.client.demo import COLLECTION, FAILED, INTERRUPTED, console, folder, index, interrupt, stack, told
from producers.client.errors import JobFailed, WelipError
from producers.client.models import Answer
from producers.client.sync import Client
from schemas.errors import JobError

READY_WITHIN_S: Final = 300
"""The worker takes up work when the weights are loaded and a first token is written."""

ANSWER_WITHIN_S: Final = 300
GENERATE: Final = {"max_tokens": 48, "temperature": 0.0}
CAPITAL_QUESTION: Final = "What is the capital of France?"
CAPITAL: Final = "Paris"
KOREAN_QUESTION: Final = "한라산의 높이는 얼마인가요?"


@dataclass(frozen=True, slots=True)
class Shown:
    """A question, the document that was found first, what came back, and after how many milliseconds it began."""

    question: dict[str, Any]
    document: str | None
    answer: Answer
    first_ms: float

    @property
    def cited(self) -> bool:
        """Whether the right document was cited first."""
        sources = self.answer.citations
        return bool(sources) and sources[0].document_id == self.question["document_id"]

    @property
    def right(self) -> bool:
        """Whether the known answer stands in the text."""
        return self.question["answer"].lower() in (self.answer.answer or "").lower()


def run(data: Path) -> dict[str, Any]:
    """Show the path on the folder `data`; returns the summary. Raises `JobError`, `WelipError`."""
    with told(f"{models.SMOLLM2} in the cache"):
        weights = models.make_smollm2()
    use(weights, data)
    documents, questions = sample.english()
    with stack(data) as url, Client(url) as client:
        with told("worker ready: weights loaded, a first token written"):
            job = client.wait(client.submit("noop", {}).id, timeout=READY_WITHIN_S)
            if job.state != "succeeded":
                raise JobFailed(job)
        index(client, documents, "English")
        console.print(
            f"{models.SMOLLM2} has 135 million parameters, a hundredth of what is usual: it often misses the point,"
            " forgets its citations,\nand [bold]hardly speaks Korean[/]. It shows the path, not the quality.\n",
            style="yellow",
        )
        shown = [ask(client, question) for question in questions]
        spoken = say(client)
        console.print("\nAnd in Korean, where the search still works and the model does not:\n", style="dim")
        ask(client, {"question": KOREAN_QUESTION, "document_id": "hallasan-en", "answer": "1,947"})
        return summarise(shown, spoken)


def use(weights: Path, data: Path) -> None:
    """Let the stack's processes use the models."""
    file = data / "models.toml"
    data.mkdir(parents=True, exist_ok=True)
    # A JSON string is a TOML string.
    row = f'[[models]]\nname = "small"\nengine = "transformers"\nweights = {json.dumps(str(weights))}\n'
    file.write_text(row, encoding="utf-8")
    os.environ |= {"WELIP_MODELS": str(file), "WELIP_EMBEDDER": "e5-small"}


def ask(client: Client, question: dict[str, Any]) -> Shown:
    """Ask, and show the answer while it is written, then its sources."""
    console.print(f"[bold]{question['question']}[/]")
    hits = client.search(COLLECTION, question["question"], top_k=1)
    best = f"{hits[0].title} ({hits[0].document_id})" if hits else "nothing"
    console.print(Text(f"    found first: {best}", style="dim"))
    began, first = time.perf_counter(), None
    given = {"collection": COLLECTION, "question": question["question"], "generate": {**GENERATE, "stream": True}}
    job = client.submit("inference", given)
    console.print("    ", end="")
    for piece in client.stream(job.id, timeout=ANSWER_WITHIN_S, on_restart=console.print):
        first = first or time.perf_counter()
        console.print(Text(piece), end="", soft_wrap=True)
    answer = client.answer(client.job(job.id), timeout=ANSWER_WITHIN_S)
    ended = time.perf_counter()
    document = hits[0].document_id if hits else None
    one = Shown(question, document, answer, ((first or ended) - began) * 1000)
    sources = ", ".join(f"{source.title} ({source.document_id})" for source in answer.citations) or "no citation"
    took = f" · first piece after {one.first_ms:.0f} ms, all after {(ended - began) * 1000:.0f} ms"
    console.print(Text(f"\n    ← {sources}", style="cyan").append(took, style="dim"))
    return one


def say(client: Client) -> str:
    """Ask the model what no document says, as a job of the kind `generation`; its words."""
    console.print(f"\n[bold]{CAPITAL_QUESTION}[/] [dim](no documents: the kind generation)[/]")
    given = {"messages": [{"role": "user", "content": CAPITAL_QUESTION}], **GENERATE}
    job = client.wait(client.submit("generation", given).id, timeout=ANSWER_WITHIN_S)
    if job.state != "succeeded":
        raise JobFailed(job)
    words = str(client.result(job.id)["message"]["content"])
    console.print(Text(f"    {words}"))
    return words


def summarise(shown: Sequence[Shown], spoken: str) -> dict[str, Any]:
    """The last line: how often the right document was found first, the known words were said, that document cited."""
    return {
        "model": models.SMOLLM2,
        "questions": len(shown),
        "found": sum(one.document == one.question["document_id"] for one in shown),
        "answered": sum(one.right for one in shown),
        "cited": sum(one.cited for one in shown),
        "capital_of_france": CAPITAL in spoken,
        "first_piece_p50_ms": round(statistics.median(one.first_ms for one in shown), 1),
    }


def main(
    data: Annotated[
        Path | None, typer.Option(help="A folder to use and to leave behind. Default: a temporary one.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the temporary folder behind.")] = False,
) -> None:
    """Start everything, index documents, ask about them, stop. Exit code 1 when no answer is right."""
    try:
        if engines.installed() is None:
            with told("environment of model engines made, about 3 minutes and 6 GB the first time"):
                engines.install()
        python = str(engines.install())
        if Path(sys.prefix) != Path(python).parents[1]:
            os.execve(python, [python, "-m", "producers.client.demo_small", *sys.argv[1:]], engines.environment())
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, interrupt)
        for setting in (environment_names() - {"WELIP_CACHE"}) & os.environ.keys():
            del os.environ[setting]
        with folder(data, keep=keep) as path:
            summary = run(path)
    except (JobError, WelipError) as error:
        console.print(f"[red]welip:[/] {error}", soft_wrap=True)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(json.dumps(summary))
    raise typer.Exit(0 if summary["answered"] else FAILED)


if __name__ == "__main__":
    typer.run(main)
