"""Models as pools, end to end: a models file, real engines behind HTTP, and what clients see and get of them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import openai
import pytest
import uuid_utils.compat as uuids
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

from infra.postgres.queries import submit
from infra.postgres.queries.submit import NewJob
from producers.client.sync import Client
from tests.e2e.model_engines import WITHIN_S, Engine, client, done, engine, official, refused, stack
from tests.e2e.processes import Up, cli, until

__all__ = ["client", "engine", "official", "stack"]


TALK = [{"role": "system", "content": "짧게"}, {"role": "user", "content": "안녕"}]


def test_the_official_client_lists_the_models(official: openai.OpenAI) -> None:
    def served() -> list[Any]:
        found = list(official.models.list())
        return found if all(getattr(one, "served") for one in found) else []  # noqa: B009 - ours, beside OpenAI's

    found = until(served, "the worker serves them", within_s=WITHIN_S)
    assert [one.id for one in found] == ["quick", "quick:legal", "slow-1.5b", "vec", "order"]
    assert {one.object for one in found} == {"model"}
    quick = official.models.retrieve("quick")
    assert quick == found[0]
    assert quick.created > 1_700_000_000
    ours = quick.model_dump()
    assert (ours["tasks"], ours["context_length"], ours["max_tokens"]) == (["chat"], 4096, 1000)
    assert ours["price"] == {"input": 0.1, "output": 0.4}
    assert official.models.retrieve("slow-1.5b").id == "slow-1.5b"
    with pytest.raises(openai.NotFoundError, match=r"there are: quick, quick:legal, slow-1\.5b, vec, order") as caught:
        official.models.retrieve("gone")
    assert caught.value.code == "model_not_found"


def test_a_conversation_is_continued_as_it_was_asked(client: Client, engine: Engine) -> None:
    asked = {
        "messages": TALK,
        "model": "quick",
        "max_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": "끝",
        "seed": 7,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
        },
    }
    result = done(client, "generation", asked)
    assert result == {
        "message": {"role": "assistant", "content": "quick: 네", "refusal": None, "tool_calls": None},
        "finish_reason": "stop",
        "model": "quick",
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
    sent = engine.bodies[-1]
    assert sent["authorization"] == "Bearer hush"
    assert {**asked, "stop": ["끝"]}.items() <= sent.items()


def test_an_adapter_of_the_server_is_asked_for_by_its_name_there(client: Client, engine: Engine, stack: Up) -> None:
    result = done(client, "generation", {"messages": TALK, "model": "quick:legal"})
    assert (result["model"], engine.bodies[-1]["model"]) == ("quick:legal", "legal-lora")
    problem = refused(stack, "generation", {"messages": TALK, "model": "quick:other"})
    assert (problem["code"], problem["field"]) == ("adapter_not_found", "input.model")
    assert "quick:legal" in problem["detail"]


def test_a_question_after_a_conversation_is_condensed_and_answered_in_json_by_a_prompt(
    client: Client, engine: Engine, stack: Up
) -> None:
    client.wait(client.index_documents("ko", [{"id": "d", "text": "한라산의 높이는 1,947미터이다."}])[0].id, WITHIN_S)
    said = '{"answer": "한라산의 높이는 1,947미터 [1][2]", "citations": [1]}'
    generate = {
        "model": "quick",
        "prompt": "formal",
        "variables": {"tone": "정중한"},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    }
    before = [{"role": "user", "content": "한라산은?"}, {"role": "assistant", "content": "제주도에 있습니다."}]
    asked = {"collection": "ko", "question": "높이는?", "messages": before, "generate": generate}
    engine.extra = {"content": said}
    try:
        result = done(client, "inference", asked)
    finally:
        engine.extra = {}
    assert json.loads(result["answer"]) == {"answer": "한라산의 높이는 1,947미터 [1]", "citations": [1]}
    assert (result["search_question"], result["citations_dropped"]) == (said, 1)
    assert [one["document_id"] for one in result["citations"]] == ["d"]
    assert result["usage"] == {"prompt_tokens": 14, "completion_tokens": 6}
    condensing, answering = [body for body in engine.bodies if "messages" in body][-2:]
    assert ("response_format" in condensing, "response_format" in answering) == (False, True)
    assert [turn["role"] for turn in answering["messages"]] == ["system", "user", "assistant", "user"]
    assert answering["messages"][0]["content"] == "정중한 말투"
    for change, code in ({"prompt": "none"}, "prompt_not_found"), ({"variables": {}}, "prompt_variables"):
        problem = refused(stack, "inference", {**asked, "generate": {**generate, **change}})
        assert problem["code"] == code


def test_tools_go_to_the_model_and_its_calls_come_back(client: Client, engine: Engine) -> None:
    # The model's limit cuts what the request leaves open.
    tools = [{"type": "function", "function": {"name": "height", "parameters": {"type": "object"}}}]
    call = {"id": "c1", "type": "function", "function": {"name": "height", "arguments": '{"of": "한라산"}'}}
    engine.extra = {"content": None, "tool_calls": [call]}
    try:
        result = done(client, "generation", {"messages": TALK, "tools": tools, "tool_choice": "required"})
    finally:
        engine.extra = {}
    assert (result["finish_reason"], result["message"]["content"]) == ("stop", None)
    assert result["message"]["tool_calls"] == [call]
    assert engine.bodies[-1]["max_tokens"] == 1_000
    assert (engine.bodies[-1]["tools"], engine.bodies[-1]["tool_choice"]) == (tools, "required")
    turns = [*TALK, result["message"], {"role": "tool", "tool_call_id": "c1", "content": "1947"}]
    assert done(client, "generation", {"messages": turns})["message"]["content"] == "quick: 네"
    assert engine.bodies[-1]["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": "1947"}


def test_a_conversation_is_read_while_it_is_written(client: Client, engine: Engine) -> None:
    job = client.submit("generation", {"messages": TALK, "model": "quick", "stream": True})
    stream = client.stream(job.id, timeout=WITHIN_S)
    assert "".join(stream) == "quick: 네"
    assert engine.bodies[-1]["stream"] is True
    assert stream.job is not None
    assert stream.job.result["message"]["content"] == "quick: 네"


def test_texts_become_vectors_in_a_file_when_they_are_many(client: Client, stack: Up) -> None:
    result = done(client, "embedding", {"texts": ["a", "한라산"], "purpose": "query"})
    assert (result["dimension"], result["model"], len(result["vectors"])) == (3, "vec", 2)
    assert result["vectors"][0] == pytest.approx([2**-0.5, 2**-0.5, 0])
    many = client.wait(client.submit("embedding", {"texts": [str(n) * 9 for n in range(2_000)]}).id, WITHIN_S)
    assert set(many.result) == {"file"}
    whole = httpx.get(f"{stack.url}{many.links['result']}", timeout=60).json()
    assert len(whole["vectors"]) == 2_000


def test_passages_are_ordered_by_the_reranker_of_the_models_file(client: Client, engine: Engine) -> None:
    texts = {"short": "한라산의 높이", "long": "한라산의 높이는 1,947미터이다. 백록담이 그 꼭대기에 있다."}
    documents = [{"id": id, "text": text} for id, text in texts.items()]
    client.wait(client.index_documents("ranked", documents)[0].id, WITHIN_S)
    hits = client.search("ranked", "한라산의 높이")
    assert [hit.document_id for hit in hits] == ["long", "short"]
    assert [hit.scores["rerank"] for hit in hits] == [len(texts["long"]) / 1000, len(texts["short"]) / 1000]
    [asked] = [body for body in engine.bodies if set(body.get("documents", ())) == set(texts.values())]
    assert (asked["model"], asked["query"]) == ("order", "한라산의 높이")
    assert "rerank" not in client.search("ranked", "한라산의 높이", rerank=False)[0].scores


def test_a_question_is_answered_by_the_model_it_names(client: Client, engine: Engine) -> None:
    [job] = client.index_documents("models", [{"id": "d", "text": "한라산의 높이는 1,947미터이다."}])
    client.wait(job.id, WITHIN_S)
    engine.open.set()
    try:
        for name, answer in (("default", "quick: 네"), ("slow-1.5b", "slow: 네")):
            asked = {"collection": "models", "question": "한라산의 높이는?", "generate": {"model": name}}
            assert done(client, "inference", asked)["answer"] == answer
    finally:
        engine.open.clear()


def test_two_models_never_wait_for_one_another(client: Client, engine: Engine) -> None:
    assert not engine.open.is_set()
    try:
        # More than the worker's slots, in both lanes.
        slow = [
            client.submit("generation", {"messages": TALK, "model": "slow-1.5b"}, lane=lane)
            for lane in ("interactive", "bulk")
            for _ in range(20)
        ]
        for lane in ("interactive", "bulk"):
            result = done(client, "generation", {"messages": TALK, "model": "quick"}, lane=lane)
            assert result["model"] == "quick"
        assert not any(client.job(job.id).state == "succeeded" for job in slow)
    finally:
        engine.open.set()
    try:
        for job in slow:
            assert client.wait(job.id, WITHIN_S).state == "succeeded"
    finally:
        engine.open.clear()


@pytest.mark.parametrize(
    ("kind", "input", "field", "said"),
    [
        ("generation", {"messages": TALK, "model": "gone"}, "input.model", "'gone' is not here"),
        ("generation", {"messages": TALK, "model": "vec"}, "input.model", "'vec' cannot do 'chat'"),
        ("embedding", {"texts": ["a"], "model": "quick"}, "input.model", "models for 'embeddings': vec"),
        (
            "inference",
            {"collection": "c", "question": "q", "generate": {"model": "gone"}},
            "input.generate.model",
            "models for 'answers': quick, slow-1.5b",
        ),
    ],
)
def test_a_model_that_is_not_there_or_cannot_is_refused_at_submit(
    stack: Up, kind: str, input: dict[str, Any], field: str, said: str
) -> None:
    problem = refused(stack, kind, input)
    assert (problem["code"], problem["field"]) == ("model_not_found", field)
    assert said in problem["detail"]


@pytest.mark.parametrize(("tokens", "said"), [(1_001, "at most 1000 tokens"), (131_073, "131072"), (0, "1")])
def test_more_tokens_than_the_model_makes_are_refused(stack: Up, tokens: int, said: str) -> None:
    problem = refused(stack, "generation", {"messages": TALK, "model": "quick", "max_tokens": tokens})
    assert (problem["code"], problem["field"]) == ("invalid_input", "input.max_tokens")
    assert said in problem["detail"]


def test_an_alias_moves_only_to_a_model_that_is_not_worse_and_back_at_once(client: Client) -> None:
    """The champion answers by its adapter; the questions are such that the base is right and the adapter wrong."""
    client.models.promote("helper", "quick:legal", expected=None)

    def said() -> str:
        return str(done(client, "generation", {"messages": TALK, "model": "helper"})["message"]["content"])

    def judged(model: str, right: str) -> Any:
        asked = {
            "items": [{"id": str(n), "question": f"{n}?", "reference": right} for n in range(8)],
            "metrics": ["exact_match"],
        }
        return client.wait(client.models.gate("helper", model, asked).id, WITHIN_S)

    assert said() == "legal-lora: 네"
    worse = judged("quick", "legal-lora: 네")
    assert (worse.state, worse.error.code) == ("failed", "gate_not_passed")
    assert "exact_match 0.000 beside 1.000, difference -1.000" in worse.error.message
    assert worse.result["evidence"]["metrics"]["exact_match"]["candidate"] == 0
    assert said() == "legal-lora: 네"
    better = judged("quick", "quick: 네")
    assert (better.state, better.result["promoted"], better.result["previous"]) == ("succeeded", True, "quick:legal")
    assert said() == "quick: 네"
    assert client.models.roll_back("helper").model == "quick:legal"
    assert said() == "legal-lora: 네"
    found = client.models.diff("quick:legal", "quick")
    assert (found.metrics["exact_match"].first, found.metrics["exact_match"].second) == (0, 1)
    promoted = next(step for step in client.models.ledger("helper") if step.evidence)
    assert (promoted.by, promoted.evaluation) == (better.id, found.evaluation)


def test_jobs_that_wait_run_on_the_model_that_their_alias_is_rolled_back_to(client: Client, engine: Engine) -> None:
    client.models.promote("waiting", "quick", expected=None)
    client.models.promote("waiting", "slow-1.5b", expected="quick", force=True, reason="to be rolled back")
    assert not engine.open.is_set()
    try:
        # More than the slots of the slow model: some wait for it, the others have begun.
        jobs = [client.submit("generation", {"messages": TALK, "model": "waiting"}) for _ in range(40)]
        until(lambda: any(client.job(job.id).state == "running" for job in jobs), "some have begun", within_s=WITHIN_S)
        client.models.roll_back("waiting")
        ended = until(
            lambda: [now for job in jobs if (now := client.job(job.id)).state == "succeeded"],
            "those that waited are answered by the model before",
            within_s=WITHIN_S,
        )
        assert {job.model for job in ended} == {"quick"}
    finally:
        engine.open.set()
    try:
        models = {client.wait(job.id, WITHIN_S).alias.model for job in jobs}
        assert models == {"quick", "slow-1.5b"}
    finally:
        engine.open.clear()


async def _inserted(data: Path, *jobs: NewJob) -> None:
    connection = await asyncpg.connect((data / "postgres.url").read_text().strip())
    try:
        await submit.submit(connection, jobs)  # type: ignore[arg-type]
    finally:
        await connection.close()


def new_job(model: str | None, **fields: Any) -> NewJob:
    asked = {"messages": TALK, "model": "default"}
    return NewJob(
        id=uuids.uuid7(), tenant="default", kind="generation", stage="run", lane="interactive", model=model,
        input=json.dumps(asked), max_attempts=1, **fields,
    )  # fmt: skip


def test_a_row_without_a_model_runs_on_the_default_and_one_of_a_model_that_is_gone_fails(
    stack: Up, client: Client
) -> None:
    before, gone = new_job(None), new_job("removed-yesterday")
    asyncio.run(_inserted(stack.data, before, gone))
    job = client.wait(f"job_{before.id.hex}", WITHIN_S)
    assert job.result["model"] == "quick"
    job = client.wait(f"job_{gone.id.hex}", WITHIN_S)
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "model_not_served")
    assert "removed-yesterday" in job.error.message


def test_each_model_has_its_topics_and_its_queue(stack: Up) -> None:
    topics = {channel["address"] for channel in httpx.get(f"{stack.url}/asyncapi.json").json()["channels"].values()}
    assert "welip.generation.run.slow-1.5b.bulk" in topics
    assert "welip.inference.generate.quick.interactive" in topics
    assert "welip.embedding.run.vec.interactive" in topics
    assert "welip.embedding.run.quick.interactive" not in topics
    metrics = httpx.get(f"{stack.url}/metrics").text
    assert 'topic="welip.generation.run.slow-1.5b.bulk"' in metrics


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/chat/completions", {"model": "quick", "messages": TALK, "max_completion_tokens": 9}),
        ("/v1/completions", {"model": "quick", "prompt": "안녕", "max_tokens": 9}),
        ("/v1/responses", {"model": "quick", "instructions": "짧게", "input": "안녕"}),
        ("/v1/embeddings", {"model": "vec", "input": ["가", "나다"]}),
    ],
)
def test_a_batch_asks_a_model_on_each_of_openais_endpoints(
    official: openai.OpenAI, endpoint: Any, body: dict[str, Any]
) -> None:
    lines = [{"custom_id": f"q{n}", "method": "POST", "url": endpoint, "body": body} for n in range(3)]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = official.files.create(file=("lines.jsonl", content), purpose="batch")
    made = official.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
    ends = ("completed", "failed", "expired", "cancelled")
    until(lambda: official.batches.retrieve(made.id).status in ends, "the batch ends", within_s=WITHIN_S)
    batch = official.batches.retrieve(made.id)
    assert (batch.status, batch.errors, batch.error_file_id) == ("completed", None, None)
    output = official.files.content(batch.output_file_id or "").read().splitlines()
    answers = [json.loads(line)["response"]["body"] for line in output]
    assert len(answers) == 3
    match endpoint:
        case "/v1/chat/completions":
            told = [ChatCompletion.model_validate(one).choices[0].message.content for one in answers]
        case "/v1/completions":
            told = [Completion.model_validate(one).choices[0].text for one in answers]
        case "/v1/responses":
            told = [one["output"][0]["content"][0]["text"] for one in answers]
        case _:
            [first, second] = CreateEmbeddingResponse.model_validate(answers[0]).data
            assert first.embedding != second.embedding
            return
    assert told == ["quick: 네"] * 3


def test_a_model_writes_questions_that_our_own_search_answers(
    stack: Up, client: Client, engine: Engine, tmp_path: Path
) -> None:
    text = "한라산은 제주도에 있는 산이다. 높이는 1,947미터로 남한에서 가장 높고, "
    text += "꼭대기에는 백록담이라는 호수가 있다."
    [job] = client.index_documents("written", [{"id": "halla", "title": "한라산", "text": text}])
    assert client.wait(job.id, WITHIN_S).state == "succeeded"
    reply = {"question": "한라산 꼭대기에 있는 호수의 이름은 무엇인가요?", "answer": "백록담"}
    engine.extra = {"content": f"```json\n{json.dumps(reply, ensure_ascii=False)}\n```"}
    questions, review = tmp_path / "questions.jsonl", tmp_path / "review.csv"
    ended = cli(
        *("dataset", "generate", "-c", "written", "--model", "quick", "--count", "1", "--json"),
        *("--output", str(questions), "--review", str(review)),
        within_s=WITHIN_S,
        WELIP_URL=stack.url,
    )
    engine.extra = {}
    assert ended.returncode == 0, ended.stderr
    made = json.loads(ended.stdout)
    assert (made["passages"], made["accepted"], made["flags"]) == (1, 1, {})
    assert made["usage"] == {"prompt_tokens": 7, "completion_tokens": 3}
    asked = next(body["messages"] for body in engine.bodies if "백록담" in str(body.get("messages")))
    assert text in asked[-1]["content"]
    [row] = map(json.loads, questions.read_text().splitlines())
    assert (row["question"], row["reference"], row["relevant"]) == (reply["question"], reply["answer"], ["halla"])
    assert row["metadata"]["rank"] == 1
    assert "yes" in review.read_text("utf-8-sig").splitlines()[1]
