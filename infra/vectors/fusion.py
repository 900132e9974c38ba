"""Joins the answers of the sparse and the dense arm of one query into one ranking."""

from collections.abc import Mapping
from typing import Final

ARM_DEPTH: Final = 50
"""How many of each arm's best take part, at least."""


def fuse(arms: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean over the arms of each one's scores, scaled to 0..1 by its lowest and highest; absent from an arm counts 0.

    Scaling first, because raw BM25 has no upper bound and would outweigh the cosine (Lee 1997, "Analyses of Multiple
    Evidence Combination"). An arm whose scores are all equal gives 1 to each. `arms` is a score by chunk id by arm.
    """
    fused: dict[str, float] = {}
    for scores in arms.values():
        if not scores:
            continue
        low, high = min(scores.values()), max(scores.values())
        for chunk, score in scores.items():
            scaled = (score - low) / (high - low) if high > low else 1.0
            fused[chunk] = fused.get(chunk, 0.0) + scaled / len(arms)
    return fused
