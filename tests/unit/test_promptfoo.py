"""Promptfoo's configurations become evaluations that the server takes, and what has no counterpart is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from consumers.scoring.given import Given
from consumers.scoring.graders import grades
from producers.client.cli.imports import write
from producers.client.promptfoo import Imported, PromptfooError, converted, read
from producers.client.promptfoo.notes import Notes
from schemas.kinds.evaluation import EvaluationInput, ModelVariant

TRANSLATION = """
description: Translate for travellers
prompts:
  - "Translate to {{language}}: {{text}}"
  - "You are a {{language}} teacher. Say in {{language}}: {{text}}"
providers:
  - openai:gpt-4o-mini
  - id: openai:chat:gpt-4o
    label: large
    config: {temperature: 0, max_tokens: 64, apiKey: sk-secret}
defaultTest:
  assert:
    - {type: latency, threshold: 2000}
tests:
  - vars: {language: French, text: Good morning}
    assert: [{type: contains, value: Bonjour}]
  - vars: {language: Korean, text: Thank you}
    assert: [{type: contains, value: 감사}]
"""

CHAT = """
prompts:
  - |
    [{"role": "system", "content": "Answer in {{tone}} words."},
     {"role": "user", "content": "{{item.question}}"}]
providers: [openai:responses:gpt-5-mini]
defaultTest:
  options: {provider: "openai:gpt-5"}
  vars: {tone: few}
tests:
  - vars: {item: {question: How high is Hallasan, answer: "1,947 m"}}
    assert:
      - {type: equals, value: "{{item.answer}}"}
      - {type: llm-rubric, value: Names the unit, threshold: 0.8}
  - vars: {item: {question: Where is it, answer: Jeju}}
    assert:
      - {type: equals, value: "{{item.answer}}"}
      - {type: llm-rubric, value: Names the island, threshold: 0.8}
"""


def imported(folder: Path, text: str, names: dict[str, str] | None = None, **files: str) -> Imported:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content, "utf-8")
    config = folder / "promptfooconfig.yaml"
    config.write_text(text, "utf-8")
    notes = Notes()
    made = converted(read(config, notes), notes, names)
    for one in made.evaluations:
        EvaluationInput.model_validate(one)
    return made


def graded(evaluation: dict[str, Any], item: int, answer: str) -> dict[str, float | None]:
    """What the server's own graders say of an answer to an item."""
    input = EvaluationInput.model_validate(evaluation)
    assert input.items is not None
    return grades(input.graders, input.items[item].item(item + 1), Given(succeeded=True, text=answer, found=True), [])


def test_prompts_of_several_variables_are_asked_as_they_are_filled_in(tmp_path: Path) -> None:
    made = imported(tmp_path, TRANSLATION)
    first, second = made.evaluations
    assert [item["question"] for item in first["items"]] == [
        "Translate to French: Good morning",
        "Translate to Korean: Thank you",
    ]
    assert second["items"][1]["question"] == "You are a Korean teacher. Say in Korean: Thank you"
    assert first["variants"] == [
        {"name": "gpt-4o-mini", "kind": "generation", "model": "gpt-4o-mini", "prompt": "{question}"},
        {
            "name": "large",
            "kind": "generation",
            "model": "gpt-4o",
            "prompt": "{question}",
            "temperature": 0,
            "max_tokens": 64,
        },
    ]
    assert first["items"][0]["metadata"] == {"language": "French", "text": "Good morning"}
    assert first["title"] == "Translate for travellers"
    assert made.models == ["gpt-4o", "gpt-4o-mini"]
    assert graded(first, 1, "감사합니다") == {"check_contains": 1.0}
    assert graded(first, 0, "감사합니다") == {"check_contains": 0.0}


def test_what_has_no_counterpart_is_named_and_no_secret_is_shown(tmp_path: Path) -> None:
    notes = imported(tmp_path, TRANSLATION).notes
    assert any("`latency`" in one for one in notes.lost)
    assert any("config.apiKey" in one for one in notes.lost)
    assert "sk-secret" not in str(notes)
    assert any("an evaluation for each of the 2 prompts" in one for one in notes.changed)


def test_a_conversation_with_one_question_stays_a_prompt(tmp_path: Path) -> None:
    made = imported(tmp_path, CHAT, {"openai:gpt-5": "judge"})
    [evaluation] = made.evaluations
    [variant] = EvaluationInput.model_validate(evaluation).ways
    assert isinstance(variant, ModelVariant)
    assert (variant.system, variant.prompt, variant.model) == ("Answer in few words.", "{question}", "gpt-5-mini")
    assert [item["question"] for item in evaluation["items"]] == ["How high is Hallasan", "Where is it"]
    assert evaluation["judge"] == {"model": "judge"}
    assert made.models == ["gpt-5-mini", "judge"]
    rubric = next(one for one in evaluation["graders"] if one["type"] == "score_model")
    assert rubric["pass_threshold"] == 0.8
    assert evaluation["items"][0]["reference"] == ["Names the unit", "1,947 m"], (
        "what a judge compares with comes first"
    )
    assert "{{item.reference}}" in rubric["input"][1]["content"]
    assert graded(evaluation, 0, "1,947 m")["check_equals"] == 1.0
    assert graded(evaluation, 1, "1,947 m")["check_equals"] == 0.0


def test_prompts_share_the_question_where_one_variable_differs(tmp_path: Path) -> None:
    text = """
prompts: ["{{style}} {{question}}", "Q: {{question}}"]
providers: openai:gpt-4o
tests:
  - vars: {style: Briefly., question: One}
  - vars: {style: Briefly., question: Two}
"""
    [evaluation] = imported(tmp_path, text).evaluations
    assert [one["prompt"] for one in evaluation["variants"]] == ["Briefly. {question}", "Q: {question}"]
    assert [one["question"] for one in evaluation["items"]] == ["One", "Two"]
    assert evaluation["metrics"] == ["succeeded"]


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ("{type: equals, value: Seoul}", "Seoul", "seoul"),
        ("{type: contains, value: Seoul}", "In Seoul.", "in seoul"),
        ("{type: icontains, value: SEOUL}", "in seoul", "Busan"),
        ("{type: not-contains, value: Busan}", "Seoul", "Busan"),
        ("{type: starts-with, value: Se}", "Seoul", "In Seoul"),
        ("{type: contains-any, value: [Seoul, Busan]}", "Busan", "Daegu"),
        ("{type: contains-all, value: 'Seoul, Busan'}", "Busan and Seoul", "Seoul"),
        ("{type: icontains-all, value: [SEOUL, busan]}", "seoul BUSAN", "seoul"),
        ("{type: not-icontains-any, value: [a, b]}", "xyz", "xAz"),
        ("{type: is-json}", "{}", "{"),
        ("{type: javascript, value: output.length <= 5}", "Seoul", "Seoul!"),
        ("{type: javascript, value: 'output.length === 5'}", "Seoul", "Seou"),
        ("{type: word-count, value: {min: 2, max: 3}}", "two words", "one"),
        ('{type: equals, value: "it\'s \\"quoted\\" \\\\ {0}"}', 'it\'s "quoted" \\ {0}', "it is"),
    ],
)
def test_an_assertion_is_graded_as_promptfoo_does(tmp_path: Path, check: str, right: str, wrong: str) -> None:
    text = f"prompts: ['{{{{q}}}}']\nproviders: [openai:x]\ntests: [{{vars: {{q: What}}, assert: [{check}]}}]"
    [evaluation] = imported(tmp_path, text).evaluations
    [(name, score)] = graded(evaluation, 0, right).items()
    assert score == 1.0
    assert graded(evaluation, 0, wrong)[name] == 0.0


@pytest.mark.parametrize(
    "check",
    [
        "{type: regex, value: a+}",
        "{type: python, value: len(output)}",
        "{type: javascript, value: output.includes('x')}",
        "{type: cost, threshold: 1}",
        "{type: not-llm-rubric, value: rude}",
        "{type: equals, value: {a: 1}}",
        "{type: contains, value: file://x.txt}",
        "{type: something-new}",
        "{type: contains, value: a, transform: output.text}",
        "{type: llm-rubric, value: kind, rubricPrompt: Is it kind}",
    ],
)
def test_an_assertion_without_a_counterpart_is_named(tmp_path: Path, check: str) -> None:
    text = f"prompts: ['{{{{q}}}}']\nproviders: [openai:x]\ntests: [{{vars: {{q: What}}, assert: [{check}]}}]"
    made = imported(tmp_path, text)
    [evaluation] = made.evaluations
    assert "graders" not in evaluation
    assert [one for one in made.notes.lost if "assertion" in one]


def test_tests_that_check_different_things_are_several_evaluations(tmp_path: Path) -> None:
    text = """
prompts: ["{{q}}"]
providers: [openai:x]
tests:
  - {vars: {q: One}, assert: [{type: contains, value: a}]}
  - {vars: {q: Two}, assert: [{type: is-json}]}
  - {vars: {q: Three}, assert: [{type: contains, value: b}]}
"""
    made = imported(tmp_path, text)
    assert [[item["id"] for item in one["items"]] for one in made.evaluations] == [["1", "3"], ["2"]]
    assert any("2 evaluations" in one for one in made.notes.changed)


def test_tests_come_from_tables_too_with_their_expectations(tmp_path: Path) -> None:
    made = imported(
        tmp_path,
        "prompts: [file://prompt.txt]\nproviders: [openai:x]\ntests: file://tests.csv",
        prompt__txt="Say {{word}}.\n---\nSpell {{word}}.",
        tests__csv="word,__expected,__description\n"
        'yes,"contains-any: yes, yep",agrees\n'
        'no,"contains-any: no, nay",no\n',
    )
    [evaluation] = made.evaluations
    assert [one["prompt"] for one in evaluation["variants"]] == ["Say {question}.", "Spell {question}."]
    assert evaluation["items"][1] == {
        "id": "2",
        "question": "no",
        "reference": ["no", "nay"],
        "metadata": {"description": "no"},
    }
    assert list(graded(evaluation, 1, "nay").values()) == [1.0]


def test_scenarios_and_lists_of_values_are_multiplied(tmp_path: Path) -> None:
    text = """
prompts: ["{{greeting}} {{name}}"]
providers: [openai:x]
scenarios:
  - config: [{vars: {greeting: Hi}}, {vars: {greeting: Bye}}]
    tests: [{vars: {name: [Kim, Lee]}}]
"""
    [evaluation] = imported(tmp_path, text).evaluations
    assert [one["question"] for one in evaluation["items"]] == ["Hi Kim", "Hi Lee", "Bye Kim", "Bye Lee"]


def test_yaml_is_read_as_promptfoo_reads_it(tmp_path: Path) -> None:
    text = """
prompts: ["{{q}}"]
providers: [openai:x]
assertionTemplates:
  polite: {type: icontains, value: please}
tests:
  - {vars: {q: yes}, assert: [{$ref: "#/assertionTemplates/polite"}]}
  - {vars: {q: 2026-12-01}, assert: [{type: icontains, value: thanks}]}
  - {vars: {q: true}, assert: [{type: icontains, value: 5}]}
"""
    [evaluation] = imported(tmp_path, text).evaluations
    assert [one["question"] for one in evaluation["items"]] == ["yes", "2026-12-01", "true"]
    assert [one["reference"] for one in evaluation["items"]] == [["please"], ["thanks"], ["5"]]


@pytest.mark.parametrize(("other", "room"), [("uno", True), ("eins", False)])
def test_an_item_has_one_text_to_compare_with_or_to_judge_by(tmp_path: Path, other: str, room: bool) -> None:
    text = f"""
prompts: ["{{{{q}}}}"]
providers: [openai:x]
tests:
  - {{vars: {{q: One}}, assert: [{{type: factuality, value: uno}}, {{type: similar, value: {other}, threshold: 0.8}}]}}
  - {{vars: {{q: Two}}, assert: [{{type: factuality, value: dos}}, {{type: similar, value: dos, threshold: 0.8}}]}}
"""
    made = imported(tmp_path, text)
    [evaluation] = made.evaluations
    assert [one["type"] for one in evaluation["graders"]] == ["label_model"]
    assert evaluation["judge"] == {"model": "default"}
    assert [item["reference"] for item in evaluation["items"]] == [["uno"], ["dos"]]
    assert evaluation["metrics"] == (["similarity"] if room else ["succeeded"])
    assert any("one text to compare with" in one for one in made.notes.lost) is not room


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b", "no mapping"),
        ("prompts: [", "not YAML"),
        ("tests: [{$ref: '#/gone'}]", "nothing stands at"),
        ("a: {$ref: '#/a'}", "lead to themselves"),
        ("prompts: [file://gone.txt]\nproviders: [x]\ntests: []", "gone.txt cannot be read"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PromptfooError, match=said):
        imported(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompts: ['{{q}}']\nproviders: [exec:run.sh]\ntests: [{vars: {q: a}}]", "exec:run.sh"),
        ("prompts: ['{{q}}']\nproviders: ['openai:embeddings:x']\ntests: [{vars: {q: a}}]", "no chat model"),
        ("prompts: ['{% if q %}{{q}}{% endif %}']\nproviders: [openai:x]\ntests: [{vars: {q: a}}]", "more than put"),
        ("prompts: [file://make.py]\nproviders: [openai:x]\ntests: [{vars: {q: a}}]", "program"),
        ("prompts: ['{{q}}']\nproviders: [openai:x]\ntests: file://make.js", "no programs"),
        ("prompts: ['{{q}}']\nproviders: [openai:x]\ntests: [{vars: {q: ''}}]", "empty or over"),
    ],
)
def test_what_is_left_out_whole_is_named(tmp_path: Path, text: str, said: str) -> None:
    made = imported(tmp_path, text)
    assert made.evaluations == []
    assert any(said in one for one in made.notes.lost)


def test_many_tests_go_to_a_table_of_their_own(tmp_path: Path) -> None:
    tests = [{"vars": {"q": f"Number {n}?"}} for n in range(1_001)]
    config = {"prompts": ["{{q}}"], "providers": ["openai:x"], "tests": tests}
    (tmp_path / "c.json").write_text(json.dumps(config))
    notes = Notes()
    [evaluation] = converted(read(tmp_path / "c.json", notes), notes).evaluations
    assert write([evaluation], tmp_path / "out.json") == [
        f"{tmp_path / 'out.items.jsonl'} --settings {tmp_path / 'out.json'}"
    ]
    assert "items" not in json.loads((tmp_path / "out.json").read_text())
    assert len((tmp_path / "out.items.jsonl").read_text().splitlines()) == 1_001
