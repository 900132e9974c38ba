"""What every process that has Kiwi may take, and which module its fork server loads."""

from typing import Final

from infra.isolation.limits import Limits
from infra.settings import AnalysisSettings

MODULE: Final = "infra.analysis.service"
ANSWER_BYTES: Final = 64 * 1024**2
REQUESTS: Final = 20_000
WALL: Final = 3
"""Times the processor time that a request may use: so much by the clock, on a machine that others use too."""


def analysis_limits(settings: AnalysisSettings) -> Limits:
    """Those of every process that has Kiwi."""
    seconds = settings.timeout.total_seconds()
    return Limits(settings.memory_bytes, cpu=seconds, wall=WALL * seconds, answer=ANSWER_BYTES, requests=REQUESTS)
