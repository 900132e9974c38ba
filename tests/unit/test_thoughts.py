"""A model's thoughts, in any form, are not part of its answer, and are not streamed either."""

import pytest

from infra.engines.thoughts import Spoken, spoken

ANSWER = "한라산의 높이는 1,947미터이다 [1]."

ANNOUNCED = {
    "a tag": f"<think>자료 [2]를 보자.</think>\n\n{ANSWER}",
    "in capitals": f"<Think>하나</Think>\n{ANSWER}",
    "with attributes": f'<think duration="3">하나\n</think>\n{ANSWER}',
    "two of them": f"<think>하나</think>\n<think>둘</think>\n{ANSWER}",
    "an empty one": f"<think>\n\n</think>\n{ANSWER}",
    "closed in itself": f"<think/>{ANSWER}",
    "thinking": f"<thinking>자료를 보자.</thinking>\n{ANSWER}",
    "thought": f"<thought>\n자료를 보자.\n</thought>\n\n{ANSWER}",
    "reasoning": f"<reasoning>자료</reasoning>{ANSWER}",
    "with a name of a model": f"<seed:think>자료</seed:think>{ANSWER}",
    "square brackets": f"[THINK]하나[/THINK]{ANSWER}",
    "Kimi's": f"◁think▷하나◁/think▷{ANSWER}",
    "Cohere's": f"<|START_THINKING|>하나<|END_THINKING|><|START_RESPONSE|>{ANSWER}<|END_RESPONSE|>",
    "Sky's": f"<|begin_of_thought|>하나<|end_of_thought|><|begin_of_solution|>{ANSWER}<|end_of_solution|>",
    "Gemma's": f"<|channel>thought\n하나<channel|>{ANSWER}",
    "MedGemma's": f"<unused94>thought\n하나<unused95>{ANSWER}",
    "Open WebUI's": f'<details type="reasoning" done="true">\n<summary>3초</summary>\n> 하나\n</details>\n{ANSWER}',
    "channels": f"<|channel|>analysis<|message|>생각<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
    "channels from the start": "<|start|>assistant<|channel|>analysis<|message|>생각<|end|>"
    f"<|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>",
    "a frame around the answer": f"<think>하나</think><answer>\n{ANSWER}\n</answer>",
    "in the middle": ANSWER.replace("1,947", "<think>음 [2]</think>1,947"),
    "at the end": f"{ANSWER}\n<think>맞나? [2]</think>",
    "at the end, unclosed": f"{ANSWER}\n<think>맞나? [2]",
}
UNANNOUNCED = {
    "closed, never opened": f"자료 [1]과 [2]를 비교하자.\n</think>\n\n{ANSWER}",
    "thought, never opened": f"자료를 보자.\n</thought>\n\n{ANSWER}",
    "one within another": f"<think>하나 <think>둘</think> 셋</think>{ANSWER}",
    "channels without their marks": f"analysisWe need to answer [2].assistantfinal{ANSWER}",
    "a final channel alone": f"생각<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
}


@pytest.mark.parametrize("form", [*ANNOUNCED, *UNANNOUNCED])
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_only_the_answer_is_streamed_in_whatever_pieces_it_comes(form: str, size: int) -> None:
    text = {**ANNOUNCED, **UNANNOUNCED}[form]
    found = Spoken()
    shown = [found.feed(text[at : at + size]) for at in range(0, len(text), size)] + [found.end()]
    assert found.text == ANSWER
    if form in ANNOUNCED:
        assert "".join(shown) == ANSWER


@pytest.mark.parametrize(
    "text", ["<think>자료를 보자. 그런데", "[THINK]음", "<|channel|>analysis<|message|>음", "음</think>"]
)
def test_thoughts_alone_are_no_answer(text: str) -> None:
    assert spoken(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "`<think>`는 생각의 시작이다 [1].",
        "a < b 이고 b > c 이다 [1].",
        "[think tank]의 보고서 <표 1>을 보라.",
        "An assistant answers; assistants do.",
        "<details><summary>표</summary>한라산</details> 아래에 있다.",
        "끝이 <",
        "끝이 [",
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_what_only_looks_like_thoughts_stays_in_the_answer(text: str, size: int) -> None:
    found = Spoken()
    shown = [found.feed(text[at : at + size]) for at in range(0, len(text), size)] + [found.end()]
    assert "".join(shown) == found.text == text


def test_a_text_is_shown_while_it_comes() -> None:
    found = Spoken()
    assert [found.feed(piece) for piece in ("\n 한라산", "은 ", "높다.", "\n")] == ["한라산", "은", " 높다.", ""]


@pytest.mark.parametrize(
    "text", ["a < b 이고", "1 <5 이고", "1 << 2 이고", "<표 1> 이고", "<b 이고", "x <| y", "a <= b 이고"]
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_can_no_longer_become_a_mark_is_shown_at_once(text: str, size: int) -> None:
    found = Spoken()
    assert "".join(found.feed(text[at : at + size]) for at in range(0, len(text), size)) == text
