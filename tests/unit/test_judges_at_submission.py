"""A judge that is not there, and metrics that need what is not installed, are refused before anything is stored."""

from typing import Any

import pytest

from gateway.jobs.submit import Submitter
from gateway.webhooks.receivers import Receivers
from infra.postgres.database import Database
from infra.settings import PostgresSettings, WebhookSettings
from schemas.errors import DependencyUnavailable, InvalidInput
from schemas.jobs import Submission
from schemas.kinds.registry import KINDS
from schemas.models import ModelNotFound, Models, OpenAIModel
from schemas.prompts import Prompts

MODELS = Models((OpenAIModel(name="judge", engine="openai", url="http://judge/v1"),))
EVALUATION: dict[str, Any] = {"items": [{"question": "?", "reference": "!"}], "collection": "ko"}
CALIBRATION: dict[str, Any] = {"items": [{"question": "?", "answer": "!", "human": True}]}
PROMOTION: dict[str, Any] = EVALUATION | {"alias": "a", "judge": {"model": "judge"}, "metrics": ["faithfulness"]}


async def submit(kind: str, input: dict[str, Any], *, ragas: bool) -> None:
    """Submit to a gateway whose database is never reached: what is not refused ends as `DependencyUnavailable`."""
    database = Database(PostgresSettings(), application="test")
    submitter = Submitter(
        database, lambda **_: None, Receivers(database, WebhookSettings()), MODELS, Prompts([]), ragas=ragas
    )
    await submitter.submit("t", Submission(kind=kind, input=KINDS[kind].input.model_validate(input)))


@pytest.mark.parametrize(
    ("kind", "input"),
    [
        ("evaluation", EVALUATION | {"judge": {"model": "judge"}}),
        ("evaluation", EVALUATION | {"judge": {"model": "judge"}, "metrics": ["f1", "faithfulness"]}),
        ("calibration", CALIBRATION | {"judge": {"model": "judge"}, "metric": "faithfulness"}),
        ("promotion", PROMOTION | {"model": "judge"}),
        ("training", {"dataset": f"file_{'0' * 32}", "register_as": "x", "gate": PROMOTION}),
    ],
)
async def test_metrics_of_ragas_are_refused_where_it_is_not_with_the_remedy(kind: str, input: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"pip install 'welip\[eval\]'") as refused:
        await submit(kind, input, ragas=False)
    assert refused.value.reason == "dependency_missing"
    with pytest.raises(DependencyUnavailable):
        await submit(kind, input, ragas=True)


async def test_graders_and_metrics_without_a_judge_need_no_ragas() -> None:
    turns = [{"role": "user", "content": "?"}]
    grader = {"type": "score_model", "name": "good", "model": "judge", "input": turns}
    for input in (EVALUATION, EVALUATION | {"graders": [grader]}):
        with pytest.raises(DependencyUnavailable):
            await submit("evaluation", input, ragas=False)


async def test_a_gate_whose_alias_has_a_models_name_is_refused() -> None:
    gate = EVALUATION | {"alias": "judge"}
    with pytest.raises(InvalidInput, match="is a model of this deployment") as refused:
        await submit("training", {"dataset": f"file_{'0' * 32}", "register_as": "x", "gate": gate}, ragas=True)
    assert (refused.value.reason, refused.value.field) == ("alias_taken", "input.gate.alias")


async def test_a_judge_that_is_not_here_is_refused_by_name() -> None:
    with pytest.raises(ModelNotFound, match="'nobody' is not here; models for 'chat': judge") as refused:
        await submit("evaluation", EVALUATION | {"judge": {"model": "nobody"}}, ragas=True)
    assert refused.value.field == "input.judge.model"
