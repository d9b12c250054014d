"""explore: sliders and pickers over a model; a figure, and one sentence that says what the figure shows.

In JupyterLab the controls are widgets, usable by keyboard. Anywhere else it prints the sentence at the start, and `.at(batch=64)`
asks for another. A student's own function is a model like any other.
"""

import base64
import difflib
import html
import io
import math
from dataclasses import dataclass

SIZE, DPI = (6.4, 3.6), 100             # inches, dots an inch of a figure
MARGINS = {"left": 0.12, "right": 0.97, "bottom": 0.15, "top": 0.9}     # fixed: fitting them draws every figure twice


class SettingError(ValueError):
    """A setting that no control has. Shown in a notebook as its message alone."""

    def _render_traceback_(self):
        return [str(self)]


@dataclass(frozen=True)
class Slider:
    """Numbers from low to high in steps; `values` are where it stops, start among them."""

    low: float
    high: float
    start: float
    unit: str
    values: tuple
    whole: bool

    def read(self, name, value):
        if isinstance(value, str):
            from mlsysim.units import UnitError, parse

            try:
                value = parse(value, unit=self.unit)[0]
            except UnitError as error:
                raise SettingError(f"{name}: {error}") from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SettingError(f"{name}: got a {type(value).__name__}; wants a number from {self.say(self.low)} to {self.say(self.high)}")
        if not self.low <= value <= self.high:
            raise SettingError(f"{name}: got {self.say(value)}; wants {self.say(self.low)} to {self.say(self.high)}")
        if self.whole and value != int(value):
            raise SettingError(f"{name}: got {value:g}; wants a whole number")
        return int(value) if self.whole else float(value)

    def say(self, value):
        from mlsysim.units import format

        return format(value, self.unit) if math.isfinite(value) else str(value)

    @property
    def extremes(self):
        return self.values[0], self.values[-1]


@dataclass(frozen=True)
class Picker:
    """One of a few values."""

    values: tuple
    start: object

    def read(self, name, value):
        if value in self.values:
            return value
        raise SettingError(f"{name}: got {value!r}; wants one of {', '.join(map(str, self.values))}{_near(value, self.values)}")

    def say(self, value):
        return str(value)

    @property
    def extremes(self):
        return self.values


def slider(low, high, *, start, unit="", log=False, steps=40):
    """A control for a number, in SI units. It is whole where low, high and start are ints; log: equal steps are equal factors."""
    if not (low < high and low <= start <= high and (low > 0 or not log)):
        more = ", low > 0 for log" if log else ""
        raise SettingError(f"slider: got {low} to {high} from {start}; wants low <= start <= high, low < high{more}")
    whole = all(type(x) is int for x in (low, high, start))
    raw = [low * (high / low) ** (i / steps) if log else low + (high - low) * i / steps for i in range(steps + 1)]
    made = {low, high, start} | {round(x) if whole else float(f"{x:.3g}") for x in raw}
    values = tuple(sorted(int(x) if whole else float(x) for x in made if low <= x <= high))
    return Slider(low, high, start, unit, values, whole)


def pick(*values, start=None):
    """A control for one of several values; the first is where it starts, if nothing else is said."""
    start = values[0] if start is None and values else start
    if len(values) < 2 or start not in values:
        raise SettingError(f"pick: got {values} from {start!r}; wants two values or more, start among them")
    return Picker(values, start)


def explore(model, controls, *, draw=None, say=None):
    """Controls over `model` -> Explore, which shows itself when it is the last line of a cell.

    model(**settings) -> a result of MLSys·im, a number, or a dict of numbers. controls: {name: slider(...) or pick(...)}.
    draw(axes, result, settings) draws on matplotlib's axes. say(result, settings) -> the sentence that stands for the figure; by
    default it names the numbers of the result.
    """
    for name, control in controls.items():
        if not isinstance(control, Slider | Picker):
            raise SettingError(f"explore: {name} is a {type(control).__name__}; wants slider(...) or pick(...)")
    if not controls:
        raise SettingError("explore: wants a control, such as batch=slider(1, 64, start=8)")
    return Explore(model, dict(controls), draw, say or _numbers)


class Explore:
    """A model under controls. `.at(**settings)` is one View, `.idle()` names the controls that change nothing."""

    def __init__(self, model, controls, draw, say):
        self._model, self.controls, self._draw, self._say = model, controls, draw, say
        self._figure = None

    @property
    def start(self):
        """Where the controls stand at first."""
        return {name: control.start for name, control in self.controls.items()}

    def at(self, **settings):
        """What comes out at these settings, the others where they start -> View."""
        for name in settings:
            if name not in self.controls:
                raise SettingError(f"there is no control {name}; there are {', '.join(self.controls)}{_near(name, self.controls)}")
        settings = self.start | {name: self.controls[name].read(name, value) for name, value in settings.items()}
        return View(self, settings, self._model(**settings))

    def corners(self):
        """Each control alone at each of its extremes, the others at the start: list of (name, View)."""
        return [(name, self.at(**{name: value})) for name, control in self.controls.items() for value in control.extremes]

    def idle(self):
        """Names of the controls that change neither the result nor the sentence; a lab has none."""
        begun = self.at()
        moved = {name for name, view in self.corners()
                 if _plain(view.result) != _plain(begun.result) or self.sentence(view) != self.sentence(begun)}
        return [name for name in self.controls if name not in moved]

    def png(self, view):
        """The figure of a View as PNG, or None. One figure is used again and again."""
        if self._draw is None:
            return None
        import matplotlib

        out = io.BytesIO()
        with matplotlib.rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):      # MARGINS are to hold
            if self._figure is None:
                from matplotlib.backends.backend_agg import FigureCanvasAgg
                from matplotlib.figure import Figure

                self._figure = Figure(figsize=SIZE, dpi=DPI)
                FigureCanvasAgg(self._figure)
            self._figure.clear()
            self._figure.subplots_adjust(**MARGINS)
            self._draw(self._figure.add_subplot(), view.result, view.settings)
            self._figure.savefig(out, format="png", pil_kwargs={"compress_level": 1})
        return out.getvalue()

    def describe(self, settings):
        """Settings as text: "batch 8, device h100"."""
        return ", ".join(f"{name.replace('_', ' ')} {self.controls[name].say(value)}" for name, value in settings.items())

    def sentence(self, view):
        return str(self._say(view.result, view.settings))

    def __repr__(self):
        name, control = next(iter(self.controls.items()))
        ask = f".at({name}={control.values[-2 if len(control.values) > 2 else -1]!r})"
        ranges = "; ".join(f"{n.replace('_', ' ')}: " + (f"{c.say(c.low)} to {c.say(c.high)}" if isinstance(c, Slider) else
                           ", ".join(map(c.say, c.values))) for n, c in self.controls.items())
        return f"{self.at()}\nControls: {ranges}. For other settings ask with {ask}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        view = self.at()
        bundle = {"text/plain": repr(self)}
        png = self.png(view)
        if png is not None:                 # what a page without widgets shows
            bundle["image/png"] = base64.b64encode(png).decode()
        if _has_widgets():
            bundle |= {k: v for k, v in widget(self, view, png)._repr_mimebundle_().items() if "widget-view" in k}
        return bundle


@dataclass(frozen=True)
class View:
    """One result at some settings. Shows the figure and its sentence."""

    explore: Explore
    settings: dict
    result: object

    def __repr__(self):
        return f"At {self.explore.describe(self.settings)}: {self.explore.sentence(self)}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        png = self.explore.png(self)
        shown = {"text/plain": repr(self), "text/html": _page(png, repr(self))}
        return shown if png is None else shown | {"image/png": base64.b64encode(png).decode()}


def widget(made, view, png):
    """The widgets of an Explore: its controls, the sentence as a live region, and the figure with the sentence as its text."""
    import ipywidgets as w

    wide = max(len(name) for name in made.controls)
    parts = {}
    for name, control in made.controls.items():
        kind = w.SelectionSlider if isinstance(control, Slider) else w.Dropdown
        parts[name] = kind(options=[(control.say(v), v) for v in control.values], value=control.start, description=name.replace("_", " "),
                           style={"description_width": f"{max(8, wide)}ch"}, layout={"width": "34em"},
                           **({"continuous_update": True} if kind is w.SelectionSlider else {}))
    page = w.HTML(_page(png, str(view)))

    def redraw(_):
        try:
            now = made.at(**{name: part.value for name, part in parts.items()})
            page.value = _page(made.png(now), str(now))
        except Exception as error:          # of the model, which may be the student's: said where they look
            page.value = _page(None, f"{type(error).__name__}: {error}")

    for part in parts.values():
        part.observe(redraw, "value")
    return w.VBox([*parts.values(), page])


def _page(png, text):
    line = f'<p role="status" aria-live="polite">{html.escape(text)}</p>'
    if png is None:
        return line
    return f'<img alt="{html.escape(text)}" style="max-width: 100%" src="data:image/png;base64,{base64.b64encode(png).decode()}">{line}'


def _numbers(result, settings):
    """The numbers of a result as text, with their units where MLSys·im knows them."""
    from mlsysim.result import UNITS, Result
    from mlsysim.units import format

    if isinstance(result, Result):
        units = UNITS | result.units
        own = {k: v for k, v in vars(result).items() if isinstance(v, int | float) or getattr(v, "shape", None) == ()}
        result = {k: (v, units.get(k, "")) for k, v in own.items()}
    elif isinstance(result, dict):
        result = {k: (v, "") for k, v in result.items()}
    else:
        result = {"result": (result, "")}
    said = {k: v if isinstance(v, str | bool) else format(float(v), unit) for k, (v, unit) in result.items()}
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in said.items())


def _near(value, names):
    found = difflib.get_close_matches(str(value), map(str, names), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _plain(result):
    """A result as text that is equal where the numbers are."""
    return repr(result.to_dict() if hasattr(result, "to_dict") else result)


def _has_widgets():
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")
