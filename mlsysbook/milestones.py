"""Milestones: scripts that train what history trained, and hold what they measure against calibrated gates.

A script in milestones/ defines GATES, run(seed, epochs=, shuffled=, progress=) -> Run and draw(figure, run), and ends with
main(globals()). Run as a program it measures, prints, and ends with status 1 where a gate fails. It takes the framework as
`import tinytorch as tt`, so that `tinytorch.use` decides whose code is run. A script that also runs on a reader's own files defines
DATA_GATES, and run takes data=, their folder: gates that were calibrated on the course's data say nothing about other data.
"""

import argparse
import ast
import contextlib
import difflib
import io
import math
import re
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from . import atomic
from .errors import CatalogueError, CourseError

FOLDER = "milestones"
_NUMBERED = re.compile(r"\d\d_[a-z0-9_]+\.py")
BEGIN, END = "<!-- measured: written by `mlsys milestone NAME --page` -->", "<!-- end of what was measured -->"
CONTROLS = {"untrained": {"epochs": 0}, "shuffled": {"shuffled": True}}     # runs that must fail
_STYLE = {"svg.hashsalt": "mlsys", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 8, "axes.spines.top": False,
          "axes.spines.right": False, "legend.frameon": False}
_METADATA = {".svg": {"Date": None, "Creator": None}, ".png": {"Software": None}}


@dataclass(frozen=True)
class Gate:
    """What one measured number must be. exact: it follows from a theorem, so nothing about it was calibrated."""

    measure: str
    at_least: float = -math.inf
    at_most: float = math.inf
    exact: bool = False

    def holds(self, value):
        return self.at_least <= value <= self.at_most       # and so never for NaN

    def margin(self, value):
        """How far a value is on the right side."""
        return min(value - self.at_least, self.at_most - value)

    def __str__(self):
        bounds = [f"at least {self.at_least:g}"] * (self.at_least > -math.inf) + [f"at most {self.at_most:g}"] * (self.at_most < math.inf)
        return " and ".join(bounds)


@dataclass(frozen=True)
class Run:
    """What a run measured, by name, what its plot needs besides, and what it timed, by name: that is another number each time."""

    measured: dict
    shown: dict
    timed: dict = field(default_factory=dict)

    @property
    def values(self):
        return self.measured | self.timed


@dataclass(frozen=True)
class Milestone:
    """One script of milestones/."""

    path: Path

    @property
    def name(self):
        return self.path.stem

    @property
    def title(self):
        return ast.get_docstring(ast.parse(self.path.read_text(encoding="utf-8"))).splitlines()[0]


def milestones(root):
    """The milestones of the course in folder `root`, in order."""
    return [Milestone(p) for p in sorted((Path(root) / FOLDER).glob("*.py")) if _NUMBERED.fullmatch(p.name)]


def find(root, name):
    """The milestone called `name`: 03_mlp_digits, mlp_digits, mlp or 3."""
    known = milestones(root)
    hits = [m for m in known if name in (m.name, m.name[3:], m.name[:2], m.name[:2].lstrip("0"))]
    hits = hits or [m for m in known if m.name[3:].startswith(f"{name}_")] or [m for m in known if m.name[3:].startswith(name)]
    if len(hits) != 1:
        near = difflib.get_close_matches(name, [m.name[3:] for m in known], n=1, cutoff=0.3)
        raise CatalogueError(f"unknown milestone {name!r}" + (f"; did you mean {near[0]}?" if near else
                             f"; there are {', '.join(m.name[3:] for m in known)}"))
    return hits[0]


def load(path):
    """Import a script -> the names that it defines."""
    names = {"__name__": Path(path).stem, "__file__": str(path)}
    exec(compile(Path(path).read_text(encoding="utf-8"), str(path), "exec"), names)
    return names


def main(script):
    """The program of a script, which hands over its globals()."""
    try:
        sys.exit(_main(script))
    except (CourseError, ImportError, OSError, ValueError) as error:
        print(f"{Path(script['__file__']).stem}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _main(script):
    import tinytorch

    path, title = Path(script["__file__"]).resolve(), script["__doc__"].splitlines()[0]
    options = parser(path.stem, title).parse_args()
    plot = path.with_suffix(".svg") if options.page else options.plot
    if plot is not None and plot.suffix not in _METADATA:
        raise CourseError(f"{plot}: a plot is written as {' or '.join(_METADATA)}")
    if plot is not None and not plot.absolute().parent.is_dir():
        raise CourseError(f"{plot}: there is no folder {plot.parent} to write the plot to")
    if options.skip and not options.mine:
        raise CourseError("--skip says which modules not to take from --mine FOLDER; without --mine all are the reference's")
    if options.page and (options.mine or options.control or options.seed or options.data):
        raise CourseError("a page shows the reference with seed 0: leave out --mine, --control, --seed and --data")
    if options.data and "DATA_GATES" not in script:
        raise CourseError(f"{path.stem} has data of its own; --data FOLDER is for milestones on images: mlp and cnn")
    how, gates = ({"data": options.data}, script["DATA_GATES"]) if options.data else ({}, script["GATES"])
    if options.data:                    # what cannot be read is told before anything is trained
        from tinytorch import datasets

        datasets.images(options.data, 1, 1)
    with tinytorch.use(options.mine, skip=options.skip) if options.mine else contextlib.nullcontext():
        print(f"{title}, seed {options.seed}" + (f", {options.control}" if options.control else "")
              + (f", images of {options.data}" if options.data else ""))
        started = time.monotonic()
        try:
            with _bar() as progress:
                run = script["run"](options.seed, progress=progress, **how, **CONTROLS.get(options.control, {}))
        except Exception as error:      # the framework's, or the student's: both fail the milestone
            traceback.print_exc(limit=-3)
            print(f"failed: {type(error).__name__}: {error}")
            return 1
        seconds = time.monotonic() - started
        print(*rows(gates, run), sep="\n")
        whose = tinytorch.provenance()
        used = type(whose)({name: place for name, place in whose.items() if f"tinytorch.{name}" in sys.modules})
        nothing = options.mine and not any(used.values())
        print(f"code   {used}" + ("; nothing of yours was run" if nothing else ""))
        failed = [g for g in gates if not g.holds(run.values[g.measure])]
        if plot is not None:
            draw(script["draw"], run, plot)
            print(f"plot   {plot}")
        if options.page:
            _write_page(path.with_suffix(".md"), gates, run)
        said = "; ".join(f"{g.measure} is {_number(run.values[g.measure])}, wants {g}" for g in failed)
        print(f"failed in {seconds:.1f} s: {said}" if failed else f"passed in {seconds:.1f} s")
        return 1 if failed else 0


def parser(name, title):
    made = argparse.ArgumentParser(prog=name, description=title)
    made.add_argument("--seed", type=int, default=0, help="of data, starting values and order")
    made.add_argument("--mine", type=Path, metavar="FOLDER", help="run on the modules of the notebooks there")
    made.add_argument("--skip", action="append", default=[], metavar="MODULE", help="but take this module from the reference")
    made.add_argument("--control", choices=CONTROLS, help="a run that must fail")
    made.add_argument("--data", type=Path, metavar="FOLDER", help="with files of MNIST or CIFAR-10 that you have, in place of the digits")
    made.add_argument("--plot", type=Path, metavar="FILE", help="write the plot, as .svg or .png")
    made.add_argument("--page", action="store_true", help="write the plot and the figures of the page")
    return made


def _bar():
    from rich.console import Console

    from .cli.progress import bar

    return bar(Console(stderr=True), "training")


def rows(gates, run):
    """One line for each number that was measured, with its gate and whether it holds."""
    wide = max(map(len, run.values))
    by_name = {g.measure: g for g in gates}
    for name, value in run.values.items():
        g = by_name.get(name)
        verdict = f"{'holds' if g.holds(value) else 'FAILS'}: {g}{' (a theorem)' if g.exact else ''}" if g else ""
        yield f"  {name:{wide}}  {_number(value):>9}  {verdict}".rstrip()


def _number(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def draw(how, run, path):
    """Write a plot: the same run gives the same bytes."""
    from matplotlib import style
    from matplotlib.figure import Figure

    made, kind = io.BytesIO(), Path(path).suffix
    with style.context(["default", _STYLE]):        # and not that of a matplotlibrc
        figure = Figure(figsize=(7.2, 3.0), layout="constrained")
        how(figure, run)
        figure.savefig(made, format=kind[1:], metadata=_METADATA[kind], dpi=120)
    atomic.write(Path(path), made.getvalue())


def _write_page(page, gates, run):
    """Put the measured numbers between the marks of a page."""
    by_name = {g.measure: g for g in gates}
    table = ["| measured, seed 0 | | gate |", "|---|---|---|"]
    for name, value in run.values.items():
        g = by_name.get(name)
        gate = f"{g}, a theorem" if g and g.exact else str(g or "")
        table.append(f"| {name} | {_number(value)} | {gate} |")
    text = page.read_text(encoding="utf-8")
    head, mark, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not mark or not end:
        raise CourseError(f"{page}: wants the lines {BEGIN} and {END}")
    atomic.write(page, "\n".join([head + BEGIN, "", *table, "", end + tail]))
