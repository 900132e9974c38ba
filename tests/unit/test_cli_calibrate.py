"""What `welip judge calibrate` reads from a file of judged answers, and its exit code."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from producers.client.cli.calibrate import read_items
from producers.client.cli.failures import WrongUse
from tests.unit.scripted_server import NOW, Peer, job_id, peer, welip

__all__ = ["peer"]


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_json_lines_are_items_and_empty_lines_are_none(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"question": "?", "answer": "네", "human": True}, {"question": "!", "human": 0.5}]
    file = written(tmp_path / "a.jsonl", "\ufeff" + "\n\n".join(json.dumps(row) for row in rows) + "\n")
    assert read_items(file) == rows


@pytest.mark.parametrize(
    ("cell", "human"), [("true", True), ("FALSE", False), ("0.5", 0.5), ("1", 1), ("kind", "kind"), ("null", "null")]
)
def test_a_cell_of_csv_is_a_number_or_a_truth_value_where_it_can_be_one(
    tmp_path: Path, cell: str, human: object
) -> None:
    text = f'question,answer,reference,human\n"왜,?","두\n줄",,{cell}\n'
    [item] = read_items(written(tmp_path / "a.csv", text))
    assert item == {"question": "왜,?", "answer": "두\n줄", "human": human}
    assert type(item["human"]) is type(human)


@pytest.mark.parametrize(("text", "said"), [("{", "line 1: not JSON"), ('{"a": 1}\n[]', "line 2: not an object")])
def test_a_wrong_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(WrongUse, match=said):
        read_items(written(tmp_path / "a.jsonl", text))


def test_a_file_that_cannot_be_read_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="cannot be read"):
        read_items(tmp_path / "nothing.jsonl")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(WrongUse, match="cannot be read"):
        read_items(tmp_path / "bytes.jsonl")


@pytest.mark.parametrize(("missing", "code"), [(0, 0), (1, 0), (2, 1)])
def test_a_judge_that_scored_nothing_is_no_success(tmp_path: Path, peer: Peer, missing: int, code: int) -> None:
    rows = [{"question": "?", "answer": str(number), "human": True} for number in range(2)]
    file = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    unknown = dict.fromkeys(
        ("agreement", "kappa", "weighted_kappa", "bias", "bias_ci95", "verbosity", "position"),
    )
    counts = {"both": 0, "human_only": 0, "judge_only": 0, "neither": 0}
    paid = {"calls": 2, "cached": 0, "tokens": 0}
    told = {"judge": "m", "items": 2, "missing": missing, "unscored": {"engine_refused": missing} if missing else {}}
    result = {**told, **unknown, **paid, "confusion": counts, "disagreements": []}
    ended = {"id": job_id(0), "kind": "calibration", "state": "succeeded", "created_at": NOW, "result": result}
    peer.answers["GET", f"/v1/jobs/{job_id(0)}"] = httpx.Response(200, json=ended)
    shown = welip("judge", "calibrate", file, "--metric", "faithfulness", code=code)
    assert (f"{missing} not scored (engine_refused)" in shown.stderr) == bool(missing)
