"""The corpus and the questions that a folder holds."""

from pathlib import Path

from consumers.tuning.judged import FORMATS, Columns, Judged, JudgedDocument, read_judged
from producers.client.cli.columns import read_columns
from producers.client.cli.failures import WrongUse


def read_folder(folder: Path) -> Judged:
    """`corpus` and `questions` as .tsv, .csv or .jsonl, or `train.tsv` and `dev.tsv` as in KoBEST BoolQ.

    Of the latter, passages of both are the documents, the questions are those of `dev.tsv`, and a question's own
    passage answers it. Raises `WrongUse`.
    """
    corpus, questions = table(folder, "corpus"), table(folder, "questions")
    if corpus and questions:
        titled = "title" in read_columns(corpus, FORMATS[corpus.suffix])
        columns = Columns(id="id", title="title" if titled else None, relevant="relevant")
        return read_judged([corpus], questions, columns)
    train, dev = table(folder, "train"), table(folder, "dev")
    if train and dev:
        return read_judged([train, dev], dev, Columns(text="Text", question="Question"))
    raise WrongUse(
        f"{folder} holds no data to measure",
        "corpus.jsonl (id, title, text) and questions.jsonl (question, relevant), or train.tsv and dev.tsv (Text,"
        " Question)",
    )


def table(folder: Path, name: str) -> Path | None:
    """The table of this name, whatever its format."""
    return next((path for suffix in FORMATS if (path := folder / f"{name}{suffix}").is_file()), None)


def encoded(document: JudgedDocument) -> str:
    """A document as one text, for systems that know no titles."""
    return f"{document.title}\n{document.text}" if document.title else document.text
