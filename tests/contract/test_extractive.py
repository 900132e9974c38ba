"""Answers without a model quote literally, the answering sentence first, and say so when there is nothing to quote."""

import math
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from infra.engines.asked import Asked, Kind
from infra.engines.extractive import NOT_FOUND, ExtractiveAnswerer
from infra.engines.passages import read, whole
from infra.local import sample
from infra.text.kiwi import shared_analyser
from schemas.retrieval import GeneratedAnswer, Passage

TEXTS = [
    "경복궁은 1395년에 창건된 조선 왕조의 법궁이다. 임진왜란 때 불에 탔다. 고종 때 다시 지었다.",
    "한라산은 제주도에 있는 해발 1,947미터의 화산이다. 남한에서 가장 높다.",
    "비빔밥은 밥에 나물과 고추장을 넣어 비벼 먹는 음식이다.",
]
TOWER = (
    "가람곶 등대는 북쪽 해안의 절벽 위에 서 있다. 처음 불을 밝힌 것은 1911년이다. 탑의 높이는 21미터이다. "
    "지금의 등대지기는 노을진이다. 안개가 짙은 날에는 무적을 울리기 때문에 배들이 길을 잃지 않는다."
)

engine = ExtractiveAnswerer()


def passages(*texts: str, title: str | None = None, heading: str | None = None) -> list[Passage]:
    return [
        Passage(f"d{n}", f"c{n}", title, text, 0, len(text), 1.0 / (n + 1), heading=heading)
        for n, text in enumerate(texts)
    ]


def windows(text: str, *spans: tuple[int, int]) -> list[Passage]:
    return [Passage("d", f"c{n}", None, text[a:b], a, b, 1.0 / (n + 1)) for n, (a, b) in enumerate(spans)]


async def ask(question: str, given: list[Passage]) -> GeneratedAnswer:
    return engine.answer(question, given)


def quotes(answer: GeneratedAnswer) -> list[tuple[str, Passage]]:
    """What was quoted, with its source; fails unless every line ends in a citation mark."""
    found = []
    for line in answer.text.splitlines():
        quote, _, mark = line.rpartition(" [")
        found.append((quote, answer.citations[int(mark.removesuffix("]")) - 1]))
    return found


async def test_the_answering_sentence_is_quoted_with_its_source() -> None:
    given = passages(*TEXTS)
    answer = await ask("한라산의 높이는 해발 몇 미터인가요?", given)
    assert answer.found
    assert answer.text == "한라산은 제주도에 있는 해발 1,947미터의 화산이다. [1]"
    assert list(answer.citations) == [given[1]]
    assert answer.model == engine.name == "extractive"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("가람곶 등대는 언제 처음 불을 밝혔나요?", "1911년"),
        ("가람곶 등대의 높이는 얼마인가요?", "21미터"),
        ("가람곶 등대의 등대지기는 누구인가요?", "노을진"),
        ("가람곶 등대는 어디에 서 있나요?", "절벽 위"),
        ("가람곶 등대는 안개가 짙은 날 왜 무적을 울리나요?", "때문에"),
    ],
)
async def test_the_sentence_that_brings_what_is_asked_comes_first(question: str, answer: str) -> None:
    first, _ = quotes(await ask(question, passages(TOWER, *TEXTS)))[0]
    assert answer in first


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("해례본을 지켜 낸 수집가는 누구인가요?", Kind.PERSON),
        ("누가 거중기를 만들었나요?", Kind.PERSON),
        ("이궁은 언제 세워졌나요?", Kind.TIME),
        ("경복궁을 다시 세운 해는?", Kind.TIME),
        ("하굿둑이 생긴 것은 몇 년인가요?", Kind.TIME),
        ("하권은 지금 어느 곳에 남아 있나요?", Kind.PLACE),
        ("두 강은 어디에서 만나나요?", Kind.PLACE),
        ("물은 몇 도에서 가장 무거운가요?", Kind.AMOUNT),
        ("연차휴가는 며칠인가요?", Kind.AMOUNT),
        ("한라산의 높이는?", Kind.AMOUNT),
        ("면은 왜 쫄깃한가요?", Kind.REASON),
        ("이 현상을 뭐라고 부르나요?", Kind.NAME),
        ("화첩의 이름은 무엇인가요?", Kind.NAME),
        ("국수는 무엇으로 뽑나요?", Kind.THING),
        ("《사람은 무엇으로 사는가》는 누가 썼나요?", Kind.PERSON),
        ("물을 먹여도 되나요?", None),
    ],
)
def test_what_a_question_asks_for(question: str, kind: Kind | None) -> None:
    (sentences,) = read(shared_analyser(), [question])
    assert Asked(whole(sentences)).kind == kind


async def test_a_sentence_inherits_its_topic_from_the_title() -> None:
    title, text = "경복궁", "1395년에 창건되었으며 정도전이 이름을 지었다. 임진왜란 때 불에 탔다."
    answer = await ask("경복궁의 이름을 지은 사람은 누구인가요?", passages(text, title=title))
    assert quotes(answer)[0][0] == "1395년에 창건되었으며 정도전이 이름을 지었다."
    assert title not in answer.text, "the title is context, it is not quoted"
    assert not (await ask("경복궁의 이름을 지은 사람은 누구인가요?", passages(text))).found


async def test_a_heading_counts_and_is_not_quoted() -> None:
    heading = "제2장 시설 > 제3조 등명기"
    given = passages("제3조 등명기\n\n두 대를 갖추고 매월 점검한다.", heading=heading)
    answer = await ask("등명기는 몇 대를 갖추나요?", given)
    assert answer.text == "두 대를 갖추고 매월 점검한다. [1]"


async def test_a_row_of_a_table_is_quoted_alone() -> None:
    table = "시설 점검표이다.\n\n시설 | 수량 | 점검\n등명기 | 2대 | 매월\n무적 | 1대 | 분기\n\n모두 이상이 없다."
    answer = await ask("등명기는 몇 대 있나요?", passages(table))
    assert quotes(answer)[0][0] == "등명기 | 2대 | 매월"


async def test_a_passage_that_is_its_title_is_nothing_to_quote() -> None:
    answer = await ask("경복궁 창건 연도", passages("경복궁 창건 연도", title="경복궁 창건 연도"))
    assert (answer.found, list(answer.citations)) == (False, [])


async def test_a_sentence_that_points_back_brings_the_one_before() -> None:
    text = "조선의 천문학자 이순지는 칠정산을 지었다. 그는 1465년에 세상을 떠났다. 칠정산은 달력이다."
    answer = await ask("이순지는 언제 세상을 떠났나요?", passages(text))
    assert [quote for quote, _ in quotes(answer)][:2] == [
        "그는 1465년에 세상을 떠났다.",
        "조선의 천문학자 이순지는 칠정산을 지었다.",
    ]


async def test_two_sources_are_cited_and_every_mark_is() -> None:
    twins = passages("경복궁은 1395년에 창건되었다.", "조선의 경복궁은 1395년에 창건된 궁이다.")
    answer = await ask("경복궁은 1395년에 창건되었나요?", twins)
    assert [line[-3:] for line in answer.text.splitlines()] == ["[1]", "[2]"]
    assert list(answer.citations) == twins


async def test_overlapping_windows_give_a_sentence_once() -> None:
    given = windows(TOWER, (0, 75), (27, 110), (27, len(TOWER)))
    said = quotes(await ask("가람곶 등대가 처음 불을 밝힌 것은 언제인가요?", given))
    spans = sorted((p.start + p.text.index(quote), p.start + p.text.index(quote) + len(quote)) for quote, p in said)
    assert "1911년" in said[0][0]
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


async def test_the_same_words_in_two_documents_are_quoted_once() -> None:
    answer = await ask("경복궁은 언제 창건된 조선의 법궁인가?", passages(TEXTS[0], TEXTS[0]))
    assert len({quote for quote, _ in quotes(answer)}) == len(quotes(answer))
    assert quotes(answer)[0][0].startswith("경복궁은 1395년")


@pytest.mark.parametrize(
    "question",
    [
        "쿠버네티스 파드를 재시작하려면 어떤 명령을 쓰나요?",
        "연차 휴가는 며칠인가요?",
        "백두산의 높이는 몇 미터인가요?",
        "하늘섬 등대의 탑은 높이가 얼마인가요?",
        "비빔밥을 발명한 요리사는 누구인가요?",
        "???",
        "뭐가 있나요?",
        "",
    ],
)
async def test_a_question_about_something_else_is_not_answered(question: str) -> None:
    answer = await ask(question, passages(TOWER, *TEXTS))
    assert (answer.found, answer.text, list(answer.citations)) == (False, NOT_FOUND, [])


@pytest.mark.parametrize("given", [[], passages(""), passages(" \n\t "), passages("\x00\ud800"), passages("!?…")])
async def test_nothing_to_quote_is_not_found(given: list[Passage]) -> None:
    assert not (await ask("경복궁은 언제 창건되었나?", given)).found


@pytest.mark.parametrize(
    "text",
    [
        "경복궁은 1395년에 창건된 법궁이다.\x00 고종이 다시 지었다.",
        "🏯 경복궁은 1395년에 창건된 조선 왕조의 법궁이다 🎉🎉",
        "景福宮 경복궁은 洪武 28년, 곧 1395년에 창건된 법궁이다.",
        "경복궁은 1395년에 창건된 법궁이다. ㅋㅋㅋ ㅠㅠ",
        "בית 경복궁은 1395년에 창건된 법궁이다. العربية",
        "한글 자모 경복궁은 1395년에 창건된 법궁이다.",
        "| 궁 | 창건 |\n| --- | --- |\n| 경복궁 | 1395년에 창건 |",
        "경복궁은 1395년에 창건된 " + "크고 아름다운 " * 3000 + "법궁이다.",
    ],
)
async def test_quotes_are_literal_in_any_text(text: str) -> None:
    answer = await ask("경복궁은 언제 창건되었나요?", passages(text))
    assert answer.found
    for quote in "\n".join(line for line in answer.text.split("\n")).split(" [1]\n"):
        assert quote.removesuffix(" [1]") in text


async def test_evidence_is_a_share_and_the_answer_repeats() -> None:
    answerer = ExtractiveAnswerer()
    given = passages(TOWER, *TEXTS)
    question = "가람곶 등대의 높이는 얼마인가요?"
    evidence = answerer.evidence(question, given)
    assert all(0 <= share <= 1 and not math.isnan(share) for share in evidence)
    assert max(evidence) == evidence[0]
    answers = [answerer.answer(question, given) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]


async def test_scores_of_the_index_are_not_needed() -> None:
    given = [replace(passage, score=0.0, scores={}) for passage in passages(*TEXTS)]
    assert (await ask("한라산의 높이는 해발 몇 미터인가요?", given)).found


async def test_most_sample_questions_are_answered_in_the_first_sentence() -> None:
    documents = {document["id"]: document for document in sample.documents()}
    others = list(documents)
    asked = [question for question in sample.questions() if question["answer"]]
    hits = 0
    for question in asked:
        own = documents[question["document_id"]]
        near = others[(others.index(own["id"]) + 1) % len(others)]
        given = [
            Passage(d["id"], d["id"], d["title"], d["text"], 0, len(d["text"]), 1.0) for d in (own, documents[near])
        ]
        answer = await ask(question["question"], given)
        hits += answer.found and question["answer"] in quotes(answer)[0][0]
    assert hits >= 0.85 * len(asked)


async def test_five_passages_take_little_time() -> None:
    text = " ".join([TOWER, *TEXTS])[:400]
    given = passages(*(text.replace("가람곶", name) for name in ("가람곶", "나리섬", "다솜항", "라온만", "마루끝")))
    await ask("나리섬 등대의 높이는 얼마인가요?", given)
    took = []
    for _ in range(15):
        began = time.process_time()
        await ask("나리섬 등대의 높이는 얼마인가요?", given)
        took.append(time.process_time() - began)
    assert min(took) < 0.1, "it takes 0.02 s where nothing else runs"
