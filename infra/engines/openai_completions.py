"""OpenAI's older call `/completions`, for what chats cannot do: continue a text as it is, and tell how likely one is.

Servers of open models have it (vLLM, SGLang, llama.cpp). That they echo a prompt with its log probabilities, few of
them do: vLLM does, as lm-evaluation-harness asks it to (`local-completions`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from infra.engines.endpoint import Endpoint, address, unreadable
from schemas.errors import EngineRefused
from schemas.retrieval import Usage
from schemas.text import Completion, Likelihood, TextOptions


class OpenAICompletions:
    """The call of one model; `model` is its name on the server."""

    def __init__(
        self, base_url: str, model: str, api_key: str | None, timeout: float, *, headers: Mapping[str, str] | None
    ) -> None:
        self._model = model
        self._endpoint = Endpoint(_address(base_url), api_key, timeout, headers=headers)

    async def complete(self, text: str, options: TextOptions, *, name: str) -> Completion:
        """The text's continuation, by the model that results call `name`. Raises what `Endpoint.post` raises."""
        sampling = {"temperature": options.temperature, "top_p": options.top_p, "seed": options.seed}
        body = {
            **self._body(text, options),
            "max_tokens": options.max_tokens,
            "stop": list(options.stop) or None,
            **sampling,
        }
        reply = await self._endpoint.post({key: value for key, value in body.items() if value is not None})
        match reply:
            case {"choices": [{"text": str(written), "finish_reason": reason}, *_]}:
                known = reason if reason in ("stop", "length") else None
                return Completion(written, known, name, _usage(reply))
        raise unreadable("completions")

    async def likelihoods(self, context: str, continuations: Sequence[str], options: TextOptions) -> list[Likelihood]:
        """How likely each continuation is. What was before it is counted by a call of its own.

        Raises `EngineRefused` (`likelihoods_unsupported`) where the server does not echo log probabilities.
        """
        bare = context.rstrip()
        blank, context = (context[len(bare) :], bare) if bare else ("", context)
        before = 0
        if context:
            before = _usage(await self._endpoint.post(self._body(context, options) | {"max_tokens": 1})).prompt_tokens
        texts = [f"{context}{blank}{one}" for one in continuations]
        return list(await asyncio.gather(*(self._likelihood(text, before, options) for text in texts)))

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    async def _likelihood(self, text: str, before: int, options: TextOptions) -> Likelihood:
        asked = {"max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        reply = await self._endpoint.post(self._body(text, options) | asked)
        match reply:
            case {
                "choices": [{"logprobs": {"token_logprobs": list(told), "top_logprobs": list(best)}}, *_],
                "usage": {"prompt_tokens": int(whole)},
            } if len(told) >= whole and len(best) >= whole:
                # The first token of all has nothing before it, and no probability.
                pairs = [(one, top) for one, top in zip(told[before:whole], best[before:whole], strict=True) if top]
                if not pairs:
                    raise EngineRefused("a text without tokens of its own cannot be scored", code="text_empty")
                greedy = all(one >= max(top.values()) for one, top in pairs)
                return Likelihood(sum(one for one, _ in pairs), greedy, len(pairs))
        raise EngineRefused(
            f"the server of {self._model} does not tell how likely the text is that it is given: its call `completions`"
            " must take `echo` with `logprobs`, as that of `vllm serve` does",
            code="likelihoods_unsupported",
        )

    def _body(self, text: str, options: TextOptions) -> dict[str, Any]:
        return {"model": options.adapter or self._model, "prompt": text}


def _address(base_url: str) -> str:
    """Beside the call for chats, whose whole address may be given."""
    parts = urlsplit(address(base_url, "chat/completions"))
    return parts._replace(path=parts.path.removesuffix("/chat/completions") + "/completions").geturl()


def _usage(reply: Any) -> Usage:
    match reply:
        case {"usage": {"prompt_tokens": int(prompt), **rest}}:
            written = rest.get("completion_tokens")
            return Usage(prompt, written if isinstance(written, int) else 0)
    raise EngineRefused("the server does not count the tokens of its calls", code="likelihoods_unsupported")
