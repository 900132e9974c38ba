"""What engines in this process keep besides what every `TextModel` keeps: they are asked in all ways, and counted."""

import asyncio
import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from consumers.stages.ports import TextModel
from infra.engines.load import EngineLoad
from schemas.errors import EngineRefused, InvalidInput
from schemas.text import Completion, Message, TextDelta
from tests.contract.text_model_contract import OPTIONS, TALK, TextModelContract

STORY = [Message("user", "Write a long story about a mountain.")]
ENDLESS = replace(OPTIONS, max_tokens=400)
"""Of a story: models have more to tell."""

SCHEMA = {
    "type": "object",
    "properties": {"high": {"type": "boolean"}},
    "required": ["high"],
    "additionalProperties": False,
}


class Engine(TextModel, Protocol):
    @property
    def load(self) -> EngineLoad: ...


async def until_free(model: Engine) -> None:
    """Until the engine's own counters say that nothing is written, waits, or holds its cache."""
    async with asyncio.timeout(120):
        while model.load != EngineLoad():
            await asyncio.sleep(0.01)


async def until_running(model: Engine, count: int = 1) -> None:
    async with asyncio.timeout(120):
        while model.load.running < count:
            await asyncio.sleep(0.005)


def lacks_memory() -> None:
    """Fail as torch does without memory."""
    import torch

    torch.empty(1 << 60)


def by_a_plain_pass(weights: Path, context: str, choice: str) -> tuple[float, int]:
    """The log probability of the choice, and its tokens, by one pass of the model without any of ours."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights)
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32).eval()
    before, whole = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (context, context + choice))
    with torch.inference_mode():
        scores = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    of_choice = range(len(before), len(whole))
    return sum(float(scores[at - 1, whole[at]]) for at in of_choice), len(of_choice)


class EngineContract(TextModelContract):
    async def test_many_at_once_do_not_mix(self, model: TextModel) -> None:
        """Each must write a number of its own. What is written freely depends on how much is written with it."""

        async def number(wanted: int) -> int:
            schema = {**SCHEMA, "properties": {"high": {"const": wanted}}}
            return int(json.loads((await model.complete(TALK, replace(OPTIONS, schema=schema))).text)["high"])

        numbers = range(100, 108)
        assert await asyncio.gather(*map(number, numbers)) == list(numbers)

    async def test_max_tokens_cut_the_text(self, model: Engine) -> None:
        found = await model.complete(TALK, replace(OPTIONS, max_tokens=3))
        assert (found.finish_reason, found.usage.completion_tokens) == ("length", 3)

    async def test_nothing_of_a_stop_string_is_shown(self, model: Engine) -> None:
        whole = (await model.complete(TALK, OPTIONS)).text
        stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
        *deltas, end = [item async for item in model.stream(TALK, replace(OPTIONS, stop=[stop]))]
        assert isinstance(end, Completion)
        assert end.finish_reason == "stop"
        assert end.text == whole[: whole.index(stop)].rstrip()
        assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == end.text

    async def test_a_seed_repeats_a_text(self, model: Engine) -> None:
        wild = replace(OPTIONS, temperature=1.5)
        first, again, other = [(await model.complete(TALK, replace(wild, seed=seed))).text for seed in (7, 7, 8)]
        assert first == again != other

    async def test_a_schema_is_kept(self, model: Engine) -> None:
        found = await model.complete(TALK, replace(OPTIONS, schema=SCHEMA, max_tokens=64))
        assert isinstance(json.loads(found.text)["high"], bool)

    async def test_a_schema_that_is_none_is_refused(self, model: Engine) -> None:
        with pytest.raises(EngineRefused):
            await model.complete(TALK, replace(OPTIONS, schema={"type": "no such type"}))

    async def test_a_prompt_longer_than_the_context_is_refused(self, model: Engine) -> None:
        with pytest.raises(EngineRefused, match="tokens, and the model's context holds") as refused:
            await model.complete([Message("user", "한라산 " * 20_000)], OPTIONS)
        assert refused.value.reason == "prompt_too_long"

    async def test_texts_are_counted_by_its_own_tokenizer_while_it_writes(self, model: Engine) -> None:
        assert model.context_length is not None
        writing = asyncio.create_task(model.complete(STORY, ENDLESS))
        await until_running(model)
        [none, one, two] = await model.lengths(["", "한라산", "한라산 한라산"]) or []
        assert none == 0 < one < two
        assert await model.lengths([]) == []
        long = "한라산 " * 20_000
        assert (await model.lengths([long]) or [])[0] > model.context_length
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await until_free(model)

    async def test_tools_are_refused(self, model: Engine) -> None:
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        with pytest.raises(EngineRefused) as refused:
            await model.complete(TALK, replace(OPTIONS, tools=[tool]))
        assert refused.value.reason == "tools_unsupported"

    async def test_whoever_closes_a_stream_stops_the_engine(self, model: Engine) -> None:
        async with contextlib.aclosing(model.stream(STORY, ENDLESS)) as pieces:
            await anext(pieces)
        await until_free(model)

    async def test_a_cancelled_completion_stops_the_engine(self, model: Engine) -> None:
        tasks = [asyncio.create_task(model.complete(STORY, ENDLESS)) for _ in range(8)]
        await until_running(model)
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True)
        )
        await until_free(model)

    async def test_adapters_change_what_is_written_each_its_own_way(self, model: Engine, adapters: list[Path]) -> None:
        plain = (await model.complete(TALK, OPTIONS)).text

        async def by(folder: Path) -> str:
            return (await model.complete(TALK, replace(OPTIONS, adapter=str(folder)))).text

        # More of them than are kept loaded, so the first has been unloaded when it is asked for again.
        written = [await by(folder) for folder in adapters]
        assert len({plain, *written}) == len(adapters) + 1
        assert await by(adapters[0]) == written[0]
        assert (await model.complete(TALK, OPTIONS)).text == plain

    async def test_requests_that_need_the_same_new_adapter_at_once_all_get_it(
        self, model: Engine, adapters: list[Path]
    ) -> None:
        asked = replace(OPTIONS, adapter=str(adapters[-1]))
        texts = [one.text for one in await asyncio.gather(*(model.complete(TALK, asked) for _ in range(4)))]
        assert texts == [(await model.complete(TALK, asked)).text] * 4

    async def test_an_adapter_that_is_not_served_is_refused_with_the_reason(
        self, model: Engine, unserved: Path
    ) -> None:
        asked = [model.complete(TALK, replace(OPTIONS, adapter=str(unserved))) for _ in range(4)]
        for refused in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(refused, InvalidInput)
            assert refused.reason == "adapter_refused"
            assert "DoRA" in refused.message
        assert (await model.complete(TALK, OPTIONS)).text


class LikelihoodContract:
    """What engines keep that tell how likely texts are."""

    async def test_a_text_is_as_likely_as_a_plain_pass_of_the_model_says(self, model: Engine, reference: Path) -> None:
        context, choices = "한라산의 높이는", [" 1,947미터이다.", " a mountain"]
        found = await model.likelihoods(context, choices, OPTIONS)
        for told, choice in zip(found, choices, strict=True):
            logprob, tokens = by_a_plain_pass(reference, context, choice)
            assert told.logprob == pytest.approx(logprob, rel=1e-3, abs=0.02)
            assert (told.tokens, told.cut) == (tokens, False)

    async def test_a_blank_between_a_context_and_a_choice_belongs_to_the_choice(self, model: Engine) -> None:
        [one] = await model.likelihoods("한라산은", [" 제주도에 있다"], OPTIONS)
        [other] = await model.likelihoods("한라산은 ", ["제주도에 있다"], OPTIONS)
        assert other.logprob == pytest.approx(one.logprob, abs=0.02)

    async def test_every_token_of_a_long_text_is_scored_once(self, model: Engine) -> None:
        assert model.context_length is not None
        long = "한라산은 제주도에 있다. " * (model.context_length // 4)
        [tokens] = await model.lengths([long]) or []
        assert tokens > 2 * model.context_length
        [found] = await model.likelihoods("", [long], OPTIONS)
        assert (found.tokens, found.cut, found.greedy) == (tokens, False, False)
        assert found.logprob < 0

    async def test_a_context_that_is_too_long_is_cut_at_its_beginning_and_a_choice_is_not(self, model: Engine) -> None:
        long = "한라산 " * 20_000
        [found] = await model.likelihoods(long, [" 1,947미터"], OPTIONS)
        assert found.cut
        with pytest.raises(EngineRefused) as refused:
            await model.likelihoods("높이는", [long], OPTIONS)
        assert refused.value.reason == "prompt_too_long"

    async def test_what_it_writes_by_itself_is_what_it_finds_most_likely(self, model: Engine) -> None:
        context = "The capital of France is the city of"
        text = (await model.complete([Message("user", context)], replace(OPTIONS, max_tokens=1, raw=True))).text
        [own, other] = await model.likelihoods(context, [text, " 1,947미터"], OPTIONS)
        assert own.logprob > other.logprob
        assert not other.greedy
