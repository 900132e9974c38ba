"""The scored answers as a Parquet table: a row for each answer, a column for each metric."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson


class ItemsParquet:
    """Writes lines of an items file as rows, some at a time. Blocking; `metrics` are the columns of scores."""

    def __init__(self, path: Path, metrics: Sequence[str]) -> None:
        # Imported here: the package is large, and other stages of the pool do without it.
        import pyarrow
        from pyarrow import parquet

        texts = pyarrow.list_(pyarrow.string())
        self._metrics = list(metrics)
        self._arrow = pyarrow
        self._schema = pyarrow.schema(
            [
                *[(name, pyarrow.string()) for name in ("item", "variant", "question", "answer", "state", "error")],
                *[(name, texts) for name in ("references", "relevant", "documents", "contexts")],
                *[(name, pyarrow.bool_()) for name in ("answerable", "found")],
                *[(name, pyarrow.string()) for name in ("document", "model", "metadata")],
                ("tokens", pyarrow.int64()),
                ("latency_ms", pyarrow.float64()),
                *[(name, pyarrow.float64()) for name in self._metrics],
            ]
        )
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add a row group."""
        if lines:
            rows = [self._row(line) for line in lines]
            self._writer.write_table(self._arrow.Table.from_pylist(rows, schema=self._schema))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()

    def _row(self, line: Mapping[str, Any]) -> dict[str, Any]:
        row = {**line, **{name: line["scores"].get(name) for name in self._metrics}}
        row["error"] = None if line["error"] is None else line["error"]["code"]
        row["metadata"] = orjson.dumps(line["metadata"]).decode()
        return row
