"""The model as lm-eval sees it: every request goes to the worker, which has the real one."""

import json
from typing import Any, Final

from lm_eval.api.model import LM

from infra.harness.pipe import Cannot, Pipe
from schemas.kinds.benchmark.harness import Asked

CHAT: Final = "welip-chat:"
"""Before a conversation as JSON, which is how lm-eval carries one as a text."""

MOST: Final = 64
"""Continuations in one request."""


class WorkersModel(LM):  # type: ignore[misc]
    """Any model of the deployment, asked for one of the job's tasks."""

    def __init__(self, pipe: Pipe, task: str) -> None:
        super().__init__()
        self._pipe = pipe
        self._task = task

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Of each continuation after its context. Those of one context, as an item's choices, are asked at once."""
        groups: list[tuple[str, list[str]]] = []
        for context, text in (request.args for request in requests):
            if context.startswith(CHAT):
                why = "the task scores texts, which are read without a chat template: leave out `chat`"
                raise Cannot("task_unsupported", why)
            if not groups or groups[-1][0] != context or len(groups[-1][1]) == MOST:
                groups.append((context, []))
            groups[-1][1].append(text)
        asked = [
            Asked(id=at, task=self._task, context=context, continuations=texts)
            for at, (context, texts) in enumerate(groups)
        ]
        return [one for answer in self._pipe.ask(asked) for one in answer.likelihoods]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Of whole texts; the worker's engine reads long ones in windows."""
        asked = [
            Asked(id=at, task=self._task, context="", continuations=[request.args[0]])
            for at, request in enumerate(requests)
        ]
        return [answer.likelihoods[0][0] for answer in self._pipe.ask(asked)]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, up to a stop string."""
        seen: dict[str, int] = {}
        asked = []
        for at, request in enumerate(requests):
            context, how = request.args
            nth = seen[context] = seen.get(context, -1) + 1
            asked.append(self._asked(at, context, how, nth))
        return [answer.text for answer in self._pipe.ask(asked)]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as JSON: the engine has the template."""
        return CHAT + json.dumps(chat_history, ensure_ascii=False)

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The engine's own."""
        return ""

    @property
    def tokenizer_name(self) -> str:
        """The engine's own."""
        return "worker"

    def _asked(self, at: int, context: str, how: dict[str, Any], nth: int) -> Asked:
        until = how.get("until") or []
        chat = context.startswith(CHAT)
        if chat and json.loads(context.removeprefix(CHAT))[-1]["role"] == "assistant":
            why = "the task begins the model's answer itself, which a chat template does not allow: leave out `chat`"
            raise Cannot("task_unsupported", why)
        return Asked(
            id=at,
            task=self._task,
            context=context.removeprefix(CHAT),
            chat=chat,
            stop=[one for one in ([until] if isinstance(until, str) else until) if one],
            max_tokens=int(how.get("max_gen_toks", how.get("max_tokens", 256))),
            temperature=float(how.get("temperature", 0.0)) if how.get("do_sample", False) else 0.0,
            nth=nth,
        )
