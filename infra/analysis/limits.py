"""The limits of every process that runs Kiwi, and the module that its fork server loads."""

from typing import Final

from infra.isolation.limits import Limits
from infra.settings import AnalysisSettings

MODULE: Final = "infra.analysis.service"
ANSWER_BYTES: Final = 64 * 1024**2
REQUESTS: Final = 20_000
WALL: Final = 3
"""The wall-clock limit as a multiple of the processor-time limit, because other work shares the machine."""


def analysis_limits(settings: AnalysisSettings) -> Limits:
    """The limits of every process that runs Kiwi."""
    seconds = settings.timeout.total_seconds()
    return Limits(settings.memory_bytes, cpu=seconds, wall=WALL * seconds, answer=ANSWER_BYTES, requests=REQUESTS)
