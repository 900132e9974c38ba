"""Corpora are read in separate processes: a table that hangs, grows or lies ends only its own job."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.corpora.items import read_items
from infra.corpora.reader import MODULE, IsolatedTableReader
from infra.corpora.rows import read_rows
from infra.settings import ParserSettings
from schemas.errors import InvalidInput
from schemas.kinds.evaluation.items import Dataset
from schemas.kinds.indexing import Corpus, DocumentError
from schemas.kinds.indexing.parts import PartDocument, PartLine
from schemas.requester import Requester
from schemas.topics import Lane
from tests.contract.isolated import forked, servers, until

MiB = 1024**2
FILE = "file_" + "0" * 32
BY = Requester("t", Lane.BULK)


@pytest.fixture
async def reader() -> AsyncIterator[IsolatedTableReader]:
    made = IsolatedTableReader(ParserSettings(processes=1))
    yield made
    await made.close()
    assert servers(MODULE) == []


async def read(reader: IsolatedTableReader, path: Path, corpus: Corpus) -> list[PartDocument | DocumentError]:
    async with aclosing(reader.rows(path, corpus, by=BY)) as batches:
        return [
            PartDocument.model_validate_json(row.line) if isinstance(row, PartLine) else row
            async for batch, _ in batches
            for row in batch
        ]


async def codes(reader: IsolatedTableReader, path: Path) -> set[str]:
    """The codes with which a Parquet table, or each of its rows, is refused."""
    try:
        rows = await read(reader, path, Corpus(file=FILE, format="parquet"))
    except InvalidInput as error:
        return {error.reason}
    return {row.code if isinstance(row, DocumentError) else "a document" for row in rows}


async def test_rows_are_those_of_the_table(reader: IsolatedTableReader, tmp_path: Path) -> None:
    corpus = Corpus(file=FILE, format="jsonl", id="id", metadata=["year"])
    lines = [json.dumps({"id": n, "text": f"글 {n}\n\u2028", "year": n}) for n in range(1_200)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, "{", lines[0]]))
    with (tmp_path / "a.jsonl").open("rb") as file:
        expected = list(read_rows(file, corpus))
    assert await read(reader, tmp_path / "a.jsonl", corpus) == expected
    assert len(expected) == 1_202
    assert forked(MODULE) == []


async def test_progress_is_told_in_bytes(reader: IsolatedTableReader, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("text\n" + "글\n" * 2_000)
    corpus = Corpus(file=FILE, format="tsv")
    async with aclosing(reader.rows(tmp_path / "a.tsv", corpus, by=BY)) as batches:
        told = [at async for _, at in batches]
    assert told[-1] == (tmp_path / "a.tsv").stat().st_size


async def test_a_table_that_cannot_be_read_says_why(reader: IsolatedTableReader, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("title\n글\n")
    with pytest.raises(InvalidInput) as caught:
        await read(reader, tmp_path / "a.tsv", Corpus(file=FILE, format="tsv"))
    assert (caught.value.reason, caught.value.field) == ("column_missing", "input.corpus")


async def test_the_items_of_a_dataset_are_those_of_the_table(reader: IsolatedTableReader, tmp_path: Path) -> None:
    lines = [json.dumps({"question": f"질문 {n}?", "reference": f"답\u2028{n}", "relevant": [n]}) for n in range(1_200)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, '{"question": 3}', lines[0]]))
    dataset = Dataset(file=FILE)
    with (tmp_path / "a.jsonl").open("rb") as file:
        expected = list(read_items(file, dataset, "jsonl"))
    async with aclosing(reader.items(tmp_path / "a.jsonl", dataset, "jsonl", by=BY)) as batches:
        assert [row async for batch in batches for row in batch] == expected
    (tmp_path / "b.csv").write_text("title\n글\n")
    with pytest.raises(InvalidInput) as caught:
        await anext(reader.items(tmp_path / "b.csv", dataset, "csv", by=BY))
    assert (caught.value.reason, caught.value.field) == ("column_missing", "input.dataset")


async def test_a_small_file_that_unpacks_to_gigabytes_ends_its_own_job_alone(tmp_path: Path) -> None:
    reader = IsolatedTableReader(ParserSettings(processes=1, memory_bytes=256 * MiB))
    value = "a" * 200_000_000 + "\U0001f600"  # four bytes a character once Python holds it
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), pa.array([value]))
    pq.write_table(
        pa.table({"text": rows}),
        tmp_path / "bomb.parquet",
        compression="zstd",
        store_schema=False,
        dictionary_pagesize_limit=2**31 - 1,
        write_statistics=False,
    )
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    try:
        assert await codes(reader, tmp_path / "bomb.parquet") == {"corpus_bomb"}
        (tmp_path / "a.tsv").write_text("text\n글\n")
        assert len(await read(reader, tmp_path / "a.tsv", Corpus(file=FILE, format="tsv"))) == 1
    finally:
        await reader.close()


async def test_a_row_that_needs_more_memory_than_there_is_says_so(tmp_path: Path) -> None:
    """Arrow reports this in its own way, which must not pass for a damaged file."""
    reader = IsolatedTableReader(ParserSettings(processes=1, memory_bytes=256 * MiB))
    endless = pa.array([[None] * 100_000_000], pa.list_(pa.int8()))
    pq.write_table(pa.table({"text": ["글"], "list": endless}), tmp_path / "list.parquet")
    assert (tmp_path / "list.parquet").stat().st_size < 100_000
    try:
        corpus = Corpus(file=FILE, format="parquet", metadata=["list"])
        with pytest.raises(InvalidInput) as caught:
            await read(reader, tmp_path / "list.parquet", corpus)
        assert caught.value.reason == "corpus_too_large"
    finally:
        await reader.close()


async def test_a_table_that_never_ends_is_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless")
    reader = IsolatedTableReader(ParserSettings(processes=1, timeout=timedelta(seconds=0.3)))
    with pytest.raises(InvalidInput) as caught:
        await read(reader, tmp_path / "endless", Corpus(file=FILE, format="tsv"))
    assert caught.value.reason == "corpus_timeout"
    assert forked(MODULE) == []
    await reader.close()


async def test_a_cancelled_job_leaves_no_process(reader: IsolatedTableReader, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless")
    reading = asyncio.create_task(read(reader, tmp_path / "endless", Corpus(file=FILE, format="tsv")))
    await until(lambda: forked(MODULE))
    reading.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert forked(MODULE) == []


async def test_the_form_of_a_dataset_is_told_by_its_columns(reader: IsolatedTableReader, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("물음,completion\n?,a\n")
    pq.write_table(pa.table({"prompt": ["?"], "chosen": ["a"], "rejected": ["b"]}), tmp_path / "d.parquet")
    (tmp_path / "no.parquet").write_bytes(b"no table")
    for name, column, format, form in [
        ("q.csv", "물음", "csv", "questions"),
        ("q.csv", "question", "csv", "sft"),
        ("d.parquet", "question", "parquet", "dpo"),
        ("no.parquet", "question", "parquet", "questions"),
    ]:
        dataset = Dataset(file=FILE, question=column)
        assert await reader.form(tmp_path / name, dataset, format, by=BY) == form


async def test_whoever_stops_reading_leaves_no_process(reader: IsolatedTableReader, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("text\n" + "글\n" * 2_000)
    async with aclosing(reader.rows(tmp_path / "a.tsv", Corpus(file=FILE, format="tsv"), by=BY)) as batches:
        await anext(batches)
    assert forked(MODULE) == []
