"""The two tables and the JSON of the results: medians over the rounds."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.table import Table as RichTable

from benchmarks.peers.measure import RATES, Sizes
from benchmarks.peers.systems import System, Table


def middle(values: Sequence[float | None]) -> float | None:
    """The median; a round in which the system failed to keep up (None) counts as worse than any figure."""
    found = median(float("inf") if value is None else value for value in values) if values else float("inf")
    return None if found == float("inf") else round(found, 2)


def summary(turns: Sequence[Mapping[str, Any]], recovery: Mapping[str, Any] | None) -> dict[str, Any]:
    """One system's figures over all rounds."""
    rates = [turn["jobs_per_s"] for turn in turns if "jobs_per_s" in turn]
    short = [turn["short_s"] for turn in turns if "short_s" in turn]
    loads = [turn["latency_ms"] for turn in turns if "latency_ms" in turn]
    return {
        "jobs_per_s": round(median(rates)) if rates else None,
        "jobs_per_s_rounds": [round(rate) for rate in rates],
        "latency_ms": {
            str(rate): {p: middle([load.get(str(rate), {}).get(p) for load in loads]) for p in ("p50", "p99")}
            for rate in RATES
        },
        "short_s": middle(short),
        "recovery": recovery,
    }


def table(name: Table, systems: Sequence[System], figures: Mapping[str, Mapping[str, Any]], sizes: Sizes) -> RichTable:
    """The systems with one type of settings, ordered by their drains."""
    made = RichTable(title=f"{name} settings", title_justify="left")
    made.add_column("system")
    made.add_column("(a) jobs/s", justify="right")
    for rate in RATES:
        made.add_column(f"(b) {rate}/s: p50, p99 ms", justify="right")
    made.add_column("(c) s", justify="right")
    made.add_column("(d) s", justify="right")
    shown = [system for system in systems if system.key in figures]
    for system in sorted(shown, key=lambda system: -(figures[system.key]["jobs_per_s"] or 0)):
        found = figures[system.key]
        made.add_row(
            system.label,
            _number(found["jobs_per_s"], ",.0f"),
            *(_pair(found["latency_ms"][str(rate)]) for rate in RATES),
            _number(found["short_s"], ".1f"),
            _recovery(found["recovery"], sizes),
        )
    return made


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _pair(found: Mapping[str, float | None]) -> str:
    return f"{_number(found['p50'], ',.1f')}, {_number(found['p99'], ',.1f')}"


def _recovery(found: Mapping[str, Any] | None, sizes: Sizes) -> str:
    if found is None:
        return "-"
    if found["undone"]:
        return f">{sizes.recover_within_s:.0f}, {found['undone']} undone"
    return f"{found['recovered_s']:.1f}"
