"""The first stage of `synthesis`: draws passages of a collection, and has a model write a question about each."""

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random
from typing import Final

import orjson

from consumers.stages.chunking import chunk
from consumers.stages.collections import named_collection
from consumers.stages.context import StageJob
from consumers.stages.ports import CollectionRecord, Ports, StoredDocument, needs
from consumers.stages.prompts import passages_block
from consumers.stages.sources import read_content
from schemas.errors import Conflict, DocumentRefused, NotFound
from schemas.kinds.generation import ChatMessage, GenerationInput
from schemas.kinds.synthesis import Sampled, SynthesisInput
from schemas.outcomes import Child, FanOut, Outcome
from schemas.retrieval import Heading
from schemas.topics import Lane

NEEDS: Final = needs(Ports.blobs, Ports.catalogue, Ports.prompts, Ports.sparse)

SPARE: Final = 1.25
"""So many passages for each question that is wanted."""

WINDOW: Final = 25_000
"""Characters of a document that are looked at: a quarter of a second of the analyser, however long it is."""

Job = StageJob[SynthesisInput, None]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A passage: `text` is `start` to `end` of the document, in characters."""

    document: str
    title: str | None
    start: int
    end: int
    text: str


async def run(job: Job, ports: Ports) -> Outcome:
    """Make a child for each passage, in the bulk lane: as many as are wanted, and a quarter more.

    Raises `ModelNotFound`, `PromptNotFound`, `NotFound` (`collection_not_found`) and `Conflict` (`collection_empty`,
    `nothing_to_ask`, `encoder_mismatch`).
    """
    request = job.input
    ports.deployment.models.wanted(request.model.partition(":")[0], "chat", field="input.model")
    prompts = ports.prompts
    named = None if request.prompt is None else prompts.wanted(request.prompt, "question", field="input.prompt")
    passages = await _drawn(job, ports)
    children = []
    for number, passage in enumerate(passages):
        prompt = named or prompts.default("question", passage.text, request.language)
        said = prompt.messages({"passage": passages_block([passage.text]), "title": passage.title or "-"})
        asked = GenerationInput(
            messages=[ChatMessage(role=one.role, content=one.content) for one in said],
            model=request.model,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed + number,
        )
        children.append(Child("generation", asked, key=str(number)))
    blob = f"{job.folder}/passages.jsonl"
    await ports.blobs.put_stream(blob, _lines(passages), content_type="application/x-ndjson")
    return FanOut(children, then="verify", carry=Sampled(passages=blob, count=len(children)), lane=Lane.BULK)


async def _drawn(job: Job, ports: Ports) -> list[Drawn]:
    """Passages of as many documents as possible, in the order in which the documents were drawn."""
    request = job.input
    record = await named_collection(ports, job.tenant, request.collection)
    if not record.documents:
        why = f"the collection {record.name!r} holds no document; add some with a job of kind `indexing`"
        raise Conflict(why, code="collection_empty", field="input.collection")
    if record.encoder != ports.sparse.name:
        why = f"the collection {record.name!r} was made with {record.encoder}, this worker has {ports.sparse.name}"
        raise Conflict(f"{why}: rebuild it", code="encoder_mismatch", field="input.collection")
    wanted = math.ceil(SPARE * request.count)
    documents = await ports.catalogue.sample(job.tenant, record.name, seed=request.seed, limit=wanted)
    each = math.ceil(wanted / max(1, len(documents)))
    drawn: list[Drawn] = []
    for position, document in enumerate(documents, start=1):
        drawn += await _passages(job, ports, record, document, each)
        await job.report(position, len(documents), "drawing passages")
        if len(drawn) >= wanted:
            break
    if not drawn:
        why = f"no passage of the collection {record.name!r} has {request.min_chars} characters: lower `min_chars`"
        raise Conflict(why, code="nothing_to_ask", field="input.min_chars")
    return drawn[:wanted]


async def _passages(
    job: Job, ports: Ports, record: CollectionRecord, document: StoredDocument, count: int
) -> list[Drawn]:
    """Some chunks of a document, as searches find them; none where its text is gone or takes too long to analyse."""
    chance = Random(f"{job.input.seed}/{document.id}")
    try:
        content = await read_content(ports.blobs, document.source)
    except NotFound:  # it was written again since it was drawn
        return []
    whole = content.parsed.text
    begin = chance.randrange(len(whole) - WINDOW + 1) if len(whole) > WINDOW else 0
    text = whole[begin : begin + WINDOW]
    [sentences] = await ports.sparse.analyse([text], record.settings.sparse, record.settings.chunking, by=job.requester)
    if isinstance(sentences, DocumentRefused):
        return []
    headings = [
        Heading(one.start - begin, one.level, one.text) for one in content.parsed.headings if one.start >= begin
    ]
    chunks = chunk(text, sentences, record.settings.chunking, headings)
    if len(text) < len(whole):
        chunks = chunks[1:-1]  # the window cuts sentences at its ends
    fit = [one for one in chunks if len(one.text.strip()) >= job.input.min_chars]
    return [
        Drawn(document.id, content.title, begin + one.start, begin + one.end, one.text)
        for one in chance.sample(fit, min(count, len(fit)))
    ]


async def _lines(passages: list[Drawn]) -> AsyncIterator[bytes]:
    for passage in passages:
        yield orjson.dumps(passage, option=orjson.OPT_APPEND_NEWLINE)
