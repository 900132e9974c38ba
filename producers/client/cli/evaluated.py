"""Follows an evaluation with a live line, and prints its figures."""

import sys
import time
from typing import TYPE_CHECKING, Final

from producers.client.cli.output import print_table, progress_bars
from producers.client.cli.terminal import note
from producers.client.errors import JobFailed, WaitTimeout

if TYPE_CHECKING:
    from producers.client.evaluations import Evaluation
    from producers.client.models import Job
    from producers.client.sync import Client
    from schemas.kinds.evaluation.result import Compared, Figures

GATE_FAILED: Final = 4
"""The exit code of a run that ended well and did not pass a gate."""

LOOKS_EVERY_S: Final = 5.0
"""How often the server is asked what is in the way: an engine that is away is waited for, up to an hour."""


def follow(client: "Client", job: "Job", *, quiet: bool) -> None:
    """Wait for the end, with a line on stderr: how many are answered, how fast, how long it still takes, what fails.

    Raises `JobFailed`.
    """
    with progress_bars(quiet=quiet) as bars:
        task = bars.add_task("reading the dataset", total=1.0)
        line = Line()

        def show(seen: "Job") -> None:
            bars.update(task, completed=min(seen.fraction, 0.99), description=line.of(seen, time.monotonic()))

        while True:
            try:
                ended = client.wait(job.id, timeout=LOOKS_EVERY_S, on_change=show)
                break
            except WaitTimeout as still:
                before, line.obstacle = line.obstacle, obstacle(client, still.job)
                if line.obstacle not in (None, before) and not quiet and not sys.stderr.isatty():
                    note(f"welip: trying again: {line.obstacle}")  # without a terminal there is no line
                show(still.job)
    if ended.state != "succeeded":
        raise JobFailed(ended)


def obstacle(client: "Client", job: "Job") -> str | None:
    """Why the job, or a child of it, has to be tried again at the moment; None: nothing does."""
    waiting = [job] if job.state == "retry_wait" else []
    if job.children is not None and job.children.retry_wait:
        waiting += client.jobs(parent=job.id, state="retry_wait", limit=1).data
    return next((f"{one.error.message} ({one.error.code})" for one in waiting if one.error is not None), None)


class Line:
    """The live line. `obstacle`: what is in the way."""

    def __init__(self) -> None:
        self.obstacle: str | None = None
        self._rate = Rate()

    def of(self, seen: "Job", now: float) -> str:
        """What the run does. `now`: as `Rate.line` takes it."""
        children = seen.children
        if children and seen.stage == "collect" and children.ended < children.total:
            done = f"judging, slices to go: {children.total - children.ended:,}"
        elif children and children.total and children.ended < children.total:
            done = self._rate.line(children.ended, children.total, now)
        else:
            done = seen.progress.message or str(seen.state)
        failed = f" · {children.failed:,} failed" if children and children.failed else ""
        return done + failed + (f" · trying again: {self.obstacle}" if self.obstacle else "")


class Rate:
    """How fast something is done since it was first looked at: what was done before does not count as speed."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def line(self, done: int, total: int, now: float) -> str:
        """`answered 1,204 of 2,223 · 85/s · 12 s left`. `now`: seconds on any clock that only goes forward."""
        told = f"answered {done:,} of {total:,}"
        if self._first is None or done < self._first[0]:
            self._first = done, now
        before, since = self._first
        if done == before or now <= since:
            return told
        a_second = (done - before) / (now - since)
        return f"{told} · {a_second:,.0f}/s · {_duration((total - done) / a_second)} left"


def print_evaluation(evaluation: "Evaluation") -> None:
    """A table of the metrics by variant, one of each comparison, and one of the gates."""
    metrics = list(dict.fromkeys(name for variant in evaluation.variants for name in variant.metrics))
    rows: list[list[object]] = [
        [name, *(_figures(variant.metrics.get(name)) for variant in evaluation.variants)] for name in metrics
    ]
    if any(variant.latency_ms for variant in evaluation.variants):
        rows.append(
            [
                "latency, ms",
                *(
                    f"{v.latency_ms.p50:,.0f} (p95 {v.latency_ms.p95:,.0f})" if v.latency_ms else ""
                    for v in evaluation.variants
                ),
            ]
        )
    items = evaluation.items
    also = {
        "failed": items.failed - items.not_asked,
        "not asked": items.not_asked,
        "reused": items.reused,
        "asked again": items.asked_again,
    }
    told = "".join(f", {count:,} {what}" for what, count in also.items() if count)
    title = f"{items.total:,} items, {items.answers:,} answers{told}"
    print_table(["metric", *(variant.name for variant in evaluation.variants)], rows, title=title)
    if (judged := evaluation.judged) is not None and judged.judge is not None:
        cost = "" if judged.cost is None else f", cost {judged.cost:,.4f}"
        calls = f"{judged.calls:,} calls, {judged.cached:,} from before, {judged.tokens:,} tokens"
        note(f"judge: {judged.judge}, {calls}{cost}")
    for comparison in evaluation.comparisons:
        print_table(
            ["metric", "difference", "95 %", "p, corrected", "smallest seen", "pairs"],
            [[name, *_compared(told)] for name, told in comparison.metrics.items()],
            title=f"\n{comparison.variant} beside {comparison.baseline}",
        )
    if evaluation.gates:
        print_table(
            ["gate", "variant", "value", "least", ""],
            [
                [
                    gate.metric + (f" beside {gate.against}" if gate.against else ""),
                    gate.variant,
                    "nothing measured" if gate.value is None else f"{gate.value:.4f}",
                    f"{gate.limit:.4f}",
                    "passed" if gate.passed else "NOT PASSED",
                ]
                for gate in evaluation.gates
            ],
            title="\nGates",
        )


def _figures(told: "Figures | None") -> str:
    if told is None:
        return ""
    missing = f", {told.missing:,} missing" if told.missing else ""
    return f"{told.mean:.3f} ({told.ci95[0]:.3f} to {told.ci95[1]:.3f}{missing})"


def _compared(told: "Compared") -> list[str]:
    return [
        f"{told.gain:+.4f}",
        f"{told.ci95[0]:+.4f} to {told.ci95[1]:+.4f}",
        f"{told.p_adjusted:.4f}" + (" *" if told.significant else ""),
        f"{told.detectable:.4f}",
        f"{told.n:,}",
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"
