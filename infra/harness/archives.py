"""The archive that a benchmark's owner uploads for lm-eval: data in JSON Lines, and task files that hold no code."""

import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from infra.harness.pipe import Cannot

MAX_ENTRIES: Final = 2_000
MAX_BYTES: Final = 1024**3
MAX_TASK_FILE: Final = 1024**2
DATA: Final = ".jsonl"
TASKS: Final = (".yaml", ".yml")
IGNORED: Final = (".md", ".txt")

FIELDS: Final = frozenset(
    {
        "task",
        "dataset_name",
        "training_split",
        "validation_split",
        "test_split",
        "fewshot_split",
        "output_type",
        "doc_to_text",
        "doc_to_target",
        "doc_to_choice",
        "description",
        "target_delimiter",
        "fewshot_delimiter",
        "fewshot_config",
        "num_fewshot",
        "metric_list",
        "generation_kwargs",
        "repeats",
        "filter_list",
        "metadata",
    }
)
"""Of lm-eval's task files: none names a file, a function, or a place elsewhere."""
OF_METRICS: Final = frozenset(
    {"metric", "aggregation", "higher_is_better", "ignore_case", "ignore_punctuation", "ignore_numbers"}
)
OF_FEWSHOT: Final = frozenset({"sampler", "split", "fewshot_indices", "fewshot_delimiter", "target_delimiter"})
FILTERS: Final = frozenset(
    {"regex", "multi_choice_regex", "remove_whitespace", "lowercase", "uppercase", "map", "take_first"}
    | {"take_first_k", "majority_vote"}
)
OUTPUTS: Final = frozenset({"multiple_choice", "loglikelihood", "loglikelihood_rolling", "generate_until"})


def unpacked(archive: Path, folder: Path) -> None:
    """Write what the archive holds into the folder. Raises `Cannot` (`archive_invalid`)."""
    try:
        with zipfile.ZipFile(archive) as found:
            entries = found.infolist()
            if len(entries) > MAX_ENTRIES:
                raise _invalid(f"it has {len(entries):,} entries, {MAX_ENTRIES:,} are allowed")
            left = MAX_BYTES
            for entry in entries:
                if not entry.is_dir() and PurePosixPath(entry.filename).suffix.lower() not in IGNORED:
                    left = _written(found, entry, folder, left)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise _invalid(f"it cannot be read: {error}") from error


def task_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The tasks that the archive brings, by their names. Raises `Cannot` (`task_invalid`)."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(path for path in folder.rglob("*") if path.suffix.lower() in TASKS):
        where = file.relative_to(folder)
        if file.stat().st_size > MAX_TASK_FILE:
            raise _wrong(where, f"it is larger than {MAX_TASK_FILE:,} bytes")
        try:
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            why = str(error).splitlines()[0] if str(error) else "it is no YAML"
            raise _wrong(where, f"{why}; functions (`!function`) are not taken") from error
        _check(where, config)
        found[config["task"]] = {**config, "dataset_path": "json"}
    return found


def data_of(folder: Path, name: str | None) -> dict[str, str]:
    """The files of a task's splits: those of the folder `name`, else those at the top. Raises `Cannot`."""
    places = [folder / PurePosixPath(name)] if name and name not in (".", "..") and "/" not in name else []
    for place in (*places, folder):
        files = {file.stem: str(file) for file in sorted(place.glob(f"*{DATA}"))} if place.is_dir() else {}
        if files:
            return files
    inside = f"`{name}/`" if places else "it"
    raise Cannot("data_missing", f"the archive holds no data: it needs a file such as `test{DATA}` in {inside}")


def _written(found: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, left: int) -> int:
    path = PurePosixPath(entry.filename)
    link = (entry.external_attr >> 16) & 0o170000 not in (0, 0o100000)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or link:
        raise _invalid(f"{entry.filename!r} is a link, or leads out of it")
    if path.suffix.lower() not in (DATA, *TASKS):
        raise _invalid(f"{entry.filename!r} is neither data ({DATA}) nor a task ({', '.join(TASKS)})")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with found.open(entry) as source, target.open("wb") as to:
        while piece := source.read(1024 * 1024):
            left -= len(piece)
            if left < 0:
                raise _invalid(f"it holds more than {MAX_BYTES:,} bytes")
            to.write(piece)
    return left


def _check(where: Path, config: Any) -> None:
    """Raises `Cannot` for a task that is not whole, or that asks for more than data."""
    if not isinstance(config, dict) or not isinstance(config.get("task"), str) or not config["task"].strip():
        raise _wrong(where, "it has no `task`, the name of the task")
    if more := sorted(str(one) for one in set(config) - FIELDS):
        raise _wrong(where, f"the fields {', '.join(more)} are not taken; its data comes from the archive")
    if config.get("output_type", "generate_until") not in OUTPUTS:
        raise _wrong(where, f"output_type must be one of {', '.join(sorted(OUTPUTS))}")
    _each(where, "metric_list", config.get("metric_list"), OF_METRICS)
    _each(where, "fewshot_config", [config["fewshot_config"]] if config.get("fewshot_config") else [], OF_FEWSHOT)
    _each(where, "filter_list", config.get("filter_list"), frozenset({"name", "filter"}))
    for one in config.get("filter_list") or []:
        for step in one.get("filter") or []:
            if not isinstance(step, dict) or step.get("function") not in FILTERS:
                raise _wrong(where, f"filters must be of {', '.join(sorted(FILTERS))}")
    names = [
        (one["metric"], one.get("aggregation", "mean")) for one in config.get("metric_list") or [] if "metric" in one
    ]
    if names:
        _known(where, names)


def _each(where: Path, field: str, found: Any, allowed: frozenset[str]) -> None:
    if found is not None and not (isinstance(found, list) and all(isinstance(one, dict) for one in found)):
        raise _wrong(where, f"{field} is not of lm-eval's form")
    for one in found or []:
        if more := sorted(str(name) for name in set(one) - allowed):
            raise _wrong(where, f"{field}: {', '.join(more)} is not taken")


def _known(where: Path, names: list[tuple[Any, Any]]) -> None:
    """A name that lm-eval does not know would be looked for as a program."""
    from lm_eval.api.registry import AGGREGATION_REGISTRY, METRIC_REGISTRY

    for metric, aggregation in names:
        if metric not in METRIC_REGISTRY:
            raise _wrong(where, f"lm-eval has no metric {metric!r}")
        if aggregation not in AGGREGATION_REGISTRY:
            raise _wrong(where, f"lm-eval has no aggregation {aggregation!r}")


def _invalid(why: str) -> Cannot:
    return Cannot("archive_invalid", f"the archive of a task is refused: {why}")


def _wrong(where: Path, why: str) -> Cannot:
    return Cannot("task_invalid", f"the task file {where} is refused: {why}")
