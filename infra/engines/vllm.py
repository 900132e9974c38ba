"""A `TextModel` by vLLM in this process: many requests share each pass of the model (continuous batching).

https://docs.vllm.ai/en/stable/. The engine's core is a process of its own, which ends with this one.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, Final

import structlog

from infra.engines.adapters import checked
from infra.engines.chats import tokens
from infra.engines.likelihoods import Scoring, added, scorings
from infra.engines.load import EngineLoad, measured
from infra.engines.orphans import ended_with_us
from infra.engines.seats import Seats, ready
from infra.engines.thoughts import Spoken
from infra.engines.vllm_failures import failures
from infra.engines.warming import warming
from schemas.errors import (
    DependencyMissing,
    DependencyUnavailable,
    EngineDied,
    EngineRefused,
    InvalidInput,
)
from schemas.models import MAX_RANK
from schemas.retrieval import FinishReason, Usage
from schemas.text import Completion, Likelihood, Message, TextDelta, TextOptions
from schemas.topics import Lane

log = structlog.get_logger(__name__)

CACHE_FULL: Final = 0.95
"""From this share of the key-value cache on, what is added may interrupt what runs, which begins again then."""

RESERVED: Final = 32
"""One sequence of so many is kept for interactive requests, unless the models file says how many."""

PIECE_S: Final = 0.025
"""From a piece of a text to the next, at least: what a quick model writes meanwhile is one piece. Whoever passes pieces
on does so every 50 ms."""

LOOKS_EVERY_S: Final = 0.5
ENDS_WITHIN_S: Final = 10.0

_FINISH: Final[Mapping[str, FinishReason]] = {"stop": "stop", "length": "length"}

_ENVIRONMENT: Final[Mapping[str, str]] = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    # A fork would take over this process's threads and connections.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
"""Unless the operator sets them."""


class VllmTextModel:
    """Any model that vLLM serves and that has a chat template. `weights`: a folder, or a name on a hub.

    `options` are vLLM's engine arguments (https://docs.vllm.ai/en/stable/configuration/engine_args/), such as
    `tensor_parallel_size`, `gpu_memory_utilization`, `enable_lora`; `scheduling_policy` is `priority` unless they say
    otherwise. Bulk requests share as many sequences as `max_num_seqs` says, and `reserved` more are for interactive
    ones alone; where the options do not say, and where `at_once` allows fewer texts at a time, bulk has so many less.
    The engine starts with `warm`.
    """

    def __init__(
        self,
        name: str,
        weights: str,
        *,
        revision: str | None = None,
        context_length: int | None = None,
        options: Mapping[str, Any] | None = None,
        at_once: int | None = None,
        reserved: int | None = None,
    ) -> None:
        self._name = name
        self._weights = weights
        given = {"revision": revision, "tokenizer_revision": revision, "max_model_len": context_length}
        self._arguments: dict[str, Any] = {
            "scheduling_policy": "priority",
            # vLLM's own metrics look at each token in this process.
            "disable_log_stats": True,
            **(options or {}),
            **{name: value for name, value in given.items() if value is not None},
        }
        self._at_once = at_once
        self._reserved = reserved
        asked = self._arguments.get("max_num_seqs")
        self._asked = asked if isinstance(asked, int) else None  # vLLM says what is wrong with anything else
        if self._asked is not None:
            self._arguments["max_num_seqs"] = self._asked + self._reserved_of(self._asked)
        self._engine: Any = None
        self._tokenizer: Any = None
        # Templates and tokenizers take their time for a long prompt, and the loop must not wait for them.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"prompts-{name}")
        self._numbers = count(1)
        self._load = EngineLoad()
        self._seats = Seats(1, 0)
        self._queue = 0
        self._ranks: Callable[[Lane, float], int] = _unranked
        self._adapters: dict[str, int] = {}
        self._adapter_numbers = count(1)
        self._adding = asyncio.Lock()
        self._exits = contextlib.ExitStack()

    @property
    def name(self) -> str:
        """What the result names as `model`."""
        return self._name

    @property
    def load(self) -> EngineLoad:
        """How busy the engine was after its last step."""
        return self._load

    def room(self, lane: Lane) -> int:
        """How many jobs of a lane the worker should hold now, those it holds included. After `warm`."""
        return self._seats.room(lane)

    @property
    def context_length(self) -> int:
        """Tokens of prompt and reply together."""
        return int(self._engine.model_config.max_model_len)

    async def lengths(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, without those of a template."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: [len(self._tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        )

    async def warm(self) -> None:
        """Load the weights and write a first token, so that nobody else waits for them. Blocks the loop.

        Raises `DependencyMissing` without vLLM, `DependencyUnavailable` when the engine cannot start.
        """
        with warming(self._name, "vllm") as told:
            told.waits_for("engine")
            for name, value in _ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            try:
                from vllm.engine.arg_utils import AsyncEngineArgs
                from vllm.platforms import current_platform
                from vllm.usage.usage_lib import UsageContext
                from vllm.v1.engine.async_llm import AsyncLLM
            except ImportError as error:
                raise DependencyMissing(
                    f"the engine vllm needs the package vllm, in an environment of its own ({error}): see"
                    " docs/engines.md"
                ) from error
            self._exits.enter_context(ended_with_us())
            told.waits_for("weights")
            if current_platform.is_cpu():
                # A seeded request whose prompt is read in parts ends vLLM's core there: "CPU Generator does not use
                # offset", seen with 0.32.
                self._arguments.setdefault("enable_chunked_prefill", False)
            try:
                arguments = AsyncEngineArgs(model=self._weights, served_model_name=self._name, **self._arguments)
                config = arguments.create_engine_config(UsageContext.ENGINE_CONTEXT)
                self._share_out(config)
                self._engine = AsyncLLM.from_vllm_config(
                    config, stat_loggers=[self._counters], disable_log_stats=arguments.disable_log_stats
                )
                self._tokenizer = self._engine.get_tokenizer()
            except Exception as error:  # arguments, weights and devices fail in their own ways
                await self.close()
                raise DependencyUnavailable(f"vLLM could not start {self._weights!r}: {error}") from error
            if not self._tokenizer.chat_template:
                await self.close()
                raise DependencyUnavailable(f"{self._weights!r} has no chat template, so it cannot hold a conversation")
            measured(self._name, lambda: self._load, lambda: self._seats.waiting)
            told.waits_for("first_token")
            await self.complete([Message("user", "1")], TextOptions(max_tokens=1, temperature=0.0))

    async def watch(self) -> None:
        """Until the engine dies. Raises `EngineDied`: this process cannot start another one."""
        while not self._engine.errored:  # noqa: ASYNC110 - vLLM tells nobody
            await asyncio.sleep(LOOKS_EVERY_S)
        log.error("engine.died", model=self._name)
        raise EngineDied(f"the engine of {self._name} died; see its log for the reason")

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        """The whole text at once. Cancelling it stops the engine. Raises as `stream` does."""
        async with contextlib.aclosing(self._written(messages, options, pieces=False)) as items:
            async for item in items:
                if isinstance(item, Completion):
                    return item
        raise AssertionError("a stream ends with its completion")

    def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        """The text while it is written, then the completion. Closing it aborts the request in the engine.

        Raises `EngineRefused` for what the engine does not take (`prompt_too_long`, or its own words), `InvalidInput`
        (`adapter_refused`), `EngineFailed` if this request failed, `EngineTrouble` (`engine_out_of_memory`) if for lack
        of memory, and `EngineDied` if the engine did.
        """
        return self._written(messages, options, pieces=True)

    async def likelihoods(self, context: str, continuations: Sequence[str], options: TextOptions) -> list[Likelihood]:
        """How likely each continuation is, all of them at once. Raises as `stream` does, but for prompts too long."""
        if self._arguments.get("enable_lora"):
            # vLLM 0.32 would end: its layers for adapters take the tokens of a prompt for those that are to be sampled.
            why = f"{self._name} tells no likelihoods, because it serves adapters: give it a row without enable_lora"
            raise EngineRefused(why, code="likelihoods_unsupported")
        length = self.context_length
        parts = await asyncio.get_running_loop().run_in_executor(
            self._thread,
            lambda: [scorings(self._tokenizer, context, one, length=length) for one in continuations],
        )
        asked = [[asyncio.ensure_future(self._likelihood(part, options)) for part in one] for one in parts]
        every = [task for tasks in asked for task in tasks]
        try:
            await asyncio.gather(*every)
        finally:
            for task in every:
                task.cancel()
        return [added([task.result() for task in tasks]) for tasks in asked]

    async def _likelihood(self, part: Scoring, options: TextOptions) -> Likelihood:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        # vLLM tells of what it is given only when it also writes; 0: of the given tokens alone.
        sampling = SamplingParams(
            max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        told: list[Any] = []
        async with self._seats.seat(options.lane) as due:
            with failures(self._name):
                outputs = self._engine.generate(
                    {"prompt_token_ids": part.ids},
                    sampling,
                    f"{self._name}-{next(self._numbers)}",
                    priority=self._ranks(options.lane, due),
                )
                async with contextlib.aclosing(outputs):
                    async for output in outputs:
                        told = output.prompt_logprobs
        scored = zip(told[-part.scored :], part.ids[-part.scored :], strict=True)
        chosen = [of_position[token] for of_position, token in scored]
        return Likelihood(
            sum(one.logprob for one in chosen), all(one.rank == 1 for one in chosen), part.scored, part.cut
        )

    async def _written(
        self, messages: Sequence[Message], options: TextOptions, *, pieces: bool
    ) -> AsyncGenerator[TextDelta | Completion]:
        """`pieces`: in pieces; else vLLM collects the text, and wakes the task once for all of it."""
        length = self.context_length
        prompt = await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: tokens(self._tokenizer, messages, options, model=self._name, context_length=length)
        )
        with failures(self._name):
            sampling = self._sampling(options, length - len(prompt), pieces=pieces)
        spoken, written, reason = Spoken(), 0, None
        async with self._seats.seat(options.lane) as due:
            with failures(self._name):
                outputs = self._engine.generate(
                    {"prompt_token_ids": prompt},
                    sampling,
                    f"{self._name}-{next(self._numbers)}",
                    priority=self._ranks(options.lane, due),
                    lora_request=await self._adapter(options.adapter),
                )
                async with contextlib.aclosing(outputs):
                    async for output in outputs:
                        piece = output.outputs[0]
                        written += len(piece.token_ids)
                        reason = piece.finish_reason or reason
                        if shown := spoken.feed(piece.text):
                            yield TextDelta(shown)
                        if not output.finished:
                            await asyncio.sleep(PIECE_S)
        if rest := spoken.end():
            yield TextDelta(rest)
        yield Completion(spoken.text, _FINISH.get(reason or ""), self._name, Usage(len(prompt), written))

    async def close(self) -> None:
        """Abort what is being written and end the engine."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await asyncio.to_thread(engine.shutdown, timeout=ENDS_WITHIN_S)
        self._exits.close()

    def _share_out(self, config: Any) -> None:
        """Decide which sequences are whose, and let vLLM keep to it: its own scheduler would give bulk all of them."""
        most = int(config.scheduler_config.max_num_seqs)
        total = min(most, self._at_once or most)
        reserved = self._reserved_of(min(self._asked or total, total))
        if config.scheduler_config.policy == "priority":
            from infra.engines import vllm_lanes

            self._ranks = vllm_lanes.priority
            if config.scheduler_config.scheduler_cls is None:
                quiet = bool(self._arguments["disable_log_stats"])
                shares = {"total": total, "bulk": max(1, total - reserved), "groups": quiet}
                config.additional_config = {**config.additional_config, vllm_lanes.SETTING: shares}
                config.scheduler_config.scheduler_cls = vllm_lanes.scheduler_of(config)
                self._queue = (ready(total) + 1) // 2
        self._seats = Seats(total, reserved, self._full, queue=self._queue)

    def _reserved_of(self, total: int) -> int:
        return max(1, total // RESERVED) if self._reserved is None else self._reserved

    def _full(self) -> bool:
        return self._load.waiting > self._queue or self._load.cache_used >= CACHE_FULL

    def _sampling(self, options: TextOptions, room: int, *, pieces: bool) -> Any:
        from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

        given = {"temperature": options.temperature, "top_p": options.top_p, "seed": options.seed}
        kept: Any = None
        if options.schema is not None:
            kept = StructuredOutputsParams(json=dict(options.schema))
        elif options.json_object:
            kept = StructuredOutputsParams(json_object=True)
        return SamplingParams(
            max_tokens=min(options.max_tokens, room),
            stop=list(options.stop) or None,
            structured_outputs=kept,
            output_kind=RequestOutputKind.DELTA if pieces else RequestOutputKind.FINAL_ONLY,
            **{name: value for name, value in given.items() if value is not None},
        )

    async def _adapter(self, folder: str | None) -> Any:
        """Load an adapter before a request is sent to it: a failure in the midst of a step would end the engine.

        vLLM itself unloads the one used longest ago, and none in use.
        """
        if folder is None:
            return None
        from vllm.lora.request import LoRARequest

        if not self._arguments.get("enable_lora"):
            raise InvalidInput(
                f"{self._name} serves no adapters: its options lack enable_lora", code="adapter_refused", field="model"
            )
        async with self._adding:  # a second request for it waits until the first has loaded it
            number = self._adapters.get(folder)
            request = LoRARequest(folder, number or next(self._adapter_numbers), folder)
            if number is None:
                most = min(int(self._arguments.get("max_lora_rank", 16)), MAX_RANK)
                await asyncio.to_thread(checked, Path(folder), bases=(self._name, self._weights), max_rank=most)
                try:
                    await self._engine.add_lora(request)
                except Exception as error:  # the core sends whatever its loader raised
                    raise InvalidInput(
                        f"vLLM cannot serve the adapter: {error}", code="adapter_refused", field="model"
                    ) from error
                self._adapters[folder] = request.lora_int_id
        return request

    def _counters(self, *_: object) -> Any:
        """vLLM calls this once, then `record` after each step."""
        from vllm.v1.metrics.loggers import StatLoggerBase

        model = self

        class Counters(StatLoggerBase):  # type: ignore[misc] # the base is not typed
            def __init__(self) -> None:
                """Nothing to prepare."""

            def record(self, scheduler_stats: Any, *_: object, **__: object) -> None:
                """Keep what the scheduler counts."""
                if scheduler_stats is not None:
                    model._load = EngineLoad(
                        scheduler_stats.num_running_reqs,
                        scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs,
                        scheduler_stats.kv_cache_usage,
                    )
                    model._seats.look()

            def log_engine_initialized(self) -> None:
                """`engine.ready` says it."""

        return Counters()


def _unranked(lane: Lane, due_s: float) -> int:
    return 0
