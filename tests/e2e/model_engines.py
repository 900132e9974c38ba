"""A stack with a models file, and the engines behind it."""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import openai
import pytest

from producers.client.sync import Client
from tests.e2e.processes import Up
from tests.e2e.small_server import SmallServer

WITHIN_S = 120


class Engine(SmallServer):
    """An OpenAI-compatible server: `slow` answers only while `open` is set, `quick` at once, `vec` makes embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []
        self.extra: dict[str, Any] = {}

    def reply(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> dict[str, Any]:
        self.bodies.append({"authorization": headers["Authorization"], **body})
        if path.endswith("/embeddings"):
            rows = [{"index": n, "embedding": [float(len(text)), 1.0, 0.0]} for n, text in enumerate(body["input"])]
            return {"data": rows}
        if path.endswith("/rerank"):
            scores = [min(len(text) / 1000, 1.0) for text in body["documents"]]
            return {"results": [{"index": n, "relevance_score": score} for n, score in enumerate(scores)]}
        if body["model"] == "slow":
            self.open.wait(WITHIN_S)
        message = {"role": "assistant", "content": f"{body['model']}: 네", **self.extra}
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3},
        }


FILE = """
[[models]]
name = "quick"
engine = "openai"
url = "{url}"
api_key_env = "QUICK_KEY"
context_length = 4096
limits = {{ max_tokens = 1000 }}
price = {{ input = 0.1, output = 0.4 }}
adapters = {{ legal = "legal-lora" }}

[[models]]
name = "slow-1.5b"
engine = "openai"
url = "{url}"
served_as = "slow"

[[models]]
name = "vec"
engine = "openai"
url = "{url}"
tasks = ["embeddings"]

[[models]]
name = "order"
engine = "openai"
url = "{url}"
tasks = ["rerank"]
"""


PROMPT = """
language = "ko"
not_found = "없음"
variables = ["tone"]
system = "{{tone}} 말투"
user = "{{passages}} {{question}}"
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine().running() as server:
        yield server


@pytest.fixture(scope="module")
def stack(engine: Engine, stack_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "models.toml").write_text(FILE.format(url=engine.url), encoding="utf-8")
    (folder / "prompts").mkdir()
    (folder / "prompts" / "formal@1.toml").write_text(PROMPT, encoding="utf-8")
    settings = {
        "WELIP_PROMPTS": str(folder / "prompts"),
        "WELIP_MODELS": str(folder / "models.toml"),
        "QUICK_KEY": "hush",
        "WELIP_WORKER_DRAIN": "0.5",
    }
    with Up(folder / "data", "--postgres", stack_database, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack: Up) -> Iterator[Client]:
    with stack.client() as connected:
        yield connected


@pytest.fixture(scope="module")
def official(stack: Up) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0) as connected:
        yield connected


def done(client: Client, kind: str, input: dict[str, Any], **fields: Any) -> Any:
    job = client.wait(client.submit(kind, input, **fields).id, WITHIN_S)
    assert job.state == "succeeded", job.error
    return job.result


def refused(stack: Up, kind: str, input: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.post(f"{stack.url}/v1/jobs", json={"kind": kind, "input": input}, timeout=60)
    assert answer.status_code == 422, answer.text
    found: dict[str, Any] = answer.json()
    return found
