"""`make demo`: from an empty folder to cited answers on one machine; the last line on stdout is JSON."""

import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final

import psutil
import typer
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from infra.local import sample
from infra.local.child import free_port
from infra.local.stack import Stack, StackOptions
from infra.settings import environment_names
from producers.client.errors import JobFailed, WelipError
from producers.client.models import Answer
from producers.client.sync import Client
from schemas.errors import JobError

COLLECTION: Final = "demo"
READY_WITHIN_S: Final = 60
COOL_DOWN_S: Final = 2.5
"""The embedded broker is polled more slowly after a while without messages: `infra/kafka/embedded.py`."""
IDLE_S: Final = 2.0
FAILED: Final = 1
INTERRUPTED: Final = 130

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of the sample and what came back; `ms`: from submit to answer, over HTTP."""

    question: dict[str, Any]
    answer: Answer
    ms: float

    @property
    def answerable(self) -> bool:
        """Whether a document of the sample answers it."""
        return self.question["document_id"] is not None

    @property
    def right(self) -> bool:
        """Found, with the right document cited first and the known answer in it; or correctly not found."""
        if not self.answerable:
            return not self.answer.found
        if not self.answer.found or not self.answer.citations:
            return False
        first = self.answer.citations[0]
        return first.document_id == self.question["document_id"] and (
            self.quoted or self.question["answer"] in first.text
        )

    @property
    def quoted(self) -> bool:
        """Whether the known answer stands in the answer itself, not only in the passage it cites."""
        return self.answerable and self.question["answer"] in (self.answer.answer or "")


def summarise(documents: int, chunks: int, asked: Sequence[Asked]) -> dict[str, Any]:
    """The last line: `questions` are those that a document answers, `answered` those answered right."""
    answerable = [one for one in asked if one.answerable]
    return {
        "documents": documents,
        "chunks": chunks,
        "questions": len(answerable),
        "answered": sum(one.right for one in answerable),
        "p50_ms": round(statistics.median(one.ms for one in asked), 1),
    }


def run(data: Path) -> dict[str, Any]:
    """Show the whole path on the folder `data`; returns the summary. Raises `JobError`, `WelipError`."""
    with stack(data) as url, Client(url) as client:
        with told("worker ready; the Korean analyser loads meanwhile"):
            job = client.wait(client.submit("noop", {}).id, timeout=READY_WITHIN_S)
            if job.state != "succeeded":
                raise JobFailed(job)
        index(client, sample.documents())
        collection = client.collection(COLLECTION)
        asked = ask(client, sample.questions())
        summary = summarise(collection.documents, collection.chunks, asked)
        console.print("\nmeasuring the idle stack", style="dim")  # no spinner: it would take processor time itself
        show(summary, asked, measure(data))
    return summary


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say how long it took."""
    began = time.monotonic()
    with console.status(what.partition(":")[0]):
        yield
    console.print(f"[green]✓[/] {what} [dim]({time.monotonic() - began:.1f} s)[/]")


@contextmanager
def stack(data: Path) -> Iterator[str]:
    """A running stack on `data`, its URL; stopped in order, whatever happens."""
    with ExitStack() as running:
        with told("stack up: PostgreSQL, Kafka-protocol broker, gateway, worker"):
            url = running.enter_context(Stack(StackOptions(data=data, port=free_port()))).url
        console.print(f"  at {url}, data in {data}", style="dim", soft_wrap=True)
        try:
            yield url
        finally:
            uninterrupted()
            with told("stopped"):
                running.close()


def index(client: Client, documents: list[dict[str, Any]], language: str = "Korean") -> None:
    """Index the documents, one job a topic. Raises `JobFailed`."""

    def topic(document: dict[str, Any]) -> str:
        return str(document["metadata"]["topic"])

    began = time.monotonic()
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=console.is_terminal) as bars:
        task = bars.add_task("indexing", total=len(documents))
        groups = [list(group) for _, group in groupby(sorted(documents, key=topic), key=topic)]
        jobs = [(group, client.index_documents(COLLECTION, group)) for group in groups]
        for group, parts in jobs:
            bars.update(task, description=f"indexing · {topic(group[0])}")
            for part in parts:
                if (ended := client.wait(part.id)).state != "succeeded":
                    raise JobFailed(ended)
            bars.advance(task, len(group))
        bars.update(task, description="indexing")
    took = time.monotonic() - began
    console.print(f"[green]✓[/] {len(documents)} {language} documents indexed, a job a topic [dim]({took:.1f} s)[/]\n")


def ask(client: Client, questions: list[dict[str, Any]]) -> list[Asked]:
    """Ask one after the other and show each answer."""
    asked = []
    for question in questions:
        began = time.perf_counter()
        answer = client.ask(COLLECTION, question["question"])
        one = Asked(question, answer, (time.perf_counter() - began) * 1000)
        asked.append(one)
        mark = "[green]✓[/]" if one.right else "[red]✗[/]"
        console.print(f"{mark} [bold]{question['question']}[/]")
        console.print(Padding(_told_answer(one), (0, 0, 0, 4), expand=False))
    return asked


def _told_answer(one: Asked) -> Text:
    answer = one.answer
    text = Text(answer.answer or "(no answer)")
    if one.answerable:
        text.highlight_words([one.question["answer"]], style="bold green")
    if answer.found and answer.citations:
        source = answer.citations[0]
        where = "".join(f" · {one}" for one in (source.heading, source.page and f"p. {source.page}") if one)
        text.append(f"\n← {source.title}{where} ({source.document_id})", style="cyan")
        if one.right and not one.quoted:
            text.append(f", which also says: {one.question['answer']}", style="cyan")
    elif one.right:
        text.append("\n← rightly: no document says it", style="cyan")
    else:
        text.append("\n← not found", style="cyan")
    if not one.right:
        text.append(f"; expected: {one.question['answer']} ({one.question['document_id']})", style="red")
    return text.append(f" · {one.ms:.0f} ms", style="dim")


def measure(data: Path) -> dict[str, str]:
    """Memory of the processes, and the share of one processor that the idle stack uses."""
    postmaster = int((data / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
    own, postgres = psutil.Process(), psutil.Process(postmaster)
    rows = {}
    for child in own.children():
        name = {"gateway": "gateway", "consumers": "worker"}.get(child.cmdline()[-1])
        if name:
            rows[f"memory of the {name}"] = f"{child.memory_info().rss / 2**20:.0f} MiB"
    time.sleep(COOL_DOWN_S)
    everything = [own, *own.children(recursive=True), postgres, *postgres.children(recursive=True)]
    began, spent = time.monotonic(), _processor_seconds(everything)
    time.sleep(IDLE_S)
    share = (_processor_seconds(everything) - spent) / (time.monotonic() - began)
    return {**rows, "processor when idle": f"{share:.1%} of one core, all processes together"}


def _processor_seconds(processes: Sequence[Any]) -> float:
    total = 0.0
    for process in processes:
        try:
            total += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:  # a database connection that was closed meanwhile
            continue
    return total


def show(summary: dict[str, Any], asked: Sequence[Asked], measured: dict[str, str]) -> None:
    """The table at the end."""
    unanswerable = [one for one in asked if not one.answerable]
    p95 = statistics.quantiles((one.ms for one in asked), n=20, method="inclusive")[-1]
    table = Table.grid(padding=(0, 3))
    rows = {
        "documents, chunks": f"{summary['documents']}, {summary['chunks']}",
        "answered right": f"{summary['answered']} of {summary['questions']}, the right document cited first",
        "  the known words quoted": f"{sum(one.right and one.quoted for one in asked)}, else in the cited passage",
        "rightly not answered": f"{sum(one.right for one in unanswerable)} of {len(unanswerable)}",
        "submit to answer, HTTP": f"p50 {summary['p50_ms']:.0f} ms, p95 {p95:.0f} ms",
        **measured,
    }
    for name, value in rows.items():
        table.add_row(Text(name, style="dim"), Text(value))
    console.print()
    console.print(table)
    console.print()


def go_on(kept: Path | None) -> None:
    """What to do next; `kept`: a folder that holds what was indexed here."""
    welip = "welip" if shutil.which("welip") else os.path.relpath(Path(sys.executable).with_name("welip"))
    up = f"{welip} up --data {kept}" if kept else "make up"
    rows = {
        up: "the stack, until Ctrl-C; try the API at http://127.0.0.1:8080/docs",
        f"{welip} index FOLDER": "your own .hwp, .hwpx, .pdf, .docx, .md, .html and .txt files",
        f"{welip} ask '...'": "an answer with its sources",
    }
    width = max(map(len, rows))
    console.print("\nGo on:")
    for command, what in rows.items():
        console.print(f"  [bold]{command.ljust(width)}[/]   [dim]{what}[/]", soft_wrap=True)


def uninterrupted() -> None:
    """From here on Ctrl-C is ignored: it would leave processes and folders behind."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)


def interrupt(*_: object) -> None:
    """The first Ctrl-C or SIGTERM ends the demo; it then cleans up. Raises `KeyboardInterrupt`."""
    uninterrupted()
    raise KeyboardInterrupt


@contextmanager
def folder(data: Path | None, *, keep: bool) -> Iterator[Path]:
    """`data`, or a temporary folder, which is removed unless it is to be kept."""
    if data is not None or keep:
        yield data or Path(tempfile.mkdtemp(prefix="welip-demo-"))
        return
    with tempfile.TemporaryDirectory(prefix="welip-demo-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def main(
    data: Annotated[
        Path | None, typer.Option(help="A folder to use and to leave behind. Default: a temporary one.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the temporary folder behind.")] = False,
) -> None:
    """Start everything, index Korean documents, ask about them, stop. Exit code 1 when an answer is not right."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, interrupt)
    # The demo shows the embedded parts, and must not write into what the environment points at.
    for setting in environment_names() & os.environ.keys():
        del os.environ[setting]
    try:
        with folder(data, keep=keep) as path:
            summary = run(path)
            go_on(path if data or keep else None)
    except (JobError, WelipError) as error:
        console.print(f"[red]welip:[/] {error}", soft_wrap=True)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(json.dumps(summary))
    raise typer.Exit(0 if summary["answered"] == summary["questions"] else FAILED)


if __name__ == "__main__":
    typer.run(main)
