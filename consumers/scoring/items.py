"""The scores of one answer: each metric that applies to its item, or None where the answer is missing."""

import string
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from consumers.ranking.metrics import Places, Values, documents, ndcg, precision, recall, reciprocal_rank, success
from consumers.scoring.given import Given, applies, compared
from consumers.scoring.ngrams import bleu, chrf
from consumers.scoring.texts import best, characters, contains, exact_match, f1, rouge_l
from schemas.kinds.evaluation.items import Item
from schemas.kinds.evaluation.metrics import Needs, at_k, metric
from schemas.morphemes import Morpheme

Cut = Callable[[str], Sequence[Morpheme] | None]
"""The morphemes of a text; None for one that could not be analysed."""

_PUNCTUATION: Final = str.maketrans(dict.fromkeys(string.punctuation))
_SYMBOLS: Final = frozenset({"SF", "SP", "SS", "SSO", "SSC", "SE", "SO", "SW", "SB", "UN"})
_GRAMMAR: Final = ("J", "E", "VCP")
"""Particles, endings and the copula: what SQuAD's script does with articles is done with them."""


def scores(names: Sequence[str], item: Item, given: Given, cut: Cut) -> dict[str, float | None]:
    """A value in 0..1 for each metric that applies.

    None where the answer is missing or cannot be analysed, and where a model is to give the score.
    """
    wanted = [name for name in names if applies(name, item)]
    found: dict[str, float | None] = {}
    ranked: Places | None = None
    for name in wanted:
        if name == "succeeded":
            found[name] = float(given.succeeded)
        elif not given.succeeded or metric(name).by_model:
            found[name] = None
        elif name == "answered":
            found[name] = float(given.found)
        elif name == "not_found":
            found[name] = float(not given.found)
        elif metric(name).needs is Needs.RELEVANT:
            ranked = ranked or Places.of([documents(given.documents)], [item.relevant])
            found[name] = float(_ranking(name)(ranked)[0])
        elif metric(name).morphemes:
            found[name] = _by_morphemes(name, compared(given), item.references, cut)
        else:
            found[name] = _PLAIN[name](compared(given), item.references)
    return found


def _ranking(name: str) -> Callable[[Places], Values]:
    found = at_k(name)
    return reciprocal_rank if found is None else partial(_AT_K[found[0]], k=found[1])


def _by_morphemes(name: str, answer: str, references: Sequence[str], cut: Cut) -> float | None:
    ours = cut(answer) if answer else []
    theirs = [cut(reference) for reference in references]
    if ours is None or any(one is None for one in theirs):
        return None
    known = [one for one in theirs if one is not None]
    if name == "bleu":
        return bleu(*_forms(ours, known, lambda _: True)) if ours else 0.0
    if name == "rouge_l":
        tokens, wanted = _forms(ours, known, _is_no_symbol)
        return max(rouge_l(tokens, one) for one in wanted)
    tokens, wanted = _forms(ours, known, _has_meaning)
    return max(f1(tokens, one) for one in wanted)


def _forms(
    ours: Sequence[Morpheme], theirs: Sequence[Sequence[Morpheme]], keep: Callable[[Morpheme], bool]
) -> tuple[list[str], list[list[str]]]:
    def tokens(morphemes: Sequence[Morpheme]) -> list[str]:
        return [form for one in morphemes if keep(one) and (form := _form(one))]

    return tokens(ours), [tokens(one) for one in theirs]


def _form(morpheme: Morpheme) -> str:
    """The form in lower case; `1,947` and `1947` are one number. Symbols stay as they are."""
    form = "".join(morpheme.form.lower().split())
    return form if morpheme.tag in _SYMBOLS else form.translate(_PUNCTUATION)


def _is_no_symbol(morpheme: Morpheme) -> bool:
    return morpheme.tag not in _SYMBOLS


def _has_meaning(morpheme: Morpheme) -> bool:
    return _is_no_symbol(morpheme) and not morpheme.tag.startswith(_GRAMMAR)


def _chars(answer: str, reference: str) -> float:
    return f1(characters(answer), characters(reference))


_AT_K: Final[Mapping[str, Callable[..., Values]]] = {
    "recall": recall,
    "precision": precision,
    "hit": success,
    "ndcg": ndcg,
}
_PLAIN: Final[Mapping[str, Callable[[str, Sequence[str]], float]]] = {
    "exact_match": lambda answer, references: best(exact_match, answer, references),
    "contains": lambda answer, references: best(contains, answer, references),
    "f1_char": lambda answer, references: best(_chars, answer, references),
    "chrf": chrf,
}
