"""Which item of a batch a model cannot take: one that fails is found and named, and the others are done."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from schemas.errors import (
    Conflict,
    DependencyUnavailable,
    EngineClosed,
    EngineFailed,
    EngineRefused,
    EngineReplyBroken,
    EngineTrouble,
)

T = TypeVar("T")
R = TypeVar("R")

Run = Callable[[Sequence[T]], Awaitable[Sequence[R]]]


def blames_an_item(error: Exception) -> bool:
    """Whether other items might have passed: not in an outage, nor when the engine is configured wrongly."""
    if isinstance(error, EngineFailed | EngineReplyBroken):
        return True
    return not isinstance(error, DependencyUnavailable | EngineClosed | EngineTrouble | Conflict)


async def each(run: Run[T, R], items: Sequence[T], *, probe: T | None = None) -> list[R | Exception]:
    """What `run` makes of each item, in their order; an item that it cannot take has its error in place.

    A batch that fails is halved until the item at fault is alone. An error that blames no item goes to all that are
    left. An engine that breaks down over a batch may be down as a whole: an item is blamed only when the engine takes
    another part of the batch, or `probe`, an item that anyone can take.
    """
    found: list[R | Exception] = [_left_out() for _ in items]
    waiting = deque([range(len(items))] if items else [])
    proven = False
    while waiting:
        span = waiting.popleft()
        try:
            made = list(zip(span, await run([items[at] for at in span]), strict=True))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to these items
            doubtful = isinstance(error, EngineFailed | EngineReplyBroken)
            proven = proven or (doubtful and await _takes(run, probe))
            if not blames_an_item(error) or (doubtful and not proven):
                whole = _of_all(error)
                for left in (span, *waiting):
                    for at in left:
                        found[at] = whole
                break
            if len(span) == 1:
                found[span[0]] = EngineRefused(error.message) if isinstance(error, EngineFailed) else error
            else:
                half = len(span) // 2
                waiting += [span[:half], span[half:]]
        else:
            proven = True
            for at, answer in made:
                found[at] = answer
    return found


async def _takes(run: Run[T, R], probe: T | None) -> bool:
    if probe is None:
        return False
    try:
        await run([probe])
    except Exception:  # noqa: BLE001 - that it fails is the answer
        return False
    return True


def _of_all(error: Exception) -> Exception:
    """The error as one that blames no item."""
    match error:
        case EngineFailed():
            return DependencyUnavailable(error.message)
        case EngineReplyBroken():
            return EngineTrouble(error.message, code=error.reason)
    return error


def _left_out() -> Exception:
    return LookupError("the item was not run")
