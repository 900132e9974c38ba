"""`welip collections`: show indexed collections and their settings, and change them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.client.cli import indexed
from producers.client.cli.choices import (
    SettingsFile,
    chosen_settings,
    parse_weights,
    read_synonyms,
    read_words,
)
from producers.client.cli.failures import WrongUse
from producers.client.cli.output import JsonFlag, moment, plain, print_fields, print_json, print_table
from producers.client.cli.settings_view import indexed_again, note_change, setting_lines
from producers.client.cli.terminal import note, say

if TYPE_CHECKING:
    from producers.client.cli.session import Session
    from producers.client.models import Collection, Job
    from producers.client.sync import Client

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Submit and leave.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="Collections: list, show, set, rebuild, drop; by itself, list.")
    group.callback(invoke_without_command=True)(collections)
    group.command("list")(list_)
    group.command("show")(show)
    group.command("set")(set_)
    group.command("rebuild")(rebuild)
    group.command("drop")(drop)
    app.add_typer(group, name="collections", rich_help_panel="Documents")


def collections(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List the collections, or do what the command says."""
    if ctx.invoked_subcommand is None:
        list_(ctx, json)


def list_(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List the collections with their documents, chunks and bytes."""
    with ctx.obj.connect() as client:
        found = client.collections()
    if json:
        print_json(plain(found))
    elif found:
        print_table(
            ["name", "documents", "chunks", "bytes", "embedder"],
            [[c.name, f"{c.documents:,}", f"{c.chunks:,}", f"{c.bytes:,}", c.encoder.dense] for c in found],
        )
    else:
        note("no collection yet: make one with `welip index PATH`")


def show(ctx: typer.Context, name: NameArgument, json: JsonFlag = False) -> None:
    """Show a collection: its contents, encoders and settings, and whether it is being indexed again."""
    with ctx.obj.connect() as client:
        found = client.collection(name)
    print_json(plain(found)) if json else _print(found)


def set_(
    ctx: typer.Context,
    name: NameArgument,
    settings: SettingsFile = None,
    max_chars: Annotated[int | None, typer.Option(min=50, max=4000, help="Characters of a chunk.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=0, max=8192, help="Morphemes of a chunk; 0: no limit.")] = None,
    overlap: Annotated[int | None, typer.Option(min=0, max=5, help="Sentences that chunks share.")] = None,
    k1: Annotated[float | None, typer.Option(min=0, max=10, help="BM25: how much a repeated term adds.")] = None,
    b: Annotated[float | None, typer.Option(min=0, max=1, help="BM25: how much a long chunk loses.")] = None,
    words: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Words that stay whole, one a line, in place of the present ones."),
    ] = None,
    synonyms: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Groups, one a line with commas, in place of the present ones.")
    ] = None,
    correct_spacing: Annotated[
        bool | None, typer.Option("--correct-spacing/--no-correct-spacing", help="Mend the spaces of queries.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="How arms are fused: auto, minmax or rrf.")] = None,
    weights: Annotated[str | None, typer.Option(metavar="ARM=WEIGHT,...", help="sparse=.5,dense=.5")] = None,
    depth: Annotated[int | None, typer.Option(min=1, max=1000, help="Hits of each arm that are fused.")] = None,
    rrf_k: Annotated[int | None, typer.Option(min=1, max=1000, help="The constant of rrf.")] = None,
    document_share: Annotated[
        float | None, typer.Option(min=0, max=0.9, help="How much its document's best chunk lends to a chunk.")
    ] = None,
    per_document: Annotated[int | None, typer.Option(min=0, max=100, help="Chunks of one document; 0: all.")] = None,
    no_wait: NoWait = False,
    json: JsonFlag = False,
) -> None:
    """Change settings; the others stay. Where vectors depend on them all documents are indexed again.

    Meanwhile searches continue in the old index.
    """
    flags: dict[str, dict[str, Any]] = {
        "chunking": {"max_chars": max_chars, "max_tokens": max_tokens, "overlap_sentences": overlap},
        "sparse": {
            "k1": k1,
            "b": b,
            "words": read_words(words) if words else None,
            "synonyms": read_synonyms(synonyms) if synonyms else None,
            "correct_spacing": correct_spacing,
        },
        "fusion": {
            "method": method,
            "weights": parse_weights(weights) if weights else None,
            "depth": depth,
            "rrf_k": rrf_k,
            "document_share": document_share,
            "per_document": per_document,
        },
    }
    change = chosen_settings(settings, flags)
    if change is None:
        raise WrongUse("no setting is given", "name one, as in --k1 0.9, or a file of them: --settings FILE.json")
    session: Session = ctx.obj
    with session.connect() as client:
        before = client.collection(name)
        if not json:
            note_change(before, change)
        _do(session, client, client.change_collection(name, change), name, no_wait=no_wait, json=json)


def rebuild(ctx: typer.Context, name: NameArgument, no_wait: NoWait = False, json: JsonFlag = False) -> None:
    """Index all documents again, into a new index that replaces the old one when it is complete.

    For a changed embedding model, or an index that was damaged.
    """
    session: Session = ctx.obj
    with session.connect() as client:
        if not json:
            note(indexed_again(client.collection(name)))
        _do(session, client, client.change_collection(name, rebuild=True), name, no_wait=no_wait, json=json)


def drop(ctx: typer.Context, name: NameArgument, json: JsonFlag = False) -> None:
    """Remove a collection with all its documents."""
    with ctx.obj.connect() as client:
        found = client.collection(name)
        removed = client.delete_collection(name)
    print_json(plain(removed)) if json else say(f"dropped {name}: {found.documents:,} documents")


def _do(session: "Session", client: "Client", job: "Job", name: str, *, no_wait: bool, json: bool) -> None:
    if no_wait:
        print_json(plain(job)) if json else indexed.print_submitted([job])
        return
    session.watch(client, job)
    ended = indexed.wait(client, [job], quiet=json, doing=f"changing {name}")
    if json:
        print_json(plain(ended[0]))
    elif ended[0].state == "succeeded":
        rebuilt = (ended[0].result or {}).get("rebuilt", 0)
        say(f"changed {name}" + (f": {rebuilt:,} documents were indexed again" if rebuilt else ""))
    indexed.end_with(ended)


def _print(found: "Collection") -> None:
    encoder = found.encoder
    learned = ", with its own term weights" if encoder.learned else ""
    print_fields(
        {
            "name": found.name,
            "documents": f"{found.documents:,} in {found.chunks:,} chunks, {found.bytes:,} bytes of text",
            "sparse": encoder.sparse,
            "dense": f"{encoder.dense}, {encoder.dimension} dimensions{learned}" if encoder.dense else "none",
            "metadata": ", ".join(found.fields) or None,
            "generation": found.generation,
            "rebuild": (found.rebuild.job or "runs") if found.rebuild else None,
            "created": moment(found.created_at),
        }
    )
    if found.settings:
        say()
        print_table(["setting", "value"], setting_lines(found.settings))
