"""Prompts are checked when a process starts and when a job is submitted, so that no model is told half a sentence."""

from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.jobs.prompts import settle_prompt
from infra.prompts.reader import OURS, PromptsInvalid, read_prompts
from infra.settings import PromptSettings
from schemas.errors import InvalidInput
from schemas.kinds.inference import InferenceInput
from schemas.models import WITHOUT_MODELS, ModelsFile
from schemas.prompts import PromptNotFound, Prompts, PromptVariables, Purpose, filled

[QUOTES] = WITHOUT_MODELS.rows
[CHATS] = ModelsFile.model_validate({"models": [{"name": "m", "engine": "openai", "url": "http://x"}]}).models
FORMAL = """
language = "ko"
not_found = "자료에 없습니다"
variables = ["tone"]
system = '{{tone}} 말투로, 없으면 "{{not_found}}". JSON 예: {"a": {"b": 1}}'
user = "{{ passages }}\\n{{question}}"
"""


def own(folder: Path, **files: str) -> Prompts:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return read_prompts(PromptSettings.model_validate({"WELIP_PROMPTS": folder}))


def asked(**generate: Any) -> InferenceInput:
    return InferenceInput.model_validate({"collection": "c", "question": "질문은?", "generate": generate})


def test_welips_own_prompts_are_there_for_every_purpose_in_both_languages() -> None:
    prompts = read_prompts(PromptSettings.model_validate({}))
    assert len(list(OURS.glob("*.toml"))) == 2 * len(get_args(Purpose))
    for purpose in get_args(Purpose):
        assert len(prompts.names(purpose)) == 2
        assert prompts.default(purpose, "높이는?").file.language == "ko"
        assert prompts.default(purpose, "How high?").file.language == "en"
        assert prompts.default(purpose, "How high?", "ko").file.language == "ko"


def test_a_deployments_next_version_is_the_default_and_the_first_stays(tmp_path: Path) -> None:
    text = (OURS / "rag-ko@1.toml").read_text(encoding="utf-8").replace("간결하게", "길게")
    prompts = own(tmp_path, **{"rag-ko@2": text})
    assert str(prompts.default("answer", "높이는?")) == "rag-ko@2"
    assert prompts.wanted("rag-ko@1", "answer", field="f").version == 1
    assert prompts.wanted("rag-ko", "answer", field="f").version == 2


def test_variables_are_filled_in_once_and_braces_stay(tmp_path: Path) -> None:
    prompts = own(tmp_path, **{"formal@1": FORMAL})
    prompt = prompts.checked("formal", {"tone": "정중한 {{question}}"}, field="f")
    system, user = prompt.messages({"tone": "정중한 {{question}}", "passages": "$1 {x} {{y}}", "question": "질문"})
    assert system.content == '정중한 {{question}} 말투로, 없으면 "자료에 없습니다". JSON 예: {"a": {"b": 1}}'
    assert user.content == "$1 {x} {{y}}\n질문"
    assert filled("{{a}}{{ b }}{c}", {"a": "{{b}}", "b": "2"}) == "{{b}}2{c}"
    assert prompts.says_not_found("죄송하지만 자료에 없습니다.")


BROKEN = {
    "not TOML": ("x@1", "language = ", "x@1.toml"),
    "no version": ("x", FORMAL, "like rag-ko@1.toml"),
    "version 0": ("x@0", FORMAL, "like rag-ko@1.toml"),
    "a name with a space": ("a b@1", FORMAL, "like rag-ko@1.toml"),
    "another language": ("x@1", FORMAL.replace('"ko"', '"fr"'), "language"),
    "an unknown field": ("x@1", FORMAL + 'colour = "red"', "colour"),
    "an unknown variable": ("x@1", FORMAL.replace("{{tone}}", "{{tone}} {{mood}}"), "'mood'"),
    "an unused variable": ("x@1", FORMAL.replace("{{tone}}", ""), "'tone'"),
    "one of WeLIP's declared": ("x@1", FORMAL.replace('["tone"]', '["tone", "question"]'), "'question'"),
    "no passages": ("x@1", FORMAL.replace("{{ passages }}", ""), "{{passages}}"),
    "no question": ("x@1", FORMAL.replace("{{question}}", ""), "{{question}}"),
    "no sentence for nothing": ("x@1", FORMAL.replace("not_found =", "# "), "not_found"),
    "one that is there": ("rag-ko@1", (OURS / "rag-ko@1.toml").read_text(encoding="utf-8"), "next version"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_cannot_be_used_ends_the_start_and_is_named(case: str, tmp_path: Path) -> None:
    name, text, why = BROKEN[case]
    with pytest.raises(PromptsInvalid) as caught:
        own(tmp_path, **{name: text})
    assert why in caught.value.message
    assert name in caught.value.message or "next version" in why


def test_a_folder_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(PromptsInvalid, match="no such folder"):
        read_prompts(PromptSettings.model_validate({"WELIP_PROMPTS": tmp_path / "none"}))


class TestSubmitting:
    def test_a_job_keeps_to_the_version_that_was_the_newest(self, tmp_path: Path) -> None:
        prompts = own(tmp_path, **{"formal@1": FORMAL, "formal@3": FORMAL})
        given = asked(prompt="formal", variables={"tone": "정중한"})
        settle_prompt(given, CHATS, prompts)
        assert given.generate is not None
        assert given.generate.prompt == "formal@3"

    @pytest.mark.parametrize(
        ("generate", "error", "field", "why"),
        [
            ({"prompt": "none"}, PromptNotFound, "prompt", "formal@1, rag-en@1, rag-ko@1"),
            ({"prompt": "formal@2"}, PromptNotFound, "prompt", "formal@1"),
            ({"prompt": "condense-ko"}, PromptNotFound, "prompt", "rag-ko@1"),
            ({"prompt": "formal"}, PromptVariables, "variables", "needs the variable 'tone'"),
            ({"prompt": "formal", "variables": {"tone": "", "mood": ""}}, PromptVariables, "variables", "'mood'"),
            ({"prompt": "rag-ko", "variables": {"tone": ""}}, PromptVariables, "variables", "it has: none"),
        ],
    )
    def test_what_the_prompt_lacks_is_refused_with_what_there_is(
        self, tmp_path: Path, generate: dict[str, Any], error: type[InvalidInput], field: str, why: str
    ) -> None:
        with pytest.raises(error, match=why) as caught:
            settle_prompt(asked(**generate), CHATS, own(tmp_path, **{"formal@1": FORMAL}))
        assert caught.value.field == f"input.generate.{field}"

    @pytest.mark.parametrize(
        ("generate", "field"),
        [({"prompt": "rag-ko"}, "prompt"), ({"response_format": {"type": "json_object"}}, "response_format")],
    )
    def test_who_quotes_passages_takes_neither_prompt_nor_form(self, generate: dict[str, Any], field: str) -> None:
        prompts = read_prompts(PromptSettings.model_validate({}))
        with pytest.raises(InvalidInput, match="name a language model") as caught:
            settle_prompt(asked(**generate), QUOTES, prompts)
        assert caught.value.field == f"input.generate.{field}"
        settle_prompt(asked(response_format={"type": "text"}), QUOTES, prompts)
        settle_prompt(asked(**generate), CHATS, prompts)

    @pytest.mark.parametrize(
        "generate",
        [
            {"response_format": {"type": "xml"}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "objekt"}}}},
            {"prompt": "a b"},
            {"prompt": "rag-ko@0"},
            {"temperature": float("nan")},
            {"max_tokens": 0},
            {"max_tokens": 10**9},
        ],
    )
    def test_what_no_question_may_ask_for_is_refused(self, generate: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(generate))):
            asked(**generate)

    def test_variables_without_a_prompt_are_refused(self) -> None:
        with pytest.raises(ValueError, match="name the `prompt`"):
            asked(variables={"tone": "x"})
