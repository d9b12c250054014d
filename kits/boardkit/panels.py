"""What JupyterLab shows of a program: memory by symbol, cycles against a prediction, numbers from the line as they come.

Every panel has a text that says the same. matplotlib and ipywidgets are imported when something is drawn.
"""

import io
import threading
import time
from collections import deque
from dataclasses import dataclass

from .elf import plain, symbols
from .errors import UsageError

REST = "all else"
SHOWN = 8                               # symbols with a part of the bar of their own
_PLACES = (("flash", ("flash", "data")), ("RAM", ("data", "ram")))


@dataclass(frozen=True)
class Panel:
    """A figure and the text that says the same. draw: a function of matplotlib's axes."""

    text: str
    draw: object
    size: tuple = (8.0, 2.4)            # inches

    def __str__(self):
        return self.text

    def png(self):
        """The figure as PNG, bytes."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=self.size, layout="constrained")
        self.draw(figure.subplots())
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=96)
        return out.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        import base64

        return {"text/plain": self.text, "image/png": base64.b64encode(self.png()).decode()}


def memory_map(report):
    """Flash and RAM of a CompileReport by symbol, the largest first, against what the board has -> Panel."""
    if report.elf is None:
        raise UsageError("there is no program to look into: the sketch did not compile")
    every = symbols(report.elf)
    rows = []
    for name, places in _PLACES:
        used, most = (report.flash, report.flash_max) if name == "flash" else (report.ram, report.ram_max)
        mine = [(plain(s.name), s.size) for s in every if s.place in places]
        parts = mine[:SHOWN]
        rest = used - sum(size for _, size in parts)
        rows.append((name, used, most, parts + ([(REST, rest)] if rest > 0 else [])))
    lines = []
    for name, used, most, parts in rows:
        lines.append(f"{name}: {used:,} B" + (f" of {most:,} B ({used / most:.0%})" if most else ""))
        lines += [f"  {size:8,} B  {symbol}" for symbol, size in parts]

    def draw(axes):
        for y, (_, used, _, parts) in enumerate(rows):
            whole, left = max(used, 1), 0
            for k, (symbol, size) in enumerate(parts):
                axes.barh(y, size / whole, left=left / whole, color=f"C{k}" if symbol != REST else "0.8", edgecolor="white", alpha=0.8)
                room = int(85 * size / whole)           # letters of this size that fit
                if room >= 6:
                    name = symbol if len(symbol) <= room else symbol[:room - 1] + "…"
                    axes.text((left + size / 2) / whole, y, f"{name}\n{size:,} B", ha="center", va="center", fontsize=7)
                left += size
        axes.set(yticks=range(len(rows)), xlim=(0, 1), xlabel="share of what the program takes", yticklabels=[
            f"{name}\n{used:,} B" + (f"\n{used / most:.0%} of {most:,} B" if most else "") for name, used, most, _ in rows])
        axes.invert_yaxis()

    return Panel("\n".join(lines), draw)


def against_prediction(rows, unit="cycles"):
    """Measured against predicted -> Panel. rows: {target: (predicted, measured)}, in `unit`; predicted may be None."""
    lines = [f"{'':20} {'predicted':>14} {'measured':>14}  ratio"]
    for name, (predicted, measured) in rows.items():
        guess = "" if predicted is None else f"{predicted:,.0f}"
        lines.append(f"{name:20} {guess:>14} {measured:>14,.0f}  {'' if not predicted else f'{measured / predicted:.2f}'}".rstrip())

    def draw(axes):
        names = list(rows)
        for y, name in enumerate(names):
            predicted, measured = rows[name]
            axes.barh(y + 0.18, measured, 0.34, color="C0", label="measured" if y == 0 else None)
            if predicted is not None:
                axes.barh(y - 0.18, predicted, 0.34, color="0.75", label="predicted" if y == 0 else None)
        axes.set(yticks=range(len(names)), yticklabels=names, xlabel=unit, xscale="log" if _spread(rows) > 100 else "linear")
        axes.invert_yaxis()
        axes.legend(fontsize=8)

    return Panel("\n".join(lines), draw, (8.0, 1.0 + 0.5 * len(rows)))


def _spread(rows):
    values = [v for pair in rows.values() for v in pair if v]
    return max(values) / min(values) if values else 1


class LivePlot:
    """Numbers that a target sends, a line of them each time, drawn as they come: `LivePlot(target)` in the last line of a cell.

    Reads until stop(), `seconds`, or the end of the line. `rows` holds the newest `keep`; what is no row of numbers is counted.
    """

    def __init__(self, target, names=(), *, keep=200, seconds=30.0, every=0.25):
        self.target, self.names, self.every = target, tuple(names), every
        self.rows, self.other, self.end = deque(maxlen=keep), 0, time.monotonic() + seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._image = self._label = None
        self._thread.start()

    def stop(self):
        """Read no more."""
        self._over.set()
        self._thread.join(2)

    def take(self, line):
        """One line of bytes from the target."""
        try:
            row = [float(x) for x in line.replace(b",", b" ").split()]
        except ValueError:
            row = []
        if row:
            self.rows.append(row)
        elif line.strip():
            self.other += 1

    @property
    def text(self):
        """What was read, one sentence."""
        newest = " ".join(f"{v:g}" for v in self.rows[-1]) if self.rows else "none"
        other = f"; lines of other text: {self.other}" if self.other else ""
        return f"rows of numbers: {len(self.rows)}, the newest {newest}{other}"

    def panel(self):
        """The newest rows as a Panel."""
        rows = list(self.rows)

        def draw(axes):
            for k in range(max(map(len, rows), default=0)):
                label = self.names[k] if k < len(self.names) else f"{k}"
                axes.plot([r[k] if k < len(r) else float("nan") for r in rows], label=label, linewidth=1)
            axes.set(xlabel="row")
            if rows:
                axes.legend(fontsize=8, loc="upper left")

        return Panel(self.text, draw, (8.0, 2.8))

    def _ipython_display_(self):
        import ipywidgets
        from IPython.display import display

        self._label = ipywidgets.Label(self.text)
        self._image = ipywidgets.Image(format="png", value=self.panel().png())      # last: the reader draws from now on
        button = ipywidgets.Button(description="Stop")
        button.on_click(lambda _: self._over.set())
        display(ipywidgets.VBox([self._image, ipywidgets.HBox([button, self._label])]))

    def _read(self):
        from serial import SerialException

        drawn = 0.0
        try:
            while not self._over.is_set() and time.monotonic() < self.end:
                line = self.target.serial.readline()
                if line:
                    self.take(line)
                if self._image is not None and time.monotonic() - drawn > self.every:
                    drawn = time.monotonic()
                    self._image.value, self._label.value = self.panel().png(), self.text
        except (SerialException, OSError):
            self.other += 1             # the line was closed: that, too, is nothing to plot
        finally:
            self._over.set()
            if self._image is not None:
                self._image.value, self._label.value = self.panel().png(), self.text
