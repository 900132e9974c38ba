"""The report of a search as a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from consumers.pages.plots import Axis, Plot, Point, Series, figure, plot
from consumers.pages.templates import template
from consumers.pages.times import duration
from consumers.stages.search.remarks import SENTENCES
from consumers.stages.search.trials import EndedTrial
from consumers.stages.search.words import WORDS
from schemas.kinds.search import MAXIMISED, Choices, Range, SearchInput, SearchResult
from schemas.remarks import Remark, told

Words = Mapping[str, str]
Trials = Sequence[EndedTrial]


def page(request: SearchInput, trials: Trials, result: SearchResult, remarks: Sequence[Remark] = ()) -> str:
    """The page, in the language that the search asks for. `remarks`: what its reader should mind."""
    words = WORDS[request.language]
    complete = [one for one in trials if one.values is not None]
    objectives = list(enumerate(request.objectives))
    return template(Path(__file__).parent, "report.html.j2").render(
        language=request.language,
        title=words["title"],
        words=words,
        request=request,
        result=result,
        warnings=told(remarks, SENTENCES, request.language),
        tiles=_tiles(request, trials, result, words),
        best=[one for one in trials if one.number in result.best],
        text=text,
        number=figure4,
        curves=_curves(trials, result, words),
        histories=[plotted for at, name in objectives if (plotted := _history(complete, at, name, words))],
        front=_front(request, complete, result, words),
        slices=[one for at, name in objectives for one in _slices(request, complete, result, at, name, words)],
        together=together(request, complete),
        trials=trials,
        settings=_settings(request, words),
    )


def text(value: Any) -> str:
    """A hyperparameter's value."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _tiles(request: SearchInput, trials: Trials, result: SearchResult, words: Words) -> list[tuple[str, str]]:
    tiles = []
    if len(request.objectives) == 1 and result.best:
        [value] = trials[result.best[0]].values or [0.0]
        tiles.append((figure4(value), f"{words[request.objectives[0]]} · {words['best']}"))
    tiles.append((f"{len(trials):,}", words["trials"]))
    for state in ("complete", "pruned", "failed", "cancelled", "skipped"):
        count = sum(one.state == state for one in trials)
        if count:
            tiles.append((f"{count:,}", words[state]))
    return [*tiles, (duration(result.seconds), words["time"])]


def figure4(value: float) -> str:
    """A figure with more digits, for the page's head and tables."""
    return f"{value:.4f}" if 0.001 <= abs(value) < 100 else figure(value)


def _history(complete: Trials, at: int, name: str, words: Words) -> Plot | None:
    points = [(float(one.number), one.values[at]) for one in complete if one.values is not None]
    best: list[Point] = []
    for number, value in points:
        known = best[-1][1] if best else value
        best.append((number, max(known, value) if name in MAXIMISED else min(known, value)))
    return plot(
        words[name],
        [
            Series(words["best_so_far"], 1, _steps(best)),
            Series(words["each"], 0, points, dots=True, names=[_named(one, words) for one in complete]),
        ],
        about=words["more" if name in MAXIMISED else "less"],
        x_label=words["trial"],
    )


def _steps(points: Sequence[Point]) -> list[Point]:
    """A line that keeps its height until the next point."""
    found: list[Point] = []
    for x, y in points:
        if found:
            found.append((x, found[-1][1]))
        found.append((x, y))
    return found


def _curves(trials: Trials, result: SearchResult, words: Words) -> Plot | None:
    series: list[Series] = []
    told = set[bool]()
    for one in sorted(trials, key=lambda one: one.number in result.best):  # the best are drawn over the others
        points = [(float(at), seen.loss) for at, seen in enumerate(one.evaluations, start=1)]
        if not points:
            continue
        best = one.number in result.best
        name = "" if best in told else words["best_trial" if best else "other_trials"]
        series.append(Series(name, 1 if best else 0, points, faint=not best))
        told.add(best)
    return plot(words["curves"], series, about=words["curves_about"], x_label=words["evaluation"])


def _front(request: SearchInput, complete: Trials, result: SearchResult, words: Words) -> Plot | None:
    if len(request.objectives) < 2:
        return None
    across, upwards = request.objectives[:2]
    groups: dict[bool, list[EndedTrial]] = {False: [], True: []}
    for one in complete:
        groups[one.number in result.best].append(one)
    return plot(
        f"{words[upwards]} · {words[across]}",
        [
            Series(
                words["best_trials" if best else "other_trials"],
                1 if best else 0,
                [(one.values[0], one.values[1]) for one in some if one.values is not None],
                dots=True,
                faint=not best,
                names=[_named(one, words) for one in some],
            )
            for best, some in groups.items()
        ],
        x_label=words[across],
    )


def _slices(
    request: SearchInput, complete: Trials, result: SearchResult, at: int, objective: str, words: Words
) -> list[Plot]:
    found = []
    for name, values in request.space.items():
        names = [str(one) for one in values.choices] if isinstance(values, Choices) else []
        points = [
            (float(names.index(str(one.params[name])) if names else one.params[name]), one.values[at])
            for one in complete
            if one.values is not None
        ]
        drawn = plot(
            name,
            [
                Series("", 0, points, dots=True, faint=True, names=[_named(one, words) for one in complete]),
                Series("", 1, [p for p, one in zip(points, complete, strict=True) if one.number in result.best], True),
            ],
            about=words[objective],
            log_x=isinstance(values, Range) and values.log,
            x_names=names,
        )
        if drawn is not None:
            found.append(drawn)
    return found


def together(request: SearchInput, complete: Trials) -> dict[str, Any] | None:
    """Parallel coordinates: an upright axis for each hyperparameter and one for the first objective, a line a trial.

    None for a search that varies one hyperparameter only, or that has one complete trial only.
    """
    if len(request.space) < 2 or len(complete) < 2:
        return None
    columns: list[tuple[str, list[float]]] = []
    ends: list[tuple[str, str]] = []
    for name, values in request.space.items():
        if isinstance(values, Choices):
            names = [str(one) for one in values.choices]
            most = max(1, len(names) - 1)
            columns.append((name, [100 * names.index(str(one.params[name])) / most for one in complete]))
            ends.append((names[0], names[-1]))
        else:
            axis = Axis([values.low, values.high], log=values.log, margin=0)
            columns.append((name, [axis.place(one.params[name]) for one in complete]))
            ends.append((figure(values.low), figure(values.high)))
    figures = [one.values[0] for one in complete if one.values is not None]
    axis = Axis(figures)
    columns.append((request.objectives[0], [axis.place(one) for one in figures]))
    ends.append((figure(min(figures)), figure(max(figures))))
    order = sorted(range(len(figures)), key=lambda n: figures[n], reverse=request.objectives[0] in MAXIMISED)
    good = set(order[: max(1, len(order) // 4)])
    gap = 100 / (len(columns) - 1)
    lines = [
        (n in good, "M" + " L".join(f"{gap * at:.2f} {100 - places[n]:.2f}" for at, (_, places) in enumerate(columns)))
        for n in reversed(order)  # the best are drawn over the others
    ]
    axes = [(round(gap * at, 2), name, *ends[at]) for at, (name, _) in enumerate(columns)]
    return {"lines": lines, "axes": axes}


def _named(trial: EndedTrial, words: Words) -> str:
    """What a dot is."""
    told = ", ".join(f"{name} {text(value)}" for name, value in trial.params.items())
    values = " / ".join(map(figure4, trial.values or []))
    return f"{words['trial']} {trial.number}: {values} ({told})"


def _settings(request: SearchInput, words: Words) -> list[tuple[str, str]]:
    space = "; ".join(f"{name} {_written(values)}" for name, values in request.space.items())
    rows = [
        (words["base_model"], request.base_model),
        (words["method"], f"{request.method} · {request.adapter}"),
        (words["dataset"], request.dataset),
        (words["space"], space),
        (words["sampler"], f"{request.sampler} ({request.seed})"),
        (words["pruner"], request.judged_by or words["none"]),
    ]
    if request.register_as is not None:
        rows.append((words["registered"], f"{request.base_model}:{request.register_as}"))
    return rows


def _written(values: Range | Choices) -> str:
    if isinstance(values, Choices):
        return ", ".join(map(str, values.choices))
    how = " (log)" if values.log else f" ({figure(values.step)})" if values.step else ""
    return f"{figure(values.low)} – {figure(values.high)}{how}"
