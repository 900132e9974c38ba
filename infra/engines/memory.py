"""Whether an engine failed for lack of memory: libraries say so by classes and sentences of their own."""

from typing import Final

from schemas.errors import EngineTrouble

_SAID: Final = ("out of memory", "can't allocate memory", "std::bad_alloc")


def out_of_memory(model: str, error: BaseException) -> EngineTrouble | None:
    """What the job is told, `engine_out_of_memory`; None for an error of another cause.

    Tried again, and each attempt counts: other requests may have taken the memory, or this one needs too much.
    """
    cause: BaseException | None = error
    while cause is not None:
        named = isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError"
        if named or any(said in str(cause) for said in _SAID):
            return EngineTrouble(
                f"the engine of {model} ran out of memory ({cause}): send a shorter prompt, or give the engine more"
                " memory",
                code="engine_out_of_memory",
            )
        cause = cause.__cause__
    return None
