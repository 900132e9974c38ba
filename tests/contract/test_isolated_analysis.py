"""Kiwi behind isolated processes gives the same terms, and only a text that freezes it is refused."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import psutil
import pytest

from infra.analysis.answers import IsolatedAnswerer
from infra.analysis.limits import MODULE
from infra.analysis.sparse import IsolatedSparseEncoder
from infra.engines.extractive import ExtractiveAnswerer
from infra.isolation.forks import ForkServer
from infra.settings import AnalysisSettings
from infra.text.sparse import KiwiSparseEncoder
from schemas.collections import Chunking, SparseSettings
from schemas.errors import DocumentRefused, InvalidInput
from schemas.requester import Requester
from schemas.retrieval import Passage, Sentence
from schemas.topics import Lane
from tests.contract.isolated import forked, servers, until

BULK, INTERACTIVE = Requester("t", Lane.BULK), Requester("t", Lane.INTERACTIVE)
TEXTS = ["한라산은 높이가 1,947미터이다. 제주도에 있다.", "", "표 | 값\n높이 | 1,947", "각" * 500]
SETTINGS = [
    SparseSettings(),
    SparseSettings(words=("한라 산", "위립"), synonyms=(("높이", "고도"),), correct_spacing=True),
    SparseSettings(words=tuple(f"낱말{number}" for number in range(1_000))),
]
ENDLESS = "\0끝없다"
"""Makes these tests' analyser spin: no real text takes long enough to be watched."""


@pytest.fixture(scope="module")
async def encoder() -> AsyncIterator[IsolatedSparseEncoder]:
    made = IsolatedSparseEncoder(ForkServer(MODULE), AnalysisSettings(processes=1, question_processes=1))
    await made.warm()
    yield made
    await made.close()
    assert servers(MODULE) == []


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "words", "many words"])
async def test_terms_are_those_of_the_encoder_itself(encoder: IsolatedSparseEncoder, settings: SparseSettings) -> None:
    itself = KiwiSparseEncoder()
    assert encoder.name == itself.name
    for chunking in (None, Chunking(max_chars=50)):
        expected = itself.analyse(TEXTS, settings, chunking)
        assert await encoder.analyse(TEXTS, settings, chunking, by=BULK) == expected
    question = "한라 산의 고도는?"
    assert await encoder.encode_query(question, settings, by=BULK) == itself.encode_query(question, settings)
    assert (await encoder.encode_query("?!", settings, by=BULK)).indices == []
    pieces = [sentence.terms for text in itself.analyse(TEXTS, settings) for sentence in text]
    assert encoder.weigh(pieces, settings) == itself.weigh(pieces, settings)


async def test_answers_are_those_of_the_answerer_itself() -> None:
    answerer = IsolatedAnswerer(ForkServer(MODULE), AnalysisSettings(question_processes=1))
    given = [
        Passage(
            "d1", "c1", "한라산", "한라산은 높이가 1,947미터이다. 제주도에 있다.", 0, 28, 2.0, metadata={"year": 1}
        ),
        Passage("d2", "c2", None, "설악산은 강원도에 있다.", 5, 18, 1.0, heading="산"),
    ]
    itself = ExtractiveAnswerer()
    for question in ("한라산의 높이는?", "설악산은 어디에 있나?", "고래는 무엇을 먹나?", "?"):
        expected = itself.answer(question, given)
        assert await answerer.answer(question, given, None, by=BULK) == expected
    assert (await answerer.answer("한라산의 높이는?", given, None, by=BULK)).citations[0] is given[0]
    assert (await answerer.answer("높이는?", [], None, by=BULK)).found is False
    await answerer.close()


async def test_processes_share_one_kiwi(encoder: IsolatedSparseEncoder) -> None:
    await encoder.analyse(TEXTS, SparseSettings(), by=BULK)
    await encoder.analyse(TEXTS, SparseSettings(), by=INTERACTIVE)
    await encoder.encode_query("높이", SparseSettings(), by=BULK)
    assert len(forked(MODULE)) == 3
    for process in forked(MODULE):
        assert process.memory_full_info().uss < 100 * 1024**2


async def test_this_process_has_loaded_no_kiwi() -> None:
    script = (
        "import asyncio, sys\n"
        "from infra.analysis.sparse import IsolatedSparseEncoder\n"
        "import infra.analysis.answers, infra.documents.parser, infra.corpora.reader\n"
        "print('kiwipiepy' in sys.modules, 'selectolax' in sys.modules)"
    )
    import sys

    made = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    said, _ = await made.communicate()
    assert said.split() == [b"False", b"False"]


@pytest.fixture
async def fragile() -> AsyncIterator[IsolatedSparseEncoder]:
    """Processes with a short time limit."""
    settings = AnalysisSettings(processes=1, question_processes=1, timeout=timedelta(seconds=0.5))
    made = IsolatedSparseEncoder(ForkServer("tests.contract.endless_analysis"), settings)
    yield made
    await made.close()


async def test_the_culprit_of_a_batch_is_refused_and_the_others_are_analysed(fragile: IsolatedSparseEncoder) -> None:
    first, culprit, last = await fragile.analyse(["산이다.", ENDLESS, "강이다."], SparseSettings(), by=BULK)
    assert isinstance(culprit, DocumentRefused)
    assert culprit.reason == "analysis_timeout"
    assert "WELIP_ANALYSIS_TIMEOUT" in culprit.message
    assert [type(one) for sentences in (first, last) for one in sentences] == [Sentence, Sentence]


async def test_a_question_that_takes_too_long_fails_with_a_code(fragile: IsolatedSparseEncoder) -> None:
    with pytest.raises(InvalidInput) as caught:
        await fragile.encode_query(ENDLESS, SparseSettings(), by=BULK)
    assert (caught.value.reason, caught.value.field) == ("analysis_timeout", "input.question")


async def test_questions_go_on_while_every_analyser_hangs_and_cancelling_ends_them() -> None:
    module = "tests.contract.endless_analysis"
    settings = AnalysisSettings(processes=1, question_processes=1, timeout=timedelta(minutes=10))
    encoder = IsolatedSparseEncoder(ForkServer(module), settings)
    asking = [
        asyncio.create_task(encoder.analyse([ENDLESS], SparseSettings(), by=by)) for by in (BULK, INTERACTIVE) * 4
    ]

    def at_work() -> list[psutil.Process]:
        return [process for process in forked(module) if process.name().startswith("welip-analyse")]

    await until(lambda: len(at_work()) >= 2)
    async with asyncio.timeout(60):
        assert (await encoder.encode_query("높이", SparseSettings(), by=BULK)).indices
    for one in asking:
        one.cancel()
    async with asyncio.timeout(60):
        await asyncio.wait(asking)
    assert at_work() == []
    await encoder.close()
