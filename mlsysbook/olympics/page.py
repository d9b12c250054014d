"""The leaderboard: one folder of HTML without anything fetched, with a page of evidence for each entry."""

import base64
import hashlib
import math
import shutil
import tempfile
from datetime import UTC
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import atomic
from ..box.outputs import plain
from . import measure
from .event import boards, counting
from .tracks import EVENTS, MIB, TRACKS

HERE = Path(__file__).parent / "templates"
_BASE = Path(__file__).parent.parent / "grading" / "templates" / "page.css"
_ORDER = ("all-round", "latency", "memory", "accuracy")
FORMULAS = (
    ("latency", "The geometric mean over fresh starts of exp(median over turns of log(reference's seconds / entry's seconds)), by the "
                "organiser's clock, from a request of 1,024 pictures sent to its answer received. A bootstrap of turns; the interval holds "
                "that of every start."),
    ("memory", "Reference's bytes / entry's bytes: all arrays of the model, and what data the code carries. Counted, so its interval is "
               "a point."),
    ("accuracy", "Reference's error / entry's error, error = (wrong + 1/2) / (asked + 1), over all pictures that were asked while time "
                 "was taken. A bootstrap of the drawings that the pictures were made of."),
    ("all-round", "(latency × memory × accuracy) to the power 1/3; the ends of the interval are those of the three, multiplied."),
)


def write(event):
    """Write page/ of an event -> path of its index. The old page stays until the new one is whole."""
    entries = event.entries()
    counted, made = counting(entries), boards(entries)
    env = _environment()
    with tempfile.TemporaryDirectory(dir=event.folder, prefix=".page-") as place:
        new = Path(place) / "page"
        atomic.write(new / "index.html", env.get_template("index.html").render(
            event=event, tiles=_tiles(entries, counted), events=_ORDER, formulas=FORMULAS, others=_others(entries, counted),
            tracks=[_track(t, made) for t in TRACKS.values()], **_script()))
        for e in entries:
            text = env.get_template("entry.html").render(
                event=event, e=e, counts=e.id in counted, kinds=measure.KINDS, facts=_facts(e), plots=_plots(e),
                scores={name: e.scores[name] for name in _ORDER} if e.scores else {}, script="", script_hash="none")
            atomic.write(new / "entries" / f"{e.id}.html", text)
            atomic.write_json(new / "entries" / f"{e.id}.json", {"entry": e.id, "sha256": e.sha256, "received": e.received.isoformat(),
                                                                 "lines": e.lines}, mode=0o644)
        for path in (new, new / "entries"):
            path.chmod(0o755)
        old = event.folder / "page"
        if old.exists():
            shutil.move(old, Path(place) / "old")
        new.rename(old)
    return event.folder / "page" / "index.html"


def _environment():
    env = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                      finalize=lambda v: plain(v, 2000) if type(v) is str else v)
    env.filters.update(utc=lambda at: f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC", grouped=lambda n: f"{n:,}", mib=lambda n: f"{n / MIB:g}",
                       number=lambda x: f"{x:g}", three=_three)
    env.globals["style"] = Markup(_BASE.read_text(encoding="utf-8") + (HERE / "style.css").read_text(encoding="utf-8"))
    return env


def _three(x):
    """A ratio with about three digits."""
    return f"{x:.2g}" if x < 0.1 else f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:,.0f}"


def _script():
    text = (HERE / "sort.js").read_text(encoding="utf-8")
    return {"script": Markup(text), "script_hash": "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}


def _tiles(entries, counted):
    def n(status):
        return sum(e.status == status for e in entries)

    return [(len(entries), "handed in"), (len({e.team for e in entries}), "teams and individuals"), (len(counted), "ranked"),
            (n("valid") - len(counted), "replaced by a later one"), (n("disqualified"), "disqualified"), (n("late"), "late"),
            *([(n("waiting") + n("built"), "wait to be run")] if n("waiting") + n("built") else [])]


def _track(track, made):
    shown = []
    for board, title in (("individual", "Individuals"), ("team", "Teams")):
        tables = {e: made[track.name, e, board] for e in EVENTS}
        places = {e: {entry.id: k for k, (_, entry) in enumerate(rows)} for e, rows in tables.items()}
        given = {e: {entry.id: rank for rank, entry in rows} for e, rows in tables.items()}
        whole = [entry.scores["all-round"] for _, entry in tables["all-round"]]
        widest = max([math.log(1.1), *(abs(math.log(v)) for s in whole for v in (s.low, s.high))])
        shown.append((title, [{"entry": entry, "scores": entry.scores, "ranks": {e: given[e][entry.id] for e in EVENTS},
                               "place": {e: places[e][entry.id] for e in EVENTS}, "plot": _range(entry.scores["all-round"], widest)}
                              for _, entry in tables["all-round"]]))
    return {**vars(track), "boards": shown}


def _range(s, widest):
    """A score and its interval on a logarithmic axis from 1/widest to widest, with the reference in the middle."""
    low, value, high = (90 + 84 * math.log(v) / widest for v in (s.low, s.value, s.high))
    return Markup(f'<svg viewBox="0 0 180 20" width="180" height="20" role="img" '
                  f'aria-label="{s.value:.3g}, from {s.low:.3g} to {s.high:.3g}"><line class="axis" x1="4" x2="176" y1="10" y2="10"/>'
                  f'<line class="one" x1="90" x2="90" y1="1" y2="19"/><line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="10" y2="10"/>'
                  f'<circle class="dot" cx="{value:.1f}" cy="10" r="4"/></svg>')


def _others(entries, counted):
    def why(e):
        if e.status == "valid":
            return "A later entry of the team counts"
        return {"disqualified": f"Disqualified: {measure.KINDS.get(e.kind, e.kind)}", "late": "Late"}.get(e.status, "Waits to be run")

    return [(e, why(e)) for e in entries if e.id not in counted]


def _facts(e):
    """What was measured of an entry, as (name, text)."""
    r, facts = e.result, []
    if "accuracy" in r:
        facts += [("right", f"{r['accuracy']:.2%} of the pictures; the reference {r['reference_accuracy']:.2%}"),
                  ("bytes", f"{r['bytes']:,}; the reference {r['reference_bytes']:,}"),
                  ("resident memory", f"{r['resident_above_reference'] / MIB:+.2f} MiB against the reference's process, at their peaks"),
                  ("processor time", "; ".join(f"{s['cpu_seconds']:.3f} s in turns of {s['awake_seconds']:.3f} s" for s in r["starts"]))]
    built = next((line for line in reversed(e.lines) if line["step"] == "built"), None)
    if built:
        facts += [("built in", f"{built['seconds']:.2f} s"), ("SHA-256 of the model", built["model_sha256"])]
    if "own" in r:
        facts.append(("own modules of TinyTorch", ", ".join(r["own"]) or "none; the reference's"))
    if "machine" in r:
        m = r["machine"]
        facts += [("measured on", f"{m['processor'] or m['machine']}, {m['processors']} processors, Linux {m['system']}"),
                  ("versions", f"Python {m['python']}, NumPy {m['numpy']}, course {m['course']}, tinytorch {m['tinytorch']}")]
    return facts


def _plots(e):
    return [(f"Start {k}: milliseconds a request, turn by turn", _timings(s["seconds"], s["reference_seconds"]))
            for k, s in enumerate(e.result.get("starts", ()), 1)]


def _timings(mine, theirs):
    low, high = (f(f(mine), f(theirs)) for f in (min, max))
    span = math.log(high / low) or 1.0

    def at(k, v):
        return 76 + k * 504 / max(1, len(mine) - 1), 130 - 110 * math.log(v / low) / span

    dots = "".join(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for kind, values in (("ref", theirs), ("dot", mine))
                   for x, y in (at(k, v) for k, v in enumerate(values)))
    middle, ref_middle = (1e3 * sorted(v)[len(v) // 2] for v in (mine, theirs))
    return Markup('<svg viewBox="0 0 600 160" width="600" height="160" role="img" '
                  f'aria-label="Median {middle:.3g} ms, reference {ref_middle:.3g} ms">'
                  '<line class="axis" x1="76" x2="580" y1="130" y2="130"/>'
                  f'<line class="axis" x1="76" x2="580" y1="20" y2="20"/><text x="4" y="24">{1e3 * high:.3g} ms</text>'
                  f'<text x="4" y="134">{1e3 * low:.3g} ms</text>'
                  f'<text x="76" y="152">filled: the entry; open: the reference; a logarithmic scale</text>{dots}</svg>')
