"""The report of a training as a page."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from consumers.pages.plots import Plot, Point, Series, figure, plot
from consumers.pages.templates import template
from consumers.pages.times import duration
from consumers.stages.training.remarks import SENTENCES
from consumers.stages.training.words import WORDS
from schemas.kinds.training import TrainingInput, TrainingResult
from schemas.remarks import Remark, told

Logged = Sequence[Mapping[str, Any]]
Rows = list[tuple[str, str]]


def page(request: TrainingInput, result: TrainingResult, logged: Logged, remarks: Sequence[Remark] = ()) -> str:
    """The page, in the language that the training asks for.

    `logged`: the lines of its metrics file. `remarks`: what its reader should mind.
    """
    words = WORDS[request.language]
    return template(Path(__file__).parent, "report.html.j2").render(
        language=request.language,
        title=words["title"],
        words=words,
        request=request,
        result=result,
        warnings=told(remarks, SENTENCES, request.language),
        tiles=_tiles(result, words),
        loss=_loss(logged, words),
        plots=_plots(logged, words),
        saved=[one["step"] for one in logged if one.get("saved")],
        resumed=[one["step"] for one in logged if one.get("resumed")],
        data=_data(request, result, words),
        settings=_settings(request, result, words),
    )


def values(logged: Logged, name: str) -> list[Point]:
    """A figure by step; of a step that was logged twice, as after a resume, the last one."""
    found = {one["step"]: float(one[name]) for one in logged if one.get(name) is not None}
    return sorted((float(step), value) for step, value in found.items() if math.isfinite(value))


def _tiles(result: TrainingResult, words: Mapping[str, str]) -> list[tuple[str, str]]:
    metrics = result.metrics
    before, after = metrics.validation_loss_before, metrics.validation_loss
    tiles = []
    if after is not None:
        tiles.append((f"{after:.4f}", words["held_out"] if before is None else f"{words['held_out']} ({before:.4f} →)"))
    if metrics.train_loss is not None:
        tiles.append((f"{metrics.train_loss:.4f}", words["train_loss"]))
    tiles += [
        (f"{metrics.steps:,}", f"{words['steps']} ({metrics.epochs:g} {words['epochs']})"),
        (f"{metrics.tokens_per_s:,.0f}", words["tokens_per_s"]),
        (duration(metrics.seconds), words["time"]),
    ]
    if metrics.peak_memory_bytes:
        tiles.append((f"{metrics.peak_memory_bytes / 1e9:.1f} GB", words["memory"]))
    return tiles


def _loss(logged: Logged, words: Mapping[str, str]) -> Plot | None:
    return plot(
        words["loss"],
        [Series(words["train"], 0, values(logged, "loss")), Series(words["held_out"], 1, values(logged, "eval_loss"))],
        x_label=words["step"],
        marks=[(float(one["step"]), words["resumed_here"]) for one in logged if one.get("resumed")],
    )


def _plots(logged: Logged, words: Mapping[str, str]) -> list[Plot]:
    names = ("learning_rate", "grad_norm", "tokens_per_s")
    drawn = (plot(words[name], [Series("", 0, values(logged, name))], x_label=words["step"]) for name in names)
    return [one for one in drawn if one is not None]


def _data(request: TrainingInput, result: TrainingResult, words: Mapping[str, str]) -> Rows:
    data = result.data
    rows = [
        (words["dataset"], request.dataset),
        (words["validation"], request.validation or f"{request.validation_share:.0%} {words['of_dataset']}"),
        (words["examples"], f"{data.rows:,} + {data.validation_rows:,} {words['held_out_examples']}"),
        (words["tokens"], f"{data.tokens:,} ({words['longest']} {data.longest:,})"),
    ]
    left_out = {"duplicates": data.duplicates, "overlapping": data.overlapping}
    left_out |= {"too_long": data.too_long, "masked_away": data.masked_away}
    return rows + [(words[name], f"{count:,}") for name, count in left_out.items() if count]


def _settings(request: TrainingInput, result: TrainingResult, words: Mapping[str, str]) -> Rows:
    how, chosen = request.hyperparameters, result.settings
    batch = f"{chosen.batch_size} ({chosen.device_batch_size} × {chosen.accumulation} × {chosen.processes})"
    trained = f"{chosen.trainable_parameters:,} / {chosen.parameters:,}"
    rows = [
        (words["base_model"], request.base_model),
        (words["method"], f"{request.method} · {request.adapter}"),
        (words["device"], f"{chosen.device} · {chosen.precision}"),
        (words["parameters"], trained),
        (words["learning_rate"], f"{figure(chosen.learning_rate)} · {how.scheduler}"),
        (words["batch"], batch),
        (words["max_length"], f"{chosen.max_length:,}"),
    ]
    if request.adapter != "full":
        rows.append((words["rank"], f"{how.rank} / {2 * how.rank if how.alpha == 'auto' else how.alpha}"))
    rows += [(words["seed"], str(how.seed)), (words["adapter"], result.adapter)]
    return rows
