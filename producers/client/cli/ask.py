"""`welip ask` and `welip search`: questions to a collection."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from producers.client.cli.failures import WrongUse
from producers.client.cli.filters import FilterOption, parse_filter
from producers.client.cli.output import JsonFlag, console, one_line, plain, print_json
from producers.client.cli.terminal import note, say, say_on, visible
from producers.client.errors import WelipError

if TYPE_CHECKING:
    from producers.client.cli.session import Session
    from producers.client.models import Answer
    from producers.client.sync import Client
    from schemas.kinds.inference import Citation

PANEL = "Documents"
PASSAGE_LINES: Final = 3
INDENT: Final = 5
MORE: Final = " …"
NO_ANSWER: Final = "(no answer found)"

CollectionOption = Annotated[str, typer.Option("--collection", "-c", help="The collection.")]
TopK = Annotated[int, typer.Option("--top-k", "-k", min=1, max=100, help="How many passages.")]
RerankOption = Annotated[
    bool | None,
    typer.Option("--rerank/--no-rerank", help="With or without a reranker. Default: with one if the server has it."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(rich_help_panel=PANEL)(ask)
    app.command(rich_help_panel=PANEL)(search)


def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(help="The question.")],
    collection: CollectionOption = "default",
    top_k: TopK = 5,
    filter: FilterOption = None,
    rerank: RerankOption = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for the answer.")] = 120.0,
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer while it is written.")] = False,
    json: JsonFlag = False,
) -> None:
    """Answer a question from a collection, with its sources."""
    from producers.client.flows import question as requested

    session = ctx.obj
    if stream and json:
        raise WrongUse("--stream prints text while it is written, --json one document at the end: give one of them")
    with session.connect() as client:
        how: dict[str, Any] = {"top_k": top_k, "filter": parse_filter(filter), "rerank": rerank}
        if stream:
            asked = requested(collection, question, generate={"stream": True}, **how)
            answer = _read_along(session, client, asked, timeout)
        else:
            answer = client.ask(
                collection, question, **how, timeout=timeout, on_submit=lambda job: session.watch(client, job)
            )
    if json:
        print_json(plain(answer))
        return
    if not stream:
        say(answer.answer or NO_ANSWER)
    if answer.citations:
        say()
        say(f"Sources · {answer.model}" if answer.model else "Sources")
        print_passages(answer.citations, [citation.streamed_as or n for n, citation in enumerate(answer.citations, 1)])


def _read_along(session: "Session", client: "Client", asked: dict[str, Any], timeout: float) -> "Answer":
    """Print the answer while it is written. Who leaves has the job cancelled."""
    job = client.submit("inference", asked)

    def restarted() -> None:
        say()
        note("welip: the answer begins again")

    with session.owning(client, job), client.stream(job.id, timeout=timeout, on_restart=restarted) as pieces:
        try:
            for piece in pieces:
                say_on(piece)
        except (WelipError, KeyboardInterrupt):
            if pieces.text:
                say()  # what is said of it begins on a line of its own
            raise
    ended = pieces.job or job
    if pieces.text or ended.state == "succeeded":
        say("" if pieces.text else NO_ANSWER)
    return client.answer(ended)


def search(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    collection: CollectionOption = "default",
    top_k: TopK = 5,
    filter: FilterOption = None,
    rerank: RerankOption = None,
    json: JsonFlag = False,
) -> None:
    """Find the passages that fit a query best; nothing is generated."""
    with ctx.obj.connect() as client:
        hits = client.search(collection, query, top_k=top_k, filter=parse_filter(filter), rerank=rerank)
    if json:
        print_json(plain(hits))
    elif hits:
        print_passages(hits, range(1, len(hits) + 1))
    else:
        note("nothing found")


def print_passages(passages: "Sequence[Citation]", numbers: Sequence[int]) -> None:
    """Each passage below its number, its source and its score; only its beginning when the terminal is narrow."""
    from rich.text import Text

    out = console()
    for number, passage in zip(numbers, passages, strict=True):
        named = [
            (one_line(passage.title), "bold"),
            (_below_title(passage), ""),
            (f"p. {passage.page}" if passage.page else None, ""),
            (passage.document_id, "cyan"),
            (f"score {passage.score:.2f}", "dim"),
        ]
        head = [Text(visible(text), style) for text, style in named if text]
        out.print(Text(f"[{number}]  ") + Text(" · ").join(head))
        lines = Text(visible(one_line(passage.text))).wrap(out, out.width - INDENT - len(MORE))
        if len(lines) > PASSAGE_LINES:
            lines[PASSAGE_LINES - 1].append(MORE)
        for line in lines[:PASSAGE_LINES]:
            out.print(Text(" " * INDENT) + line)


def _below_title(passage: "Citation") -> str:
    """The path of headings without the title, which often is the first of them."""
    title, heading = one_line(passage.title), one_line(passage.heading)
    return "" if heading == title else heading.removeprefix(f"{title} > ")
