"""The limits of every process that runs Kiwi, and the module that its fork server loads."""

from typing import Final

from infra.isolation.limits import WALL, Limits
from infra.settings import AnalysisSettings

MODULE: Final = "infra.analysis.service"
ANSWER_BYTES: Final = 64 * 1024**2
REQUESTS: Final = 20_000


def analysis_limits(settings: AnalysisSettings) -> Limits:
    """The limits of every process that runs Kiwi."""
    seconds = settings.timeout.total_seconds()
    return Limits(settings.memory_bytes, cpu=seconds, wall=WALL * seconds, answer=ANSWER_BYTES, requests=REQUESTS)
