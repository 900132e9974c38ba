"""The second stage of `synthesis`: reads what the model wrote, drops what is no question, and searches for the rest."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from pydantic import BaseModel

from consumers.stages.answers import answer_of
from consumers.stages.context import StageJob
from consumers.stages.lines import read_lines
from consumers.stages.ports import ChildSummary, Ports, needs
from consumers.stages.replies import UnreadableReply, read
from schemas.kinds.inference import InferenceInput, TokenUsage
from schemas.kinds.synthesis import Flag, Sampled, SynthesisInput, Written
from schemas.outcomes import Child, FanOut, Next, Outcome
from schemas.topics import Lane

NEEDS: Final = needs(Ports.blobs, Ports.children, Ports.files)

MAX_QUESTION_CHARS: Final = 500
MAX_ANSWER_CHARS: Final = 2_000
GROUNDED: Final = 0.6
"""An answer is the passage's own when this share of its character trigrams stands there."""

FATAL: Final[frozenset[Flag]] = frozenset({"failed", "unreadable", "nothing_to_ask", "duplicate"})
"""A question with one of these is not searched for."""

Job = StageJob[SynthesisInput, Sampled]
Line = dict[str, Any]


class Reply(BaseModel):
    """What the prompt asks the model for."""

    question: str
    answer: str


async def run(job: Job, ports: Ports) -> Outcome:
    """Write each question with its passage and its flags to a blob; make a search of each that may be accepted."""
    # Imported here: without the group `cpu` a worker says what it lacks when it opens its ports.
    from consumers.scoring.texts import text_key
    from consumers.stages.near import Sketches

    lines: list[Line] = []
    prompt_tokens = tokens = 0
    model = job.input.model
    passages = read_lines(ports.blobs, job.carry.passages)
    async for child in ports.children.results(job.id):
        passage = orjson.loads(await anext(passages))
        answer = await answer_of(ports, child)
        tokens += answer.tokens
        prompt_tokens += answer.prompt_tokens
        model = answer.model or model
        lines.append({"id": child.key, **passage, **_written(child, answer.given.text, passage["text"])})
        await job.report(len(lines), job.carry.count, "reading the questions")
    sketches, seen, fit = Sketches(), set[str](), []
    for line in lines:
        if FATAL & set(line["flags"]):
            continue
        asked = text_key(line["question"])
        if asked in seen:
            line["flags"].append("duplicate")
            continue
        seen.add(asked)
        sketches.add(asked)
        fit.append(line)
    for place in sketches.repeats(job.input.similarity):
        fit[place]["flags"].append("duplicate")
    searched = [line for line in fit if "duplicate" not in line["flags"]]
    blob = f"{job.folder}/questions.jsonl"
    await ports.blobs.put_stream(blob, _joined(lines), content_type="application/x-ndjson")
    await ports.blobs.delete(job.carry.passages)
    carry = Written(
        questions=blob,
        count=len(lines),
        searched=len(searched),
        model=model,
        usage=TokenUsage(prompt_tokens=prompt_tokens, completion_tokens=tokens - prompt_tokens),
    )
    if not searched:
        return Next("report", carry)
    request = job.input
    children = [
        Child(
            "inference",
            InferenceInput(
                collection=request.collection, question=line["question"], top_k=request.top_k, generate=None
            ),
            key=line["id"],
        )
        for line in searched
    ]
    return FanOut(children, then="report", carry=carry, lane=Lane.BULK)


def _written(child: ChildSummary, text: str | None, passage: str) -> Line:
    """The question with its answer, and what is wrong with it by itself."""
    if child.error is not None or child.result is None:
        error = child.error or {"message": "it was cancelled"}
        return {"question": "", "answer": "", "flags": ["failed"], "message": error["message"]}
    try:
        reply = read(Reply, text or "")
    except UnreadableReply as error:
        return {"question": "", "answer": "", "flags": ["unreadable"], "message": f"{error}: {(text or '')[:200]}"}
    question, answer = " ".join(reply.question.split()), " ".join(reply.answer.split())
    if not question or not answer:
        return {"question": question, "answer": answer, "flags": ["nothing_to_ask"]}
    if len(question) > MAX_QUESTION_CHARS or len(answer) > MAX_ANSWER_CHARS:
        return {
            "question": question[:MAX_QUESTION_CHARS],
            "answer": answer[:MAX_ANSWER_CHARS],
            "flags": ["unreadable"],
            "message": "question or answer is too long",
        }
    return {"question": question, "answer": answer, "flags": flags_of(question, answer, passage)}


def flags_of(question: str, answer: str, passage: str) -> list[Flag]:
    """What is wrong with a question beside its passage."""
    from consumers.scoring.texts import text_key
    from consumers.stages.letters import language

    found: list[Flag] = []
    if language(question) != language(passage):
        found.append("language")
    if text_key(question) in text_key(passage):
        found.append("copied")
    if _shared(text_key(answer), text_key(passage)) < GROUNDED:
        found.append("ungrounded")
    return found


def _shared(part: str, whole: str) -> float:
    """The share of the trigrams of `part` that stand in `whole`; of a shorter text, whether it does."""
    if len(part) < 3:
        return float(bool(part) and part in whole)
    grams = Counter(part[at : at + 3] for at in range(len(part) - 2))
    return sum(count for gram, count in grams.items() if gram in whole) / grams.total()


async def _joined(lines: list[Line]) -> AsyncIterator[bytes]:
    for line in lines:
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
