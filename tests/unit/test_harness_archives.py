"""What tenants upload for lm-eval: data is taken, and whatever names code or leads elsewhere is refused."""

import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.harness import archives
from infra.harness.archives import data_of, task_files, unpacked
from infra.harness.pipe import Cannot

MINE: dict[str, Any] = {
    "task": "mine",
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
}


def archive(folder: Path, files: dict[str, str]) -> Path:
    made = folder / "a.zip"
    with zipfile.ZipFile(made, "w") as to:
        for name, text in files.items():
            to.writestr(name, text)
    return made


def refused(folder: Path, files: dict[str, str]) -> Cannot:
    into = folder / "into"
    into.mkdir()
    try:
        unpacked(archive(folder, files), into)
        task_files(into)
    except Cannot as error:
        return error
    raise AssertionError("it was taken")


def test_data_and_tasks_are_taken(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    line = json.dumps({"question": "?"})
    files = {"mine.yaml": yaml.safe_dump(MINE), "test.jsonl": line, "Law/test.jsonl": line, "README.md": "read"}
    unpacked(archive(tmp_path, files), into)
    assert task_files(into) == {"mine": {**MINE, "dataset_path": "json"}}
    assert data_of(into, "Law") == {"test": str(into / "Law" / "test.jsonl")}
    assert data_of(into, "Other") == data_of(into, None) == {"test": str(into / "test.jsonl")}
    assert not (into / "README.md").exists()


@pytest.mark.parametrize("name", ["../x.jsonl", "/x.jsonl", "a/../../x.jsonl", "a\\x.jsonl", "utils.py", "x.sh", "x"])
def test_names_that_lead_out_and_other_files_are_refused(name: str, tmp_path: Path) -> None:
    assert refused(tmp_path, {name: "{}"}).code == "archive_invalid"
    assert not (tmp_path / "x.jsonl").exists()


def test_a_link_is_refused(tmp_path: Path) -> None:
    made = tmp_path / "a.zip"
    with zipfile.ZipFile(made, "w") as to:
        link = zipfile.ZipInfo("test.jsonl")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        to.writestr(link, "/etc/passwd")
    with pytest.raises(Cannot, match=r"test\.jsonl"):
        unpacked(made, tmp_path)


def test_what_is_larger_than_it_may_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 10)
    assert "more than 10 bytes" in refused(tmp_path, {"test.jsonl": "x" * 11}).message


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(Cannot) as cannot:
        unpacked(file, tmp_path)
    assert cannot.value.code == "archive_invalid"


@pytest.mark.parametrize(
    "more",
    [
        {"dataset_path": "/etc"},
        {"dataset_kwargs": {"data_files": "/etc/passwd"}},
        {"include": "/etc/passwd"},
        {"process_docs": "os.system"},
        {"custom_dataset": "x"},
        {"unsafe_code": True},
        {"class": "x"},
        {"use_prompt": "promptsource:*"},
        {"output_type": "dance"},
        {"metric_list": [{"metric": "acc", "hf_evaluate": True}]},
        {"metric_list": "acc"},
        {"filter_list": [{"name": "x", "filter": [{"function": "custom", "filter_fn": "os.system"}]}]},
        {"fewshot_config": {"samples": "x"}},
        {"task": ""},
        {"task": ["mmlu"]},
    ],
    ids=str,
)
def test_a_task_that_asks_for_more_than_data_is_refused(more: dict[str, Any], tmp_path: Path) -> None:
    error = refused(tmp_path, {"mine.yaml": yaml.safe_dump(MINE | more)})
    assert error.code == "task_invalid"
    assert "mine.yaml" in error.message


@pytest.mark.parametrize(
    "text", ["task: !function os.system", "task: !!python/object/apply:os.system [ls]", "- a", "{", "task: &a [*a]"]
)
def test_functions_and_objects_in_a_task_file_are_refused(text: str, tmp_path: Path) -> None:
    assert refused(tmp_path, {"mine.yml": text}).code == "task_invalid"


def test_a_task_without_data_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(Cannot, match=r"it needs a file such as `test\.jsonl` in `Law/`") as cannot:
        data_of(tmp_path, "Law")
    assert cannot.value.code == "data_missing"
    with pytest.raises(Cannot):
        data_of(tmp_path, "../..")
