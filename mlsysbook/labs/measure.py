"""measure: points from the student's own machine beside a model's curve. No grade depends on them, and the box measures nothing."""

import os
import platform
import statistics
import time
from dataclasses import dataclass

from . import ledger

MOST_SECONDS = 10.0                     # of all points together; what is left then is not measured


class MeasureError(ValueError):
    """Nothing that can be measured. Shown in a notebook as its message alone."""

    def _render_traceback_(self):
        return [str(self)]


@dataclass(frozen=True)
class Points:
    """What was measured: at x, the median seconds, and what the model says there. Empty where nothing may be measured."""

    name: str
    x: tuple
    seconds: tuple
    predicted: tuple
    repeat: int
    machine: str

    def on(self, axes, scale=1.0, **style):
        """Draw the points on matplotlib's axes, seconds times `scale` -> axes. Nothing is drawn if nothing was measured."""
        if self.x:
            marks = {"marker": "x", "linestyle": "none", "color": "black", "label": "measured here"}
            axes.plot(self.x, [scale * s for s in self.seconds], **marks | style)
        return axes

    def __repr__(self):
        from mlsysim.units import format

        if not self.x:
            return f"{self.name}: not measured here"
        ratios = [s / p for s, p in zip(self.seconds, self.predicted, strict=False) if p > 0]
        beside = f", {min(ratios):.3g} to {max(ratios):.3g} times the model" if ratios else ""
        points = ", ".join(f"{x:g}: {format(s, 's')}" for x, s in zip(self.x, self.seconds, strict=True))
        return f"{self.name}, measured here ({self.machine}), median of {self.repeat}{beside}: {points}"


def measure(name, run, at, *, model=None, repeat=5):
    """Time run(x) for each x in `at` on this machine -> Points, kept in the ledger as "measure/NAME".

    Each x is run once to warm up, then `repeat` times in turn with the others. model(x): what seconds were expected. In the
    box, or with MLSYS_MEASURE=0, run is not called.
    """
    xs = tuple(float(x) if isinstance(x, float) else int(x) for x in at)
    if not xs or not callable(run) or repeat < 1:
        raise MeasureError(f"measure: got {len(xs)} points, repeat={repeat}; wants measure(name, run, at=(...)) with a point, a repeat and "
                           "a function run(x)")
    if ledger.in_box() or os.environ.get("MLSYS_MEASURE") == "0":
        return Points(name, (), (), (), repeat, "")
    spent, begun = {x: [] for x in xs}, time.perf_counter()
    for x in xs:
        run(x)
        if time.perf_counter() - begun > MOST_SECONDS / 2:
            break
    for _ in range(repeat):
        for x in xs:
            if time.perf_counter() - begun > MOST_SECONDS:
                break
            before = time.perf_counter()
            run(x)
            spent[x].append(time.perf_counter() - before)
    xs = tuple(x for x in xs if spent[x])
    seconds = tuple(statistics.median(spent[x]) for x in xs)
    predicted = tuple(float(model(x)) for x in xs) if model else ()
    made = Points(name, xs, seconds, predicted, repeat, f"{platform.machine()}, Python {platform.python_version()}")
    ledger.ledger().put(f"measure/{name}", {"x": list(xs), "seconds": list(seconds), "machine": made.machine})
    return made
