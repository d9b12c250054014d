"""Live figures: a model swept over a grid when the book is built, drawn as SVG, moved by sliders that need no kernel.

Everything is computed here: the frame, each curve in the picture's own coordinates, each sentence. book/_static/live.js only
exchanges one for another. Without it the page shows the start of the sliders, and its sentence.
"""

import itertools
import json
from html import escape

import numpy as np

from .figures import PALETTE, frame, said
from .numbers import ChapterError, claim, written

WIDTH, HEIGHT = 680, 340
LEFT, RIGHT, TOP, BOTTOM = 72, 16, 14, 52
MOST = 400_000          # characters of data a page may carry for one figure


def live(name, model, *, controls, x, y, alt, say, caption, start=None, limit=None, log=""):
    """A figure with sliders; prose refers to it by {glue:}`fig-name`.

    model(x, **setting) -> array like x, or {curve: array}; nan where nothing is to be drawn, and the sentence says why.
    controls: {name: values}, or {name: (label, values)}; x: (label, values); y: label, or (label, low, high).
    say(x, y, **setting) -> the sentence read aloud when a control moves. start: {name: value}, the first of each if left out;
    limit: (label, value of y), a line across; log: "x", "y" or "xy".
    Raises ChapterError for a control that moves nothing, or a curve with no point in the frame.
    """
    where = claim("figure", name)
    said(where, name, alt, caption)
    knobs = [(key, *(v if isinstance(v, tuple) else (key.replace("_", " "), v))) for key, v in controls.items()]
    start = {key: values[0] for key, _, values in knobs} | (start or {})
    for key, _, values in knobs:
        if start[key] not in list(values) or len(values) < 2:
            told = f"its {len(values)} values, {values[0]!r} to {values[-1]!r}" if len(values) > 1 else "two or more values"
            raise ChapterError(f"{where}: control {key!r} of {name!r} starts at {start[key]!r}; wants one of {told}")
    x_label, xs = x[0], np.asarray(x[1], float)
    settings = [dict(zip((k for k, _, _ in knobs), values, strict=True)) for values in itertools.product(*(v for _, _, v in knobs))]
    drawn = []
    for setting in settings:
        answer = model(xs, **setting)
        curves = answer if isinstance(answer, dict) else {"": answer}
        drawn.append(({k: np.broadcast_to(np.asarray(v, float), xs.shape) for k, v in curves.items()}, say(xs, answer, **setting)))
    curves = list(drawn[0][0])
    if any(list(d) != curves for d, _ in drawn):
        raise ChapterError(f"{where}: the curves of {name!r} differ from setting to setting; wants {curves} at each")
    y_label, low, high = y if isinstance(y, tuple) else (y, *_span([d for d, _ in drawn], limit, "y" in log))
    across, up = _Scale(xs.min(), xs.max(), LEFT, WIDTH - RIGHT, "x" in log), _Scale(low, high, HEIGHT - BOTTOM, TOP, "y" in log)
    states = [{"d": [_path(across, up, xs, c) for c in d.values()], "say": sentence} for d, sentence in drawn]
    _moved(where, name, knobs, settings, states)
    for setting, state, (found, _) in zip(settings, states, drawn, strict=True):
        if not any(state["d"]) and any(np.isfinite(c).any() for c in found.values()):
            raise ChapterError(f"{where}: {name!r} has no point in its frame at {setting}; wants a control or a y range that shows one")
    data = json.dumps({"counts": [len(v) for _, _, v in knobs], "states": states}, ensure_ascii=False, separators=(",", ":"))
    data = data.replace("</", "<\\/")
    if len(data) > MOST:
        raise ChapterError(f"{where}: {name!r} would put {len(data):,} characters on the page; wants at most {MOST:,}, by fewer values")
    first = states[settings.index(start)]
    picture = _picture(name, across, up, x_label, y_label, curves, first["d"], limit, alt)
    inside = (f'<div class="mls-controls" hidden>{"".join(_control(name, knob, start) for knob in knobs)}</div>'
              f'<p class="mls-say" aria-live="polite">{escape(first["say"])}</p>'
              f'<script type="application/json">{data}</script>')  # fmt: skip
    frame(name, picture, f"{alt} {first['say']}", caption, inside, "mls-figure mls-live")


class _Scale:
    """From values to coordinates of the picture, straight or logarithmic."""

    def __init__(self, low, high, start, end, log):
        self.low, self.high, self.log = low, high, log
        self.start, self.end = start, end

    def __call__(self, value):
        f = np.log if self.log else np.asarray
        return self.start + (f(value) - f(self.low)) / (f(self.high) - f(self.low)) * (self.end - self.start)

    def ticks(self):
        from matplotlib.ticker import LogLocator, MaxNLocator

        if self.log:
            marks = LogLocator(subs=(1.0,) if self.high > 100 * self.low else (1.0, 2.0, 5.0)).tick_values(self.low, self.high)
        else:
            marks = MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        below, above = (1e-9 * x if self.log else 1e-9 * (self.high - self.low) for x in (self.low, self.high))
        return [float(m) for m in marks if self.low - below <= m <= self.high + above]


def _span(drawn, limit, log):
    every = np.concatenate([np.ravel(c) for d in drawn for c in d.values()] + ([[limit[1]]] if limit else []))
    every = every[np.isfinite(every) & ((every > 0) | (not log))]
    if not every.size:
        return 0.0, 1.0
    return (every.min(), every.max() * 1.1) if log else (min(0.0, every.min()), every.max() * 1.05)


def _path(across, up, xs, ys):
    """The d attribute of a curve: a new stroke after each gap, cut at the frame."""
    parts, pen = [], False
    drawn = np.isfinite(ys) & ((ys > 0) | (not up.log))
    inside = drawn & (ys >= up.low) & (ys <= up.high)
    px, py = across(xs), up(np.where(drawn, ys, up.high))

    def crossing(i, j):
        """Where the straight line from point i inside to point j outside meets the border."""
        border = up(up.high if ys[j] > up.high else up.low)
        return f"{px[i] + (border - py[i]) / (py[j] - py[i]) * (px[j] - px[i]):.0f} {border:.1f}"

    for i in range(len(xs)):
        if inside[i]:
            if not pen and i and drawn[i - 1]:
                parts.append(f"M{crossing(i, i - 1)}")
                pen = True
            parts.append(f"{'L' if pen else 'M'}{px[i]:.0f} {py[i]:.1f}")
        elif pen and drawn[i]:
            parts.append(f"L{crossing(i - 1, i)}")
        pen = bool(inside[i])
    return "".join(parts)


def _moved(where, name, knobs, settings, states):
    """A slider that changes neither curve nor sentence is a promise that is not kept."""
    for key, _, _ in knobs:
        groups = {}
        for setting, state in zip(settings, states, strict=True):
            rest = tuple(v for k, v in setting.items() if k != key)
            groups.setdefault(rest, set()).add(json.dumps(state))
        if all(len(seen) == 1 for seen in groups.values()):
            raise ChapterError(f"{where}: control {key!r} of {name!r} changes nothing; leave it out")


def _picture(name, across, up, x_label, y_label, curves, paths, limit, alt):
    text, tick = 'fill="currentColor" font-size="13" font-family="sans-serif"', 'stroke="currentColor" stroke-opacity="0.15"'
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(alt)}" style="width:100%;max-width:{WIDTH}px">']
    for value in across.ticks():
        at = across(value)
        parts.append(f'<path d="M{at:.0f} {TOP}V{HEIGHT - BOTTOM}" {tick}/>'
                     f'<text x="{at:.0f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" {text}>{written(value)}</text>')  # fmt: skip
    for value in up.ticks():
        at = up(value)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" {tick}/>'
                     f'<text x="{LEFT - 8}" y="{at + 4.5:.1f}" text-anchor="end" {text}>{written(value)}</text>')  # fmt: skip
    parts.append(f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="currentColor"/>'
                 f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle" {text}>{escape(x_label)}</text>'
                 f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle" {text}>'
                 f"{escape(y_label)}</text>")  # fmt: skip
    if limit:
        at = up(limit[1])
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="currentColor" stroke-dasharray="2 4"/>'
                     f'<text x="{LEFT + 6}" y="{at - 5:.1f}" {text}>{escape(limit[0])}</text>')  # fmt: skip
    dashes = ("", "8 4", "8 3 2 3", "2 3", "10 2 2 2 2 2", "1 5")
    for i, (curve, d) in enumerate(zip(curves, paths, strict=True)):
        line = f'fill="none" stroke="{PALETTE[i]}" stroke-width="2.5" stroke-dasharray="{dashes[i]}"'
        parts.append(f'<path class="mls-curve" d="{d}" {line}/>')
        if curve:
            y = TOP + 14 + 18 * i
            parts.append(f'<path d="M{LEFT + 10} {y - 4}h28" {line}/><text x="{LEFT + 44}" y="{y}" {text}>{escape(curve)}</text>')
    return "".join([*parts, "</svg>"])


def _control(name, knob, start):
    key, label, values = knob
    at, told = list(values).index(start[key]), [v if isinstance(v, str) else written(v, digits=6) for v in values]
    ident = f"live-{name}-{key}"
    if any(isinstance(v, str) for v in values):
        options = "".join(f"<option{' selected' if i == at else ''}>{escape(t)}</option>" for i, t in enumerate(told))
        return f'<label for="{ident}">{escape(label)}</label><select id="{ident}" autocomplete="off">{options}</select>'
    return (f'<label for="{ident}">{escape(label)}: <output for="{ident}">{told[at]}</output></label>'
            f'<input type="range" id="{ident}" min="0" max="{len(values) - 1}" step="1" value="{at}" autocomplete="off" '
            f'aria-valuetext="{told[at]}" data-told="{escape(json.dumps(told))}">')  # fmt: skip
