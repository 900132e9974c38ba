"""What an analysing process does: splits documents into sentences, finds a question's terms, answers from passages."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from infra.analysis.sentences import packed
from infra.engines.extractive import ExtractiveAnswerer
from infra.isolation.child import Task
from infra.isolation.frames import Frame, separated
from infra.text.kiwi import KiwiAnalyser
from infra.text.sparse import KiwiSparseEncoder
from schemas.collections import STORED, Chunking, SparseSettings
from schemas.normalisation import nfc
from schemas.retrieval import Passage

SETTINGS_KEPT: Final = 32
"""How many collections' settings a process remembers, so that ten thousand words are sent only once."""


def tasks() -> Mapping[str, Task]:
    """The tasks by name: `analyse` texts, `encode` a question, `answer` a question, cut texts into `morphemes`.

    Loads Kiwi and all that Kiwi loads lazily, once for all processes.
    """
    # No threads of its own: they would not survive a fork.
    kiwi = KiwiAnalyser(workers=1)
    encoder = KiwiSparseEncoder(analyser=kiwi)
    warm = SparseSettings(correct_spacing=True)
    encoder.encode_query("준비된 말뭉치", warm)
    encoder.analyse(["준비된 말뭉치를 읽는다.", "e\u0301"], warm, Chunking())
    analyst = _Analyst(encoder)
    return {
        "analyse": analyst.analyse,
        "encode": analyst.encode,
        "answer": partial(_answer, ExtractiveAnswerer(kiwi)),
        "morphemes": partial(_morphemes, kiwi),
    }


class _Analyst:
    def __init__(self, encoder: KiwiSparseEncoder) -> None:
        self._encoder = encoder
        self._settings: OrderedDict[str, SparseSettings] = OrderedDict()

    def analyse(self, request: dict[str, Any], payload: bytes) -> Frame:
        settings = self._known(request)
        if settings is None:
            return {"unknown": True}, b""
        chunking = None if request["chunking"] is None else Chunking(**request["chunking"])
        counts, made = packed(self._encoder.analyse(separated(request["sizes"], payload), settings, chunking))
        return {"sentences": counts}, made

    def encode(self, request: dict[str, Any], payload: bytes) -> Frame:
        settings = self._known(request)
        if settings is None:
            return {"unknown": True}, b""
        (question,) = separated([len(payload)], payload)
        vector = self._encoder.encode_query(question, settings)
        return {"indices": list(vector.indices), "values": list(vector.values)}, b""

    def _known(self, request: dict[str, Any]) -> SparseSettings | None:
        digest, given = request["digest"], request.get("settings")
        if given is not None and digest not in self._settings:
            self._settings[digest] = SparseSettings.model_validate_json(given, context=STORED)
        if (settings := self._settings.get(digest)) is not None:
            self._settings.move_to_end(digest)
            if len(self._settings) > SETTINGS_KEPT:
                self._settings.popitem(last=False)
        return settings


def _morphemes(kiwi: KiwiAnalyser, request: dict[str, Any], payload: bytes) -> Frame:
    texts = separated(request["sizes"], payload)
    found: list[list[tuple[str, str]]] = [[] for _ in texts]
    for window in kiwi.windows([nfc(text) for text in texts]):
        found[window.text].extend((token.form, str(token.tag)) for token in window.tokens)
    return {}, json.dumps(found, ensure_ascii=True).encode("ascii")


def _answer(answerer: ExtractiveAnswerer, request: dict[str, Any], _: bytes) -> Frame:
    passages = [
        Passage(document, str(at), title, text, start, end, 0.0, heading=heading)
        for at, (document, title, heading, text, start, end) in enumerate(request["passages"])
    ]
    made = answerer.answer(request["question"], passages)
    return {"text": made.text, "found": made.found, "cited": [int(one.chunk_id) for one in made.citations]}, b""
