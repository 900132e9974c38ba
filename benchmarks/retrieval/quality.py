"""Every arm on the same documents and questions, with intervals, and our gain over the others question by question."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

from kiwipiepy import Kiwi
from rich.console import Console
from rich.table import Table

from benchmarks.retrieval.arms import Answers, answers, figures
from benchmarks.retrieval.baselines import Bm25, KiwiContent
from benchmarks.retrieval.beside import PEERS, peer_answers
from benchmarks.retrieval.ours import Welip
from consumers.ranking.bootstrap import difference
from consumers.ranking.metrics import METRICS, Values
from consumers.tuning.judged import Judged
from consumers.tuning.models import opened_embedder
from infra.text.sparse import KiwiSparseEncoder
from schemas.collections import SparseSettings
from schemas.errors import DependencyMissing

LEXICAL: Final = ("whitespace", "kiwi", "kiwi-tuned", "welip")
MODELLED: Final = ("dense", "hybrid", "hybrid-minmax")
ARMS: Final = (*LEXICAL, *MODELLED, *PEERS)
GROUPS: Final = {
    name: tuple(peer for peer in PEERS if peer.split("-")[0] == name) for name in ("llamaindex", "haystack")
}
"""A peer's name stands for all its arms: at its defaults, and over Kiwi's morphemes."""

OURS: Final = ("welip", "hybrid")
"""The arms whose gain over each of the others is reported; for `hybrid`, also its gain over `welip`."""
BASELINES: Final = ("kiwi", "kiwi-tuned")

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


def chosen_arms(names: str | None, *, model: bool) -> list[str]:
    """The arms in a comma-separated list, by default all that can run. Raises `ValueError` for an unknown one."""
    if names is None:
        return [arm for arm in ARMS if model or arm not in MODELLED]
    asked = [arm for name in names.split(",") if name for arm in GROUPS.get(name, (name,))]
    if unknown := [arm for arm in asked if arm not in ARMS]:
        raise ValueError(f"there is no arm {unknown[0]!r}; there are {', '.join(ARMS)}")
    if not model and (lost := [arm for arm in asked if arm in MODELLED]):
        raise ValueError(f"the arm {lost[0]!r} needs a model: --model NAME_OR_FOLDER")
    return asked


def quality(
    judged: Judged, kiwi: Kiwi, encoder: KiwiSparseEncoder, wanted: Sequence[str], model: str | None
) -> dict[str, Any]:
    """`arms` with each arm's figures, `gains` of ours over each other arm, and the arms `left_out` with the reason."""
    shown: dict[str, Any] = {}
    values: dict[str, dict[str, Values]] = {}
    left_out: dict[str, str] = {}
    for name, given in _answered(judged, kiwi, encoder, wanted, model, left_out):
        shown[name], values[name] = figures(given, judged)
        console.print(json.dumps({"arm": name, **shown[name]}))
    gains = {
        f"{ours} over {other}": {
            metric: {"mean": round(gain.mean, 4), "ci95": gain.ci95}
            for metric in METRICS
            for gain in [difference(values[ours][metric], values[other][metric])]
        }
        for ours in OURS
        for other in values
        if ours in values and (other not in OURS or (ours, other) == OURS[::-1])
    }
    return {"arms": shown, "gains": gains, "left_out": left_out}


def show(found: dict[str, Any]) -> None:
    """Print the table: a row for each arm, and our gain over Kiwi's morphemes alone."""
    columns = (*METRICS, "p50_ms", "p95_ms", "docs_per_s")
    table = Table("arm", *columns, title="retrieval", title_justify="left", box=None)
    for name, arm in found["arms"].items():
        table.add_row(name, *(_cell(arm, column) for column in columns))
    console.print()
    console.print(table)
    for pair in (f"{ours} over {baseline}" for ours in OURS for baseline in BASELINES):
        if gain := found["gains"].get(pair, {}).get("ndcg@10"):
            low, high = gain["ci95"]
            console.print(f"{pair}, ndcg@10: {gain['mean']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}")


def _answered(
    judged: Judged,
    kiwi: Kiwi,
    encoder: KiwiSparseEncoder,
    wanted: Sequence[str],
    model: str | None,
    left_out: dict[str, str],
) -> Iterator[tuple[str, Answers]]:
    for name in wanted:
        match name:
            case "whitespace":
                yield name, answers(Bm25(), judged)
            case "kiwi":
                yield name, answers(KiwiContent(kiwi), judged)
            case "kiwi-tuned":
                yield name, answers(KiwiContent(kiwi, SparseSettings()), judged)
            case "welip":
                with Welip(encoder) as arm:
                    yield name, answers(arm, judged)
            case name if name in PEERS:
                try:
                    yield name, peer_answers(name, judged)
                except DependencyMissing as error:
                    left_out[name] = error.message
                    console.print(f"{name} is left out: {error.message}")
    if model is not None and (modelled := [name for name in wanted if name in MODELLED]):
        yield from _with_model(judged, encoder, modelled, model)


def _with_model(
    judged: Judged, encoder: KiwiSparseEncoder, wanted: Sequence[str], model: str
) -> Iterator[tuple[str, Answers]]:
    """The documents are indexed once, because embedding takes long, and then searched by each arm."""
    with ExitStack() as opened:
        arm = opened.enter_context(Welip(encoder, opened.enter_context(opened_embedder(model))))
        first = answers(arm, judged)
        for name in wanted:
            if name == "hybrid":
                yield name, first
            else:
                other = arm.dense_alone() if name == "dense" else arm.fused_evenly()
                yield name, replace(answers(other, judged), index_s=first.index_s)


def _cell(arm: dict[str, Any], column: str) -> str:
    if column not in METRICS:
        return f"{arm[column]:,}"
    low, high = arm["ci95"][column]
    return f"{arm[column]:.3f} [{low:.3f}, {high:.3f}]"
