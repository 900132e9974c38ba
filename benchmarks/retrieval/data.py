"""Reads the corpus and the questions from a folder."""

from pathlib import Path
from typing import Final

from consumers.tuning.judged import FORMATS, Columns, Judged, JudgedDocument, JudgedQuestion, read_judged
from producers.client.cli.columns import read_columns
from producers.client.cli.failures import WrongUse

PAIRS: Final = frozenset({"id", "sentence1", "sentence2", "score"})
PARAPHRASE: Final = 4
"""From this value of 0 to 5, the judges took a pair to mean the same."""


def read_folder(folder: Path) -> Judged:
    """`corpus` and `questions` as .tsv, .csv or .jsonl, `train.tsv` and `dev.tsv` as in KoBEST BoolQ, or KLUE-STS.

    With KoBEST, the passages of both tables are the documents, the questions are those of `dev.tsv`, and a question's
    own passage answers it. With KLUE-STS, `dev.tsv` is a table of pairs: see `paraphrases`. Raises `WrongUse`.
    """
    corpus, questions = table(folder, "corpus"), table(folder, "questions")
    if corpus and questions:
        titled = "title" in read_columns(corpus, FORMATS[corpus.suffix])
        columns = Columns(id="id", title="title" if titled else None, relevant="relevant")
        return read_judged([corpus], questions, columns)
    train, dev = table(folder, "train"), table(folder, "dev")
    if train and dev:
        return read_judged([train, dev], dev, Columns(text="Text", question="Question"))
    if dev and set(read_columns(dev, FORMATS[dev.suffix])) >= PAIRS:
        return paraphrases(dev)
    raise WrongUse(
        f"{folder} holds no data to measure",
        "corpus.jsonl (id, title, text) and questions.jsonl (question, relevant), or train.tsv and dev.tsv (Text,"
        " Question), or dev.tsv of KLUE-STS (id, sentence1, sentence2, score)",
    )


def paraphrases(pairs: Path) -> Judged:
    """All second sentences are documents; in a pair of paraphrases, the first sentence asks for the second."""
    header, *lines = pairs.read_text("utf-8").splitlines()
    rows = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    ids: dict[str, str] = {}
    for row in rows:
        ids.setdefault(row["sentence2"], row["id"])
    questions = [
        JudgedQuestion(row["sentence1"], frozenset({ids[row["sentence2"]]}))
        for row in rows
        if float(row["score"]) >= PARAPHRASE
    ]
    return Judged([JudgedDocument(name, None, text) for text, name in ids.items()], questions, len(rows) - len(ids))


def table(folder: Path, name: str) -> Path | None:
    """The table of this name, in any of the formats."""
    return next((path for suffix in FORMATS if (path := folder / f"{name}{suffix}").is_file()), None)


def encoded(document: JudgedDocument) -> str:
    """A document as one text, for systems without titles."""
    return f"{document.title}\n{document.text}" if document.title else document.text
