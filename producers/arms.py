"""Whether a model on trial is worse than the champion: their jobs are two unpaired samples, looked at repeatedly.

Failures: Fisher's exact test (1935), one-sided. Durations: Mann and Whitney (1947), by the normal approximation with
corrections for ties and continuity. The n-th look spends 6/(pi n)^2 of alpha, so that all looks together spend alpha.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

ALPHA: Final = 0.05
"""How likely a canary that is as good as the champion is rolled back, however long it is on trial."""
SLOWER: Final = 1.5
"""A median that is longer by less than this factor is no reason to roll back, however certain it is."""
FIRST_LOOK: Final = 20
"""Jobs of the canary that have ended at the first look; the next one comes after half as many more."""

Ended = tuple[bool, float | None]
"""A job that ended: whether it failed, and how many seconds it ran; None if no worker ever took it."""


@dataclass(frozen=True, slots=True)
class Arm:
    """The jobs of one model that ended. `median_s`: of those that succeeded."""

    jobs: int
    failed: int
    median_s: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    """Two arms at one look. `p_failed`, `p_slower`: how likely this is of two equal models; `level`: below which of
    the two the canary counts as worse. `worse`: why it does, None if it does not.
    """

    look: int
    canary: Arm
    champion: Arm
    p_failed: float
    p_slower: float
    level: float
    worse: str | None


def due(looks: int) -> int:
    """How many jobs of the canary must have ended for the look after so many."""
    return math.ceil(FIRST_LOOK * 1.5**looks)


def compare(canary: Sequence[Ended], champion: Sequence[Ended], *, look: int) -> Compared:
    """Compare the arms. `look` counts from 1."""
    ours, theirs = _arm(canary), _arm(champion)
    p_failed = fisher(ours.failed, ours.jobs, theirs.failed, theirs.jobs)
    p_slower = mann_whitney(_durations(canary), _durations(champion))
    level = ALPHA * 6 / (math.pi * look) ** 2 / 2  # two tests
    worse = None
    if p_failed < level:
        worse = f"{ours.failed} of {ours.jobs} jobs failed, beside {theirs.failed} of {theirs.jobs}"
    elif p_slower < level and ours.median_s and theirs.median_s and ours.median_s > SLOWER * theirs.median_s:
        worse = f"half of the jobs took over {ours.median_s:.3g} s, beside {theirs.median_s:.3g} s"
    return Compared(look, ours, theirs, p_failed, p_slower, level, worse)


def fisher(failed: int, jobs: int, failed_there: int, jobs_there: int) -> float:
    """How likely at least so many of all failures fall on these jobs by chance."""
    failures, every = failed + failed_there, jobs + jobs_there
    ways = _log_choose(every, jobs)
    found = sum(
        math.exp(_log_choose(failures, n) + _log_choose(every - failures, jobs - n) - ways)
        for n in range(max(failed, jobs - (every - failures)), min(failures, jobs) + 1)
    )
    return min(1.0, found)


def mann_whitney(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How likely these values are so much larger by chance."""
    here, there, every = len(ours), len(theirs), len(ours) + len(theirs)
    if not here or not there:
        return 1.0
    both = sorted([(value, True) for value in ours] + [(value, False) for value in theirs])
    ranks = ties = 0.0
    at = 0
    while at < every:
        end = at
        while end < every and both[end][0] == both[at][0]:
            end += 1
        equal = end - at
        ranks += sum(mine for _, mine in both[at:end]) * (at + 1 + end) / 2
        ties += equal**3 - equal
        at = end
    larger = ranks - here * (here + 1) / 2
    variance = here * there / 12 * (every + 1 - ties / (every * (every - 1)))
    if variance <= 0:
        return 1.0
    z = (larger - here * there / 2 - 0.5) / math.sqrt(variance)
    return 0.5 * math.erfc(z / math.sqrt(2))


def _arm(jobs: Sequence[Ended]) -> Arm:
    seconds = _durations(jobs)
    return Arm(len(jobs), sum(failed for failed, _ in jobs), median(seconds) if seconds else None)


def _durations(jobs: Sequence[Ended]) -> list[float]:
    return [seconds for failed, seconds in jobs if not failed and seconds is not None]


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
