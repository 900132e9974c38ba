"""Measures how well and how fast documents are found.

`python -m benchmarks.retrieval FOLDER`. Each arm prints a line of JSON when it is done; the last line is one JSON
object with everything.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import structlog
from kiwipiepy import Kiwi, KiwiConfig

from benchmarks.retrieval.data import read_folder
from benchmarks.retrieval.indexing import indexing
from benchmarks.retrieval.memory import memory
from benchmarks.retrieval.models import model_named
from benchmarks.retrieval.quality import ARMS, chosen_arms, console, quality, show
from benchmarks.retrieval.searching import searching
from infra.text.kiwi import KiwiAnalyser
from infra.text.sparse import KiwiSparseEncoder
from producers.client.errors import WelipError
from schemas.collections import SparseSettings
from schemas.errors import JobError

QUICK: Final = {"index_documents": 50, "rounds": 1, "chunks": 100, "searches": 20, "memory_mb": 1}
PARTS: Final = ("quality", "index", "search", "memory")


def main() -> int:
    """Exit status 0 when all that was asked for was measured, 1 when something was left out, 2 when nothing can be."""
    given = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        judged = read_folder(given.folder)
        model = model_named(given.model)
        arms = chosen_arms(given.arms, model=given.model is not None)
    except (WelipError, OSError, ValueError) as error:
        remedy = getattr(error, "remedy", None)
        print(f"benchmarks.retrieval: {error}" + (f": {remedy}" if remedy else ""), file=sys.stderr)
        return 2
    if given.limit:
        judged = replace(judged, questions=judged.questions[: given.limit])
    console.print(f"{len(judged.documents):,} documents, {len(judged.questions):,} questions")
    measure: dict[str, Callable[[], dict[str, Any]]] = {
        "quality": lambda: quality(judged, _kiwi(), _encoder(), arms, model),
        "index": lambda: indexing(judged, _kiwi(), _encoder(), documents=given.index_documents, rounds=given.rounds),
        "search": lambda: searching(
            judged, _encoder(), chunks=given.chunks, searches=given.searches, at_once=given.at_once
        ),
        "memory": lambda: memory(judged, megabytes=given.memory_mb),
    }
    found: dict[str, Any] = {"documents": len(judged.documents), "questions": len(judged.questions), "left_out": {}}
    for part in given.parts:
        try:
            made = measure[part]()
        except (WelipError, JobError, OSError) as error:
            found["left_out"][part] = str(error)
            console.print(f"{part} is left out: {error}")
            continue
        if part == "quality":
            found["left_out"] |= made.pop("left_out")
            found |= made
            show(made)
        else:
            found[part] = made
            console.print(json.dumps({part: made}))
    print(json.dumps(found))
    return 1 if found["left_out"] else 0


@cache
def _kiwi() -> Kiwi:
    """A separate Kiwi with default settings and as many threads as the encoder's."""
    kiwi = KiwiAnalyser().load()
    kiwi.global_config.cutoff_threshold = KiwiConfig().cutoff_threshold
    return kiwi


@cache
def _encoder() -> KiwiSparseEncoder:
    encoder = KiwiSparseEncoder()
    encoder.encode_query("준비", SparseSettings())  # the first query loads Kiwi
    return encoder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval", description=__doc__)
    parser.add_argument(
        "folder", type=Path, help="train.tsv and dev.tsv, dev.tsv of KLUE-STS, or corpus.* and questions.*"
    )
    parser.add_argument("--arms", help=f"with commas between: {', '.join(ARMS)}")
    parser.add_argument(
        "--parts", type=_parts, default=("quality",), help=f"with commas between: {', '.join(PARTS)}; all"
    )
    parser.add_argument(
        "--model", help="an embedding model for dense and hybrid: e5-small, minilm, a hub's name or a folder"
    )
    parser.add_argument("--quick", action="store_true", help="with small counts, to see that it works")
    parser.add_argument("--limit", type=int, help="only the first so many questions")
    parser.add_argument("--index-documents", type=int, default=10_000, help="part index")
    parser.add_argument("--rounds", type=int, default=3, help="part index: of which the median counts")
    parser.add_argument("--chunks", type=int, default=50_000, help="part search")
    parser.add_argument("--searches", type=int, default=1_000, help="part search")
    parser.add_argument("--at-once", type=int, default=20, help="part search: requests under way over HTTP")
    parser.add_argument("--memory-mb", type=int, default=100, help="part memory: size of the corpus")
    given = parser.parse_args()
    if given.quick:
        vars(given).update(QUICK)
    return given


def _parts(names: str) -> tuple[str, ...]:
    asked = PARTS if names == "all" else tuple(filter(None, names.split(",")))
    if unknown := [name for name in asked if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
