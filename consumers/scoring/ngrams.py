"""chrF and BLEU of one answer against its references, in 0..1, by sacrebleu, the reference implementation of both."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF


def chrf(answer: str, references: Sequence[str]) -> float:
    """chrF2 (Popović 2015): F-score of character 1- to 6-grams with recall weighed twice; white space does not count.

    It needs no tokens, so it is the figure to trust where a text is not analysed well.
    """
    return float(_chrf().sentence_score(answer, list(references)).score) / 100


def bleu(answer: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Sentence BLEU (Papineni et al. 2002) of tokens, exponentially smoothed, over the n-grams that the answer has.

    Korean has to be cut into morphemes first, or every particle makes a new word (Post 2018, section 3).
    """
    return float(_bleu().sentence_score(" ".join(answer), [" ".join(one) for one in references]).score) / 100


@lru_cache(maxsize=1)
def _chrf() -> "CHRF":
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


@lru_cache(maxsize=1)
def _bleu() -> "BLEU":
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize="none", effective_order=True, force=True)
