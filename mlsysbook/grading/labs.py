"""What a class bet in its labs: one page and one notebook, from the graded records. Nothing in them is fetched or run by itself."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup, escape
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from .. import atomic
from ..answers.predict import calibration
from . import report
from . import statistics as s
from .deadlines import show
from .feedback import TEMPLATES, environment

EDGES = (-math.inf, -2, -1, -0.5, -0.3, -0.1, 0.1, 0.3, 0.5, 1, 2, math.inf)     # decades between a guess and the truth

# A start for an instructor's own questions: the numbers of the page as data, without names.
INTRODUCTION = "`LABS` holds the predictions of each lab; `off` is log10(guess / truth)."
PLOTS = """
import matplotlib.pyplot as plt

for lab in LABS:
    for p in lab["predictions"]:
        if p["off"]:
            plt.hist(p["off"], bins=20)
            plt.xlabel("decades from the truth")
            plt.ylabel("students")
            plt.title(f"{lab['title']}: {p['name']}, {len(p['off'])} guesses")
            plt.show()
""".strip()


def write(classroom, course, assignments, to):
    """Write the page on the labs among `assignments` to file `to`, and the notebook beside it -> both paths."""
    works, students, names, due, titles = report.gather(classroom, assignments)
    page = summary(works, titles)
    now = show(datetime.now(UTC))
    style = Markup((TEMPLATES / "page.css").read_text(encoding="utf-8"))
    html = environment().get_template("labs.html").render(labs=page, course=course, classroom=classroom, now=now, style=style, chart=chart)
    to = Path(to)
    atomic.write(to, html, mode=0o600)
    beside = to.with_suffix(".ipynb")
    atomic.write(beside, json.dumps(notebook(page, course.title), indent=1, sort_keys=True) + "\n", mode=0o600)
    return to, beside


def summary(works, titles):
    """Works by assignment id -> list of labs that asked for predictions, as plain data."""
    found = []
    for assignment, handed_in in works.items():
        done = [w for w in handed_in if w.fate != "not collected"]
        bets = {}
        for w in done:
            for i in w.items:
                if i["kind"] == "predict":
                    bets.setdefault(i["name"], []).append(i)
        if not bets:
            continue
        spent = [(max(at) - min(began)) / 60 for at, began in map(_clocks, done) if at and began]
        mistakes = [{"text": text, "item": item, "n": len(who)} for text, item, who in s.misconceptions(done)]
        found.append({"id": assignment, "title": titles[assignment], "n": len(done), "minutes": s.median(spent), "timed": len(spent),
                      "predictions": [_prediction(name, items) for name, items in bets.items()], "mistakes": mistakes,
                      "decisions": _decisions(done)})
    return found


def _clocks(work):
    items = [i for i in work.items if i["kind"] == "predict" and i.get("at") is not None]
    return [i["at"] for i in items], [i["began"] for i in items]


def _prediction(name, items):
    """How a class did on one prediction: off by how many decades, how often the interval held the truth, how wide it was."""
    locked = [i for i in items if i.get("value") is not None]
    known = [i for i in locked if i.get("truth") is not None]
    found = [calibration(i["low"], i["value"], i["high"], i["truth"]) for i in known]
    off = [math.log10(i["value"] / i["truth"]) for i in known if i["value"] > 0 < i["truth"]]
    wide = [math.log10(i["high"] / i["low"]) for i in known if 0 < i["low"] <= i["high"]]
    middle = s.median([abs(x) for x in off])
    return {"name": name, "asked": len(items), "locked": len(locked), "judged": len(known), "off": sorted(round(x, 4) for x in off),
            "factor": None if middle is None else 10**middle, "held": s.mean(float(c.held) for c in found) if found else None,
            "width": 10 ** s.median(wide) if wide else None, "score": s.mean(c.score for c in found) if found else None}


def _decisions(works):
    """For each decision, how many named the limit that binds, and how many rest on three right answers."""
    rows = {}
    for w in works:
        for i in w.items:
            if i["kind"] == "decision" and i.get("behaviours"):
                row = rows.setdefault(i["name"], {"name": i["name"], "n": 0, "parts": {}})
                row["n"] += 1
                for part, ok in i["behaviours"].items():
                    row["parts"][part] = row["parts"].get(part, 0) + bool(ok)
    return list(rows.values())


def counts(off):
    """How many guesses fall between two EDGES."""
    return [sum(low <= x < high for x in off) for low, high in zip(EDGES, EDGES[1:], strict=False)]


def chart(prediction):
    """Guesses by how far they are off, as SVG that is read aloud by its title."""
    n = counts(prediction["off"])
    most, width, height, left = max(max(n), 1), 640, 150, 8
    step = (width - 2 * left) / len(n)
    said = ", ".join(f"{_called(low, high)}: {k}" for low, high, k in zip(EDGES, EDGES[1:], n, strict=False) if k) or "none"
    title = escape(f"Guesses by factor from the truth. {said}")
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">']
    for i, k in enumerate(n):
        h, x = 90 * k / most, left + i * step
        parts.append(f'<rect class="bar" x="{x + 2:.1f}" y="{108 - h:.1f}" width="{step - 4:.1f}" height="{h:.1f}" rx="2"/>'
                     f'<text class="note" x="{x + step / 2:.1f}" y="{102 - h:.1f}" text-anchor="middle">{k or ""}</text>')
    for i, edge in enumerate(EDGES[1:-1], 1):
        label = f"{10**edge:.3g}"
        parts.append(f'<text class="tick" x="{left + i * step:.1f}" y="124" text-anchor="middle">{label}</text>')
    parts.append(f'<text class="tick" x="{width / 2}" y="144" text-anchor="middle">guess / truth</text></svg>')
    return Markup("".join(parts))


def _called(low, high):
    if low < 0 < high:
        return f"right within a factor of {10**high:.3g}"
    near, far = sorted((abs(low), abs(high)))
    factor = f"{10**near:.3g} to {10**far:.3g}" if math.isfinite(far) else f"more than {10**near:.3g}"
    return f"{factor} times too {'low' if high <= 0 else 'high'}"


def notebook(labs, title):
    """The same numbers as a notebook."""
    cells = [new_markdown_cell(f"# {title}: what the class bet\n{INTRODUCTION}", id="title"),
             new_code_cell(f"import json\n\nLABS = json.loads({json.dumps(json.dumps(labs))})", id="data"),
             new_code_cell(PLOTS, id="plots")]
    return new_notebook(cells=cells, metadata={"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}})
