"""How honest answers without a model are: the answer is found where a document has it, and "not found" where none does.

`python -m benchmarks.answers FOLDER`, with the data of `benchmarks.retrieval`. Every question is asked twice, with its
own documents in the corpus and without them. The second time it must not be answered, though other documents may know
the answer too. With train.tsv and dev.tsv, both sets are asked: choose the threshold on train, report dev. After that,
the sample corpus shows how often the first sentence quoted holds the answer. The last line is one JSON object.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.retrieval.data import encoded, read_folder, table
from consumers.ranking.bootstrap import mean_interval
from consumers.ranking.lexical import Postings
from consumers.tuning.fusing import best
from consumers.tuning.judged import Columns, Judged, JudgedDocument, JudgedQuestion, read_judged
from infra.engines.extractive import THRESHOLD, ExtractiveAnswerer
from infra.local import sample
from infra.text.sparse import KiwiSparseEncoder
from producers.client.errors import WelipError
from schemas.collections import SparseSettings
from schemas.retrieval import Passage

PASSAGES: Final = 5
CURVE: Final = (0.40, 0.43, 0.46, 0.49, 0.52, 0.55, 0.60)
SETTINGS: Final = SparseSettings()
console = Console(stderr=True)


class Corpus:
    """Documents, each of them one passage, ranked by the sparse arm."""

    def __init__(self, documents: Sequence[JudgedDocument]) -> None:
        self._documents = documents
        self._encoder = KiwiSparseEncoder()
        analysed = self._encoder.analyse([encoded(document) for document in documents], SETTINGS)
        weighed = [self._encoder.weigh([each.terms for each in sentences], SETTINGS) for sentences in analysed]
        self._postings = Postings(weighed)

    def search(self, question: str, without: frozenset[str] = frozenset()) -> list[Passage]:
        """The best passages from documents that are not in `without`."""
        scores = self._postings.scores(self._encoder.encode_query(question, SETTINGS))
        found = best(scores, PASSAGES + len(without))
        ranked = [(self._documents[chunk], scores[chunk]) for chunk in found.chunks]
        return [
            Passage(document.id, document.id, document.title, document.text, 0, len(document.text), float(score))
            for document, score in ranked
            if document.id not in without
        ][:PASSAGES]


def honesty(corpus: Corpus, questions: Sequence[JudgedQuestion]) -> dict[str, Any]:
    """At each threshold, the share answered with a question's own documents, and the share refused without them."""
    answerer = ExtractiveAnswerer()

    def evidence(question: str, passages: Sequence[Passage]) -> float:
        return max(answerer.evidence(question, passages), default=0.0)

    own = np.array([evidence(asked.text, corpus.search(asked.text)) for asked in questions])
    others = np.array([evidence(asked.text, corpus.search(asked.text, asked.relevant)) for asked in questions])
    found, refused = mean_interval(own >= THRESHOLD), mean_interval(others < THRESHOLD)
    return {
        "questions": len(questions),
        "found": round(found.mean, 4),
        "not_found_without": round(refused.mean, 4),
        "ci95": {"found": found.ci95, "not_found_without": refused.ci95},
        "curve": [[at, round(float((own >= at).mean()), 4), round(float((others < at).mean()), 4)] for at in CURVE],
    }


async def first_sentences() -> dict[str, Any]:
    """How often the first sentence holds the sample corpus's answer, and how many questions without one are refused."""
    documents = [JudgedDocument(each["id"], each["title"], each["text"]) for each in sample.documents()]
    corpus, answerer = Corpus(documents), ExtractiveAnswerer()
    hits, refused = [], []
    for asked in sample.questions():
        answer = answerer.answer(asked["question"], corpus.search(asked["question"]))
        if asked["answer"]:
            hits.append(answer.found and asked["answer"] in answer.text.split(" [1]")[0])
        else:
            refused.append(not answer.found)
    share = mean_interval(hits)
    return {"questions": len(hits), "first_sentence": round(share.mean, 4), "ci95": share.ci95, "refused": sum(refused)}


def main() -> int:
    """Exit status 0, or 2 when there is no data."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answers", description=__doc__)
    parser.add_argument("folder", type=Path, help="train.tsv and dev.tsv, or corpus.* and questions.*")
    parser.add_argument("--limit", type=int, help="only the first so many questions of each set")
    given = parser.parse_args()
    try:
        sets = _sets(given.folder)
    except (WelipError, OSError, ValueError) as error:
        print(f"benchmarks.answers: {error}", file=sys.stderr)
        return 2
    corpus = Corpus(next(iter(sets.values())).documents)
    found = {name: honesty(corpus, judged.questions[: given.limit]) for name, judged in sets.items()}
    for name, figures in found.items():
        shown = Table("threshold", "found", "not found without its own", title=name)
        for row in figures["curve"]:
            shown.add_row(*map(str, row))
        console.print(shown)
    print(json.dumps({"threshold": THRESHOLD, **found, "sample": asyncio.run(first_sentences())}))
    return 0


def _sets(folder: Path) -> dict[str, Judged]:
    judged = read_folder(folder)
    train, dev = table(folder, "train"), table(folder, "dev")
    if not train or not dev:
        return {"questions": judged}
    return {"train": read_judged([train, dev], train, Columns(text="Text", question="Question")), "dev": judged}


if __name__ == "__main__":
    sys.exit(main())
