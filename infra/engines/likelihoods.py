"""A text and what comes before it as the tokens that a model in this process reads, to score the text.

Context and text are cut apart as lm-evaluation-harness does it (`TemplateLM._encode_pair`, `get_rolling_token_windows`
of version 0.4), so that figures can be compared: no tokens are added in front, unless nothing else stands there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.errors import EngineRefused
from schemas.text import Likelihood

WINDOW: Final = 2_048
"""Tokens that are read at once of a text without a context, whatever the model could read."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """One pass of the model: of these tokens the last `scored` count. `cut`: earlier ones were left out."""

    ids: list[int]
    scored: int
    cut: bool = False


def scorings(tokenizer: Any, context: str, continuation: str, *, length: int) -> list[Scoring]:
    """The passes that score a continuation, for a model that reads `length` tokens. Blocking.

    Raises `EngineRefused` for a continuation that is longer than that, or that has no tokens.
    """
    if not context:
        ids = _encoded(tokenizer, continuation)
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if not ids or (first is None and len(ids) == 1):
            raise EngineRefused("a text without tokens cannot be scored", code="text_empty")
        return list(_windows(ids, first, min(length - 1, WINDOW)))
    # A blank at the end belongs to the word after it: tokenizers join the two.
    bare = context.rstrip()
    if bare:
        continuation, context = context[len(bare) :] + continuation, bare
    whole, before = _encoded(tokenizer, context + continuation), _encoded(tokenizer, context)
    scored = len(whole) - len(before)
    if scored < 1:
        raise EngineRefused("a text without tokens of its own after its context cannot be scored", code="text_empty")
    most = length - 1  # vLLM writes a token beside
    if scored >= most:
        raise EngineRefused(
            f"the text has {scored} tokens, and the model reads {length} at once", code="prompt_too_long"
        )
    return [Scoring(whole[-most:], scored, len(whole) > most)]


def scored(model: Any, asked: Sequence[Sequence[Scoring]], left: Callable[[], bool]) -> Iterator[list[Likelihood]]:
    """What a causal model of transformers says of the passes of each text, until `left` says that nobody waits.

    Choices of which only the last token differs share a pass. Blocking.
    """
    import torch

    read: tuple[int, ...] = ()
    scores = torch.empty(0)
    for parts in asked:
        told = []
        for part in parts:
            if left():
                return
            given = tuple(part.ids[:-1])
            if given != read or len(scores) < part.scored:
                read = given
                with torch.inference_mode():
                    ids = torch.tensor([given], device=model.device)
                    scores = model(input_ids=ids, logits_to_keep=part.scored).logits[0].float().log_softmax(-1)
            own = scores[len(scores) - part.scored :]
            aims = torch.tensor(part.ids[-part.scored :], device=own.device)
            greedy = bool((own.argmax(-1) == aims).all().item())
            logprob = float(own.gather(1, aims[:, None]).sum().item())
            told.append(Likelihood(logprob, greedy, part.scored, part.cut))
        yield told


def added(parts: Sequence[Likelihood]) -> Likelihood:
    """The likelihood of a text of several parts."""
    return Likelihood(
        sum(part.logprob for part in parts),
        all(part.greedy for part in parts),
        sum(part.tokens for part in parts),
        any(part.cut for part in parts),
    )


def _windows(ids: list[int], first: int | None, size: int) -> Iterator[Scoring]:
    """Each token is scored once, after the tokens before it in its window; the last window begins earlier, to be full.

    `first` stands before the first token; None: that one cannot be scored.
    """
    step = size - 1
    for begin in range(0, len(ids), step):
        end = min(begin + step, len(ids))
        start = max(0, end - step)
        if start:
            yield Scoring(ids[start - 1 : end], end - begin)
        elif first is not None:
            yield Scoring([first, *ids[:end]], end - begin)
        else:
            yield Scoring(ids[:end], end - begin - (begin == 0))


def _encoded(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
