"""In vLLM's own process: the tokens of a text that nobody reads along go to the worker in groups, not one by one."""

from typing import Any, Final

GROUP: Final = 32
"""Tokens. The worker makes text of a whole group at once, and its loop waits meanwhile."""


class Groups:
    """Holds tokens back until there are enough of them, or the text has ended.

    vLLM sends each token by itself, and the worker's process looks at each: with many texts at once that takes more of
    a processor than all else the worker does for them.
    """

    def __init__(self, size: int = GROUP) -> None:
        self._size = size
        self._held: dict[str, list[int]] = {}

    def of(self, output: Any, *, read_along: bool) -> Any | None:
        """The output of one step for one request (vLLM's `EngineCoreOutput`) with all tokens held so far; None: held.

        What tells more than tokens is never held.
        """
        name = output.request_id
        held = self._held.get(name)
        if not read_along and _only_tokens(output):
            if held is None:
                held = self._held[name] = []
            held += output.new_token_ids
            if len(held) < self._size:
                return None
            output.new_token_ids = held
        elif held is not None:
            output.new_token_ids = [*held, *output.new_token_ids]
        if held is not None:
            del self._held[name]
        return output

    def drop(self, name: str) -> None:
        """The request was aborted."""
        self._held.pop(name, None)

    def __len__(self) -> int:
        """Requests of which something is held."""
        return len(self._held)


def _only_tokens(output: Any) -> bool:
    return (
        output.finish_reason is None
        and output.prefill_stats is None
        and output.new_logprobs is None
        and output.events is None
        and output.new_prompt_logprobs_tensors is None
    )
