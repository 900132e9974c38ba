"""A small `TextModel` in this process, by transformers: on a CPU it needs no server; larger ones are vLLM's.

One thread owns the model and writes one text at a time, since all cores take part in each. Interactive requests go
first.
"""

import asyncio
import contextlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import PriorityQueue
from typing import Any, Final

import structlog

from infra.engines.adapters import checked
from infra.engines.chats import tokens
from infra.engines.likelihoods import added, scored, scorings
from infra.engines.load import EngineLoad, measured
from infra.engines.loading import loaded
from infra.engines.memory import out_of_memory
from infra.engines.stops import Stops
from infra.engines.thoughts import Spoken
from infra.engines.warming import warming
from schemas.errors import DependencyUnavailable, EngineFailed, EngineRefused, JobError
from schemas.retrieval import FinishReason, Usage
from schemas.text import Completion, Likelihood, Message, TextDelta, TextOptions
from schemas.topics import Lane

log = structlog.get_logger(__name__)

ADAPTERS: Final = 4
"""Kept loaded; the one that was used longest ago makes room."""

CLOSES_WITHIN_S: Final = 10.0

_RANKS: Final[Mapping[Lane, int]] = {Lane.INTERACTIVE: 0, Lane.BULK: 1}


Item = Completion | list[Likelihood]
"""The last thing that a request gives."""


@dataclass(slots=True, eq=False)
class _Request:
    """What one caller asked for, `work` for the model's thread; its items go to the event loop that it asked from."""

    work: "Callable[[_Writer, _Request], Item]"
    options: TextOptions
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    items: "asyncio.Queue[Item | TextDelta | JobError]" = field(default_factory=asyncio.Queue)
    left: threading.Event = field(default_factory=threading.Event)

    def tell(self, item: Item | TextDelta | JobError) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self.items.put_nowait, item)


class TransformersTextModel:
    """Any causal language model with a chat template. `weights`: a folder, or a name on a hub; `name`: in results.

    `context_length` limits prompt and answer together, below what the model allows. `options` goes to
    `from_pretrained`, for example `{"dtype": "bfloat16"}`. Nothing is loaded before `warm` or the first request.
    """

    def __init__(
        self,
        name: str,
        weights: str,
        *,
        revision: str | None = None,
        context_length: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._name = name
        self._weights = weights
        self._revision = revision
        self._context_length = context_length
        self._options = dict(options or {})
        self._numbers = count()
        self._waiting: PriorityQueue[tuple[int, int, _Request | None]] = PriorityQueue()
        self._running: _Request | None = None
        self._thread: threading.Thread | None = None
        self._writer: _Writer | None = None

    @property
    def name(self) -> str:
        """What the result names as `model`."""
        return self._name

    @property
    def load(self) -> EngineLoad:
        """How busy it is; a request that was left and not yet dropped counts."""
        return EngineLoad(running=int(self._running is not None), waiting=self._waiting.qsize())

    def room(self, lane: Lane) -> int:
        """How many jobs of a lane the worker should hold: the one that is written, and one that is ready."""
        return 2

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and reply together."""
        return self._context_length if self._writer is None else self._writer.context_length

    async def lengths(self, texts: Sequence[str]) -> list[int] | None:
        """The tokens of each text, without those of a template; None before the model is loaded."""
        return None if self._writer is None else await asyncio.to_thread(self._writer.lengths, texts)

    async def warm(self) -> None:
        """Load the weights and write a first token, so that nobody else waits for them.

        Raises `DependencyMissing` without torch and transformers, `DependencyUnavailable` when the model cannot be
        loaded.
        """
        with warming(self._name, "transformers") as told:
            told.waits_for("weights")
            await self.complete([Message("user", "1")], TextOptions(max_tokens=1, temperature=0.0))
        measured(self._name, lambda: self.load)

    async def watch(self) -> None:
        """For ever: it is a thread of this process, and fails with a request or not at all."""
        await asyncio.Event().wait()

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        """The whole text at once. Raises as `stream` does."""
        async with contextlib.aclosing(self.stream(messages, options)) as items:
            async for item in items:
                if isinstance(item, Completion):
                    return item
        raise AssertionError("a stream ends with its completion")

    async def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        """The text while it is written, then the completion. Closing it stops the model at its next token.

        Raises `EngineRefused` for a prompt that does not fit (`prompt_too_long`), for a schema that cannot be kept and
        for an invalid one; `InvalidInput` (`adapter_refused`) for an adapter; `EngineFailed` if the model fails.
        """
        request = _Request(lambda writer, mine: writer.write(messages, mine), options)
        async with contextlib.aclosing(self._items(request)) as items:
            async for item in items:
                assert not isinstance(item, list)
                yield item

    async def likelihoods(self, context: str, continuations: Sequence[str], options: TextOptions) -> list[Likelihood]:
        """How likely each continuation is. What is asked of one context takes as few passes as it can.

        Raises `InvalidInput` (`adapter_refused`) and `EngineFailed`.
        """
        request = _Request(lambda writer, mine: writer.likelihoods(context, continuations, mine), options)
        async with contextlib.aclosing(self._items(request)) as items:
            async for item in items:
                if isinstance(item, list):
                    return item
        raise AssertionError("it ends with the likelihoods")

    async def _items(self, request: _Request) -> AsyncGenerator[Item | TextDelta]:
        """What the thread tells, until it is done. Closing it makes the thread leave the request."""
        self._ask(request)
        try:
            while True:
                item = await request.items.get()
                if isinstance(item, JobError):
                    raise item
                yield item
                if not isinstance(item, TextDelta):
                    return
        finally:
            request.left.set()

    async def close(self) -> None:
        """Stop what is being written and release the weights."""
        if self._thread is None:
            return
        if (running := self._running) is not None:
            running.left.set()
        self._waiting.put((-1, next(self._numbers), None))
        await asyncio.to_thread(self._thread.join, CLOSES_WITHIN_S)

    def _ask(self, request: _Request) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"model-{self._name}", daemon=True)
            self._thread.start()
        self._waiting.put((_RANKS[request.options.lane], next(self._numbers), request))

    def _work(self) -> None:
        """The thread: loads the model, then writes for one request after the other until it is closed."""
        while (request := self._waiting.get()[2]) is not None:
            if request.left.is_set():
                continue
            self._running = request
            item = self._ended(request)
            # Before its caller hears of the end, so that nobody takes it for one that still runs.
            self._running = None
            request.tell(item)
        self._writer = None

    def _ended(self, request: _Request) -> Item | JobError:
        """The last item of a request, or why there is none."""
        try:
            if self._writer is None:
                self._writer = _Writer(self._name, self._weights, self._revision, self._context_length, self._options)
            return request.work(self._writer, request)
        except JobError as error:
            return error
        except Exception as error:  # torch, and models of others, raise anything
            log.error("engine.failed", model=self._name, exc_info=error)
            failed = EngineFailed(f"the model {self._name} failed: {type(error).__name__}: {error}")
            return out_of_memory(self._name, error) or failed


class _Writer:
    """The loaded model, used by one thread."""

    def __init__(
        self,
        name: str,
        weights: str,
        revision: str | None,
        context_length: int | None,
        options: Mapping[str, Any],
    ) -> None:
        # Read when torch is loaded. Threads that spin while they wait for one another stand still as soon as anything
        # else runs on the machine.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        with loaded(weights):
            from transformers import AutoModelForCausalLM, AutoTokenizer

            self._tokenizer = AutoTokenizer.from_pretrained(weights, revision=revision)
            self._model = AutoModelForCausalLM.from_pretrained(weights, revision=revision, **options).eval()
        if not self._tokenizer.chat_template:
            raise DependencyUnavailable(f"the model {weights!r} has no chat template, so it cannot hold a conversation")
        self._name = name
        self._bases = (name, weights, str(self._model.config.name_or_path))
        own = int(self._model.config.max_position_embeddings)
        self.context_length = min(own, context_length or own)
        ends = self._model.generation_config.eos_token_id
        ids = ends if isinstance(ends, list) else [ends, self._tokenizer.eos_token_id]
        self._ends = {one for one in ids if one is not None}
        self._adapters: OrderedDict[str, str] = OrderedDict()
        # A copy: while the model's own one reads a prompt, nobody else may use it.
        self._counts = type(self._tokenizer.backend_tokenizer).from_str(self._tokenizer.backend_tokenizer.to_str())
        self._counts.no_truncation()

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text; for any thread."""
        return [len(self._counts.encode(text, add_special_tokens=False).ids) for text in texts]

    def write(self, messages: Sequence[Message], request: _Request) -> Completion:
        """Write for one request; what may be shown is told on the way."""
        import torch

        options = request.options
        prompt = tokens(self._tokenizer, messages, options, model=self._name, context_length=self.context_length)
        room = min(options.max_tokens, self.context_length - len(prompt))
        pen = _Pen(request, self._tokenizer)
        given = torch.tensor([prompt], device=self._model.device)
        self._use(options.adapter)
        if options.seed is not None:
            torch.manual_seed(options.seed)
        with torch.inference_mode():
            self._model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=room,
                streamer=pen,
                stopping_criteria=[pen.over],
                logits_processor=self._guided(options),
                eos_token_id=sorted(self._ends) or None,
                pad_token_id=min(self._ends, default=0),
                **_sampling(options),
            )
        pen.rest()
        reason: FinishReason = "stop" if pen.stopped or pen.last in self._ends else "length"
        return Completion(pen.text, reason, self._name, Usage(len(prompt), pen.written))

    def likelihoods(self, context: str, continuations: Sequence[str], request: _Request) -> list[Likelihood]:
        """How likely each continuation is; what is left of them when the caller has left is left out."""
        self._use(request.options.adapter)
        asked = [scorings(self._tokenizer, context, one, length=self.context_length) for one in continuations]
        return [added(told) for told in scored(self._model, asked, request.left.is_set)]

    def _guided(self, options: TextOptions) -> list[Any]:
        """What keeps the text to JSON, or to a JSON schema, token by token."""
        if options.schema is None and not options.json_object:
            return []
        try:
            import xgrammar
            from xgrammar.contrib.hf import LogitsProcessor
        except ImportError as error:
            raise EngineRefused(
                f"{self._name} cannot keep to a schema here: that needs the package xgrammar", code="schema_unsupported"
            ) from error
        info = xgrammar.TokenizerInfo.from_huggingface(
            self._tokenizer, vocab_size=self._model.config.vocab_size, stop_token_ids=sorted(self._ends)
        )
        compiler = xgrammar.GrammarCompiler(info)
        try:
            grammar = (
                compiler.compile_builtin_json_grammar()
                if options.schema is None
                else compiler.compile_json_schema(json.dumps(options.schema), any_whitespace=False)
            )
        except Exception as error:  # the library's own errors have no common root
            raise EngineRefused(f"the schema cannot be kept to: {error}", code="schema_refused") from error
        return [LogitsProcessor(grammar)]

    def _use(self, adapter: str | None) -> None:
        """Put an adapter's matrices beside the weights, or take them off."""
        if adapter is None:
            if self._adapters:
                self._model.disable_adapters()
            return
        if adapter not in self._adapters:
            checked(Path(adapter), bases=self._bases)
            with loaded(adapter):
                name = f"adapter-{len(self._adapters)}" if len(self._adapters) < ADAPTERS else self._oldest_leaves()
                self._model.load_adapter(adapter, adapter_name=name)
            self._adapters[adapter] = name
        self._adapters.move_to_end(adapter)
        self._model.enable_adapters()
        self._model.set_adapter(self._adapters[adapter])

    def _oldest_leaves(self) -> str:
        _, name = self._adapters.popitem(last=False)
        self._model.delete_adapter(name)
        return name


class _Pen:
    """Takes tokens as transformers' streamers do, tells what may be shown, and says when the text is over."""

    def __init__(self, request: _Request, tokenizer: Any) -> None:
        from tokenizers.decoders import DecodeStream

        self.written = 0
        self.last: int | None = None
        self._request = request
        self._tokenizer = tokenizer.backend_tokenizer
        self._decoded = DecodeStream(skip_special_tokens=True)
        self._stops = Stops(request.options.stop)
        self._spoken = Spoken()
        self._prompt_seen = False

    @property
    def stopped(self) -> bool:
        """Whether a stop string came."""
        return self._stops.hit

    @property
    def text(self) -> str:
        """The answer so far, without thoughts."""
        return self._spoken.text

    def put(self, value: Any) -> None:
        """One token; the first call brings the prompt."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        for token in value.reshape(-1).tolist():
            self.written += 1
            self.last = token
            # None while a character is incomplete: one of Hangul may take three tokens.
            if piece := self._decoded.step(self._tokenizer, token):
                self._show(self._spoken.feed(self._stops.feed(piece)))

    def end(self) -> None:
        """Called by transformers after the last token, and `rest` follows."""

    def rest(self) -> None:
        """Tell what was held back."""
        self._show(self._spoken.feed(self._stops.end()) + self._spoken.end())

    def over(self, input_ids: Any, _scores: Any, **_: Any) -> Any:
        """A stopping criterion: the caller left, or a stop string came."""
        import torch

        over = self._request.left.is_set() or self.stopped
        return torch.full((input_ids.shape[0],), over, dtype=torch.bool, device=input_ids.device)

    def _show(self, text: str) -> None:
        if text:
            self._request.tell(TextDelta(text))


def _sampling(options: TextOptions) -> dict[str, Any]:
    """For `generate`. What is None is the model's own."""
    if options.temperature == 0:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    given = {"temperature": options.temperature, "top_p": options.top_p}
    chosen = {name: value for name, value in given.items() if value is not None}
    return {"do_sample": True, "top_k": 0, **chosen} if chosen else {}
