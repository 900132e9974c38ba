"""An evaluation that is killed in the middle finds the same as one that nobody disturbed, and pays once."""

import asyncio
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import asyncpg
import httpx
import pytest

from infra.local.sample import documents, questions
from tests.e2e.processes import Up, until
from tests.e2e.small_server import SmallServer

WITHIN_S = 240
FEW = questions()[:16]

MODELS = """
[[models]]
name = "default"
engine = "extractive"

[[models]]
name = "judge"
engine = "openai"
url = "{url}"
limits = {{ at_once = 4 }}
price = {{ input = 1, output = 2 }}
"""
GRADER = {
    "type": "score_model",
    "name": "good",
    "input": [{"role": "user", "content": "{{item.question}} {{sample.output_text}}"}],
}


class Judge(SmallServer):
    """Gives every answer a score that depends on the prompt alone; waits while it is not `open`."""

    def __init__(self) -> None:
        super().__init__()
        self.open.set()
        self.asked: Counter[str] = Counter()
        self._one_at_a_time = threading.Lock()

    def reply(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> dict[str, Any]:
        prompt = body["messages"][-1]["content"]
        with self._one_at_a_time:
            self.asked[prompt] += 1
            number = self.asked.total()
        if number > len(FEW) // 2:
            self.open.wait(WITHIN_S)
        reply = json.dumps({"steps": "", "result": len(prompt) % 5 / 4})
        message = {"role": "assistant", "content": reply}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


def items() -> list[dict[str, Any]]:
    return [
        {
            "id": question["id"],
            "question": question["question"],
            "reference": question.get("answer"),
            "relevant": [question["document_id"]] if question["document_id"] else [],
            "answerable": bool(question["document_id"]),
        }
        for question in FEW
    ]


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(one) for name, one in value.items() if name != "latency_ms"}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def report(stack: Up, job: str) -> tuple[Any, str]:
    """The figures and the page of an evaluation, but for times: the members in their order."""
    with stack.client() as client, httpx.Client(base_url=stack.url, timeout=60) as http:
        found = client.evaluation(job, timeout=WITHIN_S)
        figures, page = (http.get(f"/v1/files/{file}/content") for file in (found.figures, found.report))
        return json.dumps(without_times(figures.json())), re.sub('<tr><td class="wrap">[^\n]*\n', "", page.text)


def in_postgres(stack: Up, query: str) -> Any:
    """What a query returns."""

    async def asked() -> Any:
        connection = await asyncpg.connect((stack.data / "postgres.url").read_text().strip())
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(asked())


def judgements(stack: Up) -> int:
    """Replies of judges that PostgreSQL has."""
    return int(in_postgres(stack, "SELECT count(*) FROM judgement"))


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge().running() as server:
        yield server


@pytest.fixture(scope="module")
def stack(judge: Judge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("judged")
    (folder / "models.toml").write_text(MODELS.format(url=judge.url))
    settings = {"WELIP_MODELS": str(folder / "models.toml"), "WELIP_RESCUE_GONE": "3"}
    with Up(folder / "data", **settings) as running:
        with running.client() as client:
            [indexed] = client.index_documents("ko", documents())
            assert client.wait(indexed.id, timeout=WITHIN_S).state == "succeeded"
        yield running


@pytest.mark.timeout(600)
def test_the_report_of_a_disturbed_run_is_the_same_but_for_times(stack: Up) -> None:
    settings = {"reuse": False, "graders": [GRADER], "judge": {"model": "judge", "version": "0"}}
    with stack.client() as client:
        undisturbed = report(stack, client.evaluate(items(), "ko", settings=settings).id)
        in_postgres(stack, "DELETE FROM judgement")  # so that the judge is asked and paid again
        job = client.evaluate(items(), "ko", settings=settings).id

        def in_the_middle() -> bool:
            seen = client.job(job)
            return seen.ended or (seen.children is not None and seen.children.ended >= 3)

        until(in_the_middle, "some questions are answered", within_s=WITHIN_S)
    stack.kill_all()
    stack.start_again()
    assert report(stack, job) == undisturbed
    assert json.loads(undisturbed[0])["items"]["succeeded"] == len(FEW)
    with stack.client() as client:
        children = Counter(child.kind for child in client.iterate_jobs(parent=job))
    assert children["inference"] == len(FEW)


@pytest.mark.timeout(600)
def test_a_judge_is_asked_once_but_for_what_was_under_way_when_its_worker_died(stack: Up, judge: Judge) -> None:
    settings = {"metrics": ["exact_match"], "graders": [GRADER], "judge": {"model": "judge", "version": "1"}}
    with stack.client() as client:
        judge.open.clear()
        judge.asked.clear()
        before_it = judgements(stack)
        job = client.evaluate(items(), "ko", settings=settings)
        # Half of the calls are answered at once; then as many wait as the limit lets through.
        stuck = len(FEW) // 2 + 4
        until(lambda: sum(judge.asked.values()) >= stuck, "the judge is at work", within_s=WITHIN_S)
        half = before_it + len(FEW) // 2
        until(lambda: judgements(stack) == half, "what it said is kept", within_s=WITHIN_S)
        stack.child("consumers").kill()
        judge.open.set()
        found = client.evaluation(job.id, timeout=WITHIN_S)
        assert found.judged is not None
        assert (found.judged.judge, found.judged.unscored) == ("judge@1", {})
        [variant] = found.variants
        assert variant.metrics["good"].n == len(FEW)
        assert variant.metrics["good"].by == "judge@1"
        assert len(judge.asked) == len(FEW)
        assert sum(judge.asked.values()) <= len(FEW) + 4
        before = Counter(judge.asked)
        again = client.evaluation(client.evaluate(items(), "ko", settings=settings).id, timeout=WITHIN_S)
        assert judge.asked == before, "another run finds what the judge has said"
        assert again.variants[0].metrics["good"] == variant.metrics["good"]
        assert again.judged is not None
        assert (again.judged.calls, again.judged.cached, again.judged.cost) == (0, len(FEW), 0)
