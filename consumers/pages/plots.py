"""Plots of reports: numbers become places in a box of 100 by 100, and axes with round figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

Point = tuple[float, float]

MOST_POINTS: Final = 400
"""Of one line: more would not be seen."""
TICKS: Final = 4


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one colour. `dots`: each is a dot; else they are joined. `names`: what each dot is."""

    name: str
    colour: int
    points: Sequence[Point]
    dots: bool = False
    faint: bool = False
    names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Tick:
    """A figure on an axis, and its place: 0 to 100."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A series in the box. `path`: of a line, as SVG draws it; `dots`: places and what each is."""

    name: str
    colour: int
    faint: bool
    path: str = ""
    dots: Sequence[tuple[float, float, str]] = ()


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot that the templates draw."""

    title: str
    about: str
    series: Sequence[Drawn]
    x: Sequence[Tick]
    y: Sequence[Tick]
    x_label: str = ""
    marks: Sequence[Tick] = field(default_factory=list)
    """Upright lines with a word each."""


class Axis:
    """Maps figures to 0 to 100. `log`: by their magnitude."""

    def __init__(self, values: Sequence[float], *, log: bool = False, margin: float = 0.06) -> None:
        self._log = log and min(values) > 0
        low, high = self._scaled(min(values)), self._scaled(max(values))
        pad = (high - low) * margin if high > low else abs(low) * 0.05 or 0.5
        self._low, self._high = low - pad, high + pad

    def place(self, value: float) -> float:
        """Where a figure is."""
        return round(100 * (self._scaled(value) - self._low) / (self._high - self._low), 2)

    def ticks(self) -> list[Tick]:
        """Round figures on the axis."""
        if self._log and self._high - self._low > 1:
            powers = range(math.ceil(self._low), math.floor(self._high) + 1)
            every = max(1, math.ceil(len(powers) / (TICKS + 1)))
            return [Tick(self.place(10.0**one), figure(10.0**one)) for one in powers[::every]]
        low, high = (10**self._low, 10**self._high) if self._log else (self._low, self._high)
        step = _round_up((high - low) / TICKS)
        first = math.ceil(low / step)
        some = [at * step for at in range(first, math.floor(high / step) + 1)]
        return [Tick(self.place(one), figure(one)) for one in some if not self._log or one > 0]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self._log else value


def plot(
    title: str,
    series: Sequence[Series],
    *,
    about: str = "",
    x_label: str = "",
    log_x: bool = False,
    log_y: bool = False,
    marks: Sequence[tuple[float, str]] = (),
    x_names: Sequence[str] = (),
) -> Plot | None:
    """A plot of those series that have points; None if none has. `x_names`: names at 0, 1, 2 ... instead of figures."""
    shown = [one for one in series if one.points]
    if not shown:
        return None
    places = range(len(x_names)) if x_names else [x for one in shown for x, _ in one.points]
    across = Axis(places, log=log_x, margin=0.5 / len(x_names) if x_names else 0.02)
    upwards = Axis([y for one in shown for _, y in one.points], log=log_y)
    return Plot(
        title=title,
        about=about,
        series=[_drawn(one, across, upwards) for one in shown],
        x=[Tick(across.place(at), name) for at, name in enumerate(x_names)] if x_names else across.ticks(),
        y=upwards.ticks(),
        x_label=x_label,
        marks=[Tick(across.place(at), name) for at, name in marks],
    )


def _drawn(series: Series, across: Axis, upwards: Axis) -> Drawn:
    places = [(across.place(x), round(100 - upwards.place(y), 2)) for x, y in thinned(series.points)]
    if series.dots:
        names = series.names or [f"{figure(x)}: {figure(y)}" for x, y in series.points]
        dots = [(x, y, name) for (x, y), name in zip(places, names, strict=False)]
        return Drawn(series.name, series.colour, series.faint, dots=dots)
    path = "M" + " L".join(f"{x} {y}" for x, y in places)
    return Drawn(series.name, series.colour, series.faint, path=path)


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """At most so many points: of each stretch the first, and always the last."""
    if len(points) <= MOST_POINTS:
        return points
    every = math.ceil(len(points) / MOST_POINTS)
    return [*points[:-1:every], points[-1]]


def figure(value: float) -> str:
    """A number in few characters: `1,204`, `0.35`, `2e-04`."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size >= 0.001 else f"{value:.0e}"


def _round_up(step: float) -> float:
    """The next number of the form 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(nice * power for nice in (1, 2, 5, 10) if nice * power >= step * 0.999)
