"""Tells what the rows of a dataset are by the names of its columns: questions, or examples for a method of training."""

from collections.abc import Mapping
from itertools import islice
from typing import IO, Final

from infra.corpora.examples import COLUMNS
from infra.corpora.parquet import parquet_records
from infra.corpora.tables import text_records
from schemas.errors import InvalidInput
from schemas.kinds.dataset import Form
from schemas.kinds.evaluation.items import Dataset

LOOKED_AT: Final = 20
"""Rows of JSON Lines whose names are looked at, because each row has its own."""


def form_of(file: IO[bytes], dataset: Dataset, format: str) -> Form:
    """The form of the rows; `questions` where nothing tells, whose reader then says what is missing. Blocking."""
    columns = [dataset.question, *(column for column in COLUMNS if column != dataset.question)]
    names: set[str] = set()
    try:
        rows = parquet_records(file, [], columns) if format == "parquet" else text_records(file, format, [], columns)
        for row in islice(rows, LOOKED_AT):
            if isinstance(row, Mapping):
                names |= set(row)
    except InvalidInput:
        return "questions"
    if dataset.question in names:
        return "questions"
    if {"chosen", "rejected"} & names:
        return "dpo"
    if "label" in names:
        return "kto"
    return "sft" if {"messages", "prompt", "completion"} & names else "questions"
