"""How practice goes: points by area and level, streaks, and how sure somebody was against how often they were right."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from .round import Say
from .session import plural
from .taxonomy import LEVELS


@dataclass(frozen=True)
class Progress:
    """What the attempts add up to. groups: {(kind of group, name): (attempts, mean share)}; days is the streak up to today.

    grid: {(area, level): (attempts, mean share)}. right is the run of items all right up to now, best the longest.
    calibration: [(low, high, answers, mean confidence, share right)] by bins of the student's confidence; brier their mean squared
    error; intervals (held, all) of estimates; mistakes the misconceptions met most often.
    """

    attempts: int
    groups: dict
    grid: dict
    days: int
    right: int
    best: int
    calibration: list
    brier: float | None
    intervals: tuple
    mistakes: list


_BINS = (0, 0.2, 0.4, 0.6, 0.8, 0.95, 1)
_OFF = 0.15                             # a difference worth a word


def progress(attempts, today=None):
    """Progress over a list of attempts as Practice.attempts() gives them; days are those of the local clock."""
    today = today or datetime.now().astimezone().date()
    shares, cells = defaultdict(list), defaultdict(list)
    run = best = 0
    for a in attempts:
        for group in ("area", "level", "track"):
            shares[group, a[group]].append(a["share"])
        cells[a["area"], a["level"]].append(a["share"])
        run = run + 1 if a["share"] > 1 - 1e-9 else 0
        best = max(best, run)
    dates = {datetime.fromisoformat(a["at"]).astimezone().date() for a in attempts}
    day = today if today in dates else today - timedelta(days=1)    # a day is not over before midnight
    days = 0
    while day in dates:
        days, day = days + 1, day - timedelta(days=1)
    answers = [answer for a in attempts for answer in a["answers"]]
    sure = [(x["confidence"], float(x["share"] > 1 - 1e-9)) for x in answers if x["confidence"] is not None]
    bins = []
    for low, high in zip(_BINS, _BINS[1:], strict=False):
        inside = [(c, r) for c, r in sure if low <= c < high or c == high == 1]
        if inside:
            bins.append((low, high, len(inside), sum(c for c, _ in inside) / len(inside), sum(r for _, r in inside) / len(inside)))
    held = [x["held"] for x in answers if x["held"] is not None]
    groups, grid = ({k: (len(v), sum(v) / len(v)) for k, v in sorted(x.items())} for x in (shares, cells))
    return Progress(len(attempts), groups, grid, days, run, best, bins,
                    sum((c - r) ** 2 for c, r in sure) / len(sure) if sure else None, (sum(held), len(held)),
                    Counter(x["mistake"] for x in answers if x["mistake"]).most_common(5))



def said(found):
    """Progress as text -> [Say]."""
    if not found.attempts:
        return [Say("no attempts yet; start with: staffml drill")]
    lines = [Say(f"{plural(found.attempts, 'item')}; {plural(found.days, 'day')} in a row; "
                 f"{found.right} right in a row, at best {found.best}")]
    lines += [Say(line) for line in _table(found)]
    for (group, name), (count, share) in found.groups.items():
        if group == "track":
            lines.append(Say(f"track {name:<8} {100 * share:3.0f} % of {plural(count, 'item')}"))
    if found.calibration:
        lines.append(Say(f"how sure, and how often right (squared error {found.brier:.2f}; always saying 50 % gives 0.25)"))
        for low, high, count, sure, right in found.calibration:
            bin_ = f"  {100 * low:3.0f} to {100 * high:3.0f} %"
            text = f"{bin_}: {plural(count, 'answer')}, sure {100 * sure:.0f} %, right {100 * right:.0f} %  {_word(sure, right)}"
            lines.append(Say(text.rstrip()))
    if found.intervals[1]:
        lines.append(Say(f"intervals meant to hold the truth nine times in ten: {found.intervals[0]} of {found.intervals[1]} did"))
    return lines + [Say(f"met {plural(count, 'time')}: {name}") for name, count in found.mistakes]


def _word(sure, right):
    return "more sure than right" if sure - right > _OFF else "less sure than right" if right - sure > _OFF else ""


def _table(found):
    """Points by area and level, with the number of items behind them."""
    areas = [name for group, name in found.groups if group == "area"]
    rows = [["", *LEVELS, "all"]]
    for area in areas:
        rows.append([area, *(_cell(found.grid.get((area, level))) for level in LEVELS), _cell(found.groups["area", area])])
    rows.append(["all", *(_cell(found.groups.get(("level", level))) for level in LEVELS), ""])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))] for row in rows)
    return ["points (items)", *("  ".join(row).rstrip() for row in padded)]


def _cell(cell):
    return f"{100 * cell[1]:.0f} % ({cell[0]})" if cell else "."


def plot(found):
    """Points by area, and the calibration curve, as a figure -> (Figure, its description in words)."""
    from matplotlib.figure import Figure

    from mlsysim.plot import COLOURS

    areas = [(name, *value) for (group, name), value in found.groups.items() if group == "area"][::-1]
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.barh([f"{name} ({count})" for name, count, _ in areas], [100 * share for _, _, share in areas], height=0.6,
              color=COLOURS[0])
    left.set(xlim=(0, 100), ylim=(-0.5, max(len(areas), 4) - 0.5), xlabel="points (%)", title="By area (items)")
    right.plot((0, 100), (0, 100), color="gray", linestyle="--", label="as sure as right")
    if found.calibration:
        x, y, n = ([b[i] for b in found.calibration] for i in (3, 4, 2))
        x, y = [100 * v for v in x], [100 * v for v in y]
        right.plot(x, y, "o-", color=COLOURS[1], label="you (answers)")
        for at, height, count in zip(x, y, n, strict=True):
            right.annotate(str(count), (at, height), textcoords="offset points", xytext=(6, 6))
    right.set(xlim=(0, 104), ylim=(0, 104), xlabel="how sure (%)", ylabel="how often right (%)", title="Calibration", aspect="equal")
    right.legend(loc="upper left", fontsize="small")
    return figure, description(found)


def description(found):
    """What `plot` shows, in words."""
    bars = ", ".join(f"{name} {100 * share:.0f} % of {plural(count, 'item')}" for (group, name), (count, share) in found.groups.items()
                     if group == "area") or "no items yet"
    curve = "; ".join(f"sure {100 * sure:.0f} %, right {100 * right:.0f} % of {plural(count, 'answer')}"
                      for _, _, count, sure, right in found.calibration) or "no answers with a confidence yet"
    return f"Points by area: {bars}. Calibration, confidence against how often it was right: {curve}."


def save(found, path):
    """Write the plot to a file whose ending names the format; PNG and SVG carry the description -> description."""
    figure, text = plot(found)
    kind = str(path).rpartition(".")[2].lower()
    supported = figure.canvas.get_supported_filetypes()
    if kind not in supported:
        raise ValueError(f"{path}: its ending names no format; wants one of {', '.join(sorted(supported))}")
    figure.savefig(path, format=kind, metadata={"png": {"Description": text}, "svg": {"Description": text, "Date": None}}.get(kind))
    return text
