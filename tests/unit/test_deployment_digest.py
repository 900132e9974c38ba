"""Whether answers of an earlier evaluation may still be those of this deployment."""

from pathlib import Path
from typing import Any

import pytest

from consumers.bootstrap import AdapterSettings
from infra.models import read_models
from infra.settings import (
    AnalysisSettings,
    BlobsSettings,
    EmbedderSettings,
    GeneratorSettings,
    IndexSettings,
    LimitSettings,
    ModelSettings,
    ParserSettings,
    PromptSettings,
    RerankerSettings,
)

PROMPT = """
language = "ko"
system = "{system}"
user = "{{{{passages}}}} {{{{question}}}}"
not_found = "없습니다."
"""


def digest(
    generator: dict[str, Any] | None = None, reranker: dict[str, Any] | None = None, prompts: Path | None = None
) -> str:
    chosen = GeneratorSettings.model_validate({"WELIP_GENERATOR": "openai", **(generator or {})})
    ranking = RerankerSettings.model_validate(reranker or {})
    return AdapterSettings(
        BlobsSettings(),
        IndexSettings(),
        chosen,
        EmbedderSettings(),
        ranking,
        ParserSettings(),
        AnalysisSettings(),
        LimitSettings(),
        read_models(ModelSettings(), chosen, EmbedderSettings(), ranking),
        prompts=PromptSettings(WELIP_PROMPTS=prompts),
    ).digest()


def prompts(folder: Path, system: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "mine@1.toml").write_text(PROMPT.format(system=system))
    return folder


def test_what_shapes_answers_changes_it(tmp_path: Path) -> None:
    found = {
        digest(),
        digest({"model": "another"}),
        digest({"url": "http://other/v1"}),
        digest({"body": '{"top_p": 0.5}'}),
        digest(reranker={"WELIP_RERANKER": "cross-encoder"}),
        digest(prompts=prompts(tmp_path / "one", "Be short.")),
        digest(prompts=prompts(tmp_path / "one", "Be long.")),
    }
    assert len(found) == 7


@pytest.mark.parametrize("secret", [{"api_key": "x"}, {"api_key": "another"}])
def test_a_new_key_does_not(secret: dict[str, str]) -> None:
    assert digest(secret) == digest({"api_key": "first"})


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    assert digest(prompts=prompts(tmp_path / "a", "x")) == digest(prompts=prompts(tmp_path / "b", "x"))
