"""A whole event, made up: entries that differ in what they really are, handed in, run in the box, ranked. Nobody took part.

Each kind of entry is the starter with other code: wider, narrower, of another precision, pruned, faster, slower; and those that
fail or cheat. What becomes of them is measured like anybody's. `expected` is what their author hopes or should fear; the
tests hold the run to it.
"""

import io
import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from .. import atomic, catalogue
from ..errors import CourseError
from . import event as events
from . import package
from .tracks import TRACKS

MARK = ".simulation"                    # in a folder that a simulation made, and that the next one may empty
DUE = datetime(2026, 6, 1, 18, tzinfo=UTC)
_STARTER = (Path(__file__).parent / "starter" / "entry.txt").read_text(encoding="utf-8")

_WIDE = '''

def build(x, y, budget, seed):
    network = capstone.quantised(capstone.trained(x, y, (64, WIDTH, 10), seed, epochs=EPOCHS))
    return {f"{name}{k}": array for k, layer in enumerate(network["layers"]) for name, array in layer.items() if array is not None}
'''
_FLOAT = '''

def build(x, y, budget, seed):
    model = capstone.trained(x, y, (64, WIDTH, 10), seed, epochs=75)
    layers = [m for m in model.modules() if isinstance(m, capstone.Linear)]
    return {f"{name}{k}": getattr(layer, name).numpy().astype("float16") for k, layer in enumerate(layers) for name in ("weight", "bias")}
'''
_PRUNED = '''

def build(x, y, budget, seed):
    model = capstone.trained(x, y, (64, 4 * WIDTH // 3, 10), seed, epochs=100)
    first, last = [m for m in model.modules() if isinstance(m, capstone.Linear)]
    w, b, v = first.weight.numpy(), first.bias.numpy(), last.weight.numpy()
    keep = np.sort(np.argsort(np.linalg.norm(w, axis=1) * np.linalg.norm(v, axis=0))[-WIDTH:])
    hidden = np.column_stack([np.maximum(x @ w[keep].T + b[keep], 0), np.ones(len(x))])         # what is left is fitted again
    fitted = np.linalg.solve(hidden.T @ hidden + 3 * np.eye(len(keep) + 1), hidden.T @ np.eye(10)[y]).T
    found = {}
    for k, (weight, bias) in enumerate(((w[keep], b[keep]), (fitted[:, :-1], fitted[:, -1]))):
        scales = np.maximum(abs(weight).max(axis=1), 1e-12) / 127
        found |= {f"weight{k}": np.rint(weight / scales[:, None]).astype(np.int8), f"scales{k}": scales.astype(np.float32),
                  f"bias{k}": bias.astype(np.float32)}
    return found
'''
_ONE_LAYER = '''

def build(x, y, budget, seed):
    network = capstone.quantised(capstone.trained(x, y, (64, 10), seed, epochs=EPOCHS))
    return {f"{name}0": array for name, array in network["layers"][0].items()}
'''
_FAST = '''

def load(model):
    layers = len([name for name in model if name.startswith("weight")])
    whole = []
    for k in range(layers):
        weight = model[f"weight{k}"].astype(np.float32)
        if f"scales{k}" in model:
            weight = weight * model[f"scales{k}"][:, None]
        whole.append((np.ascontiguousarray(weight.T), model[f"bias{k}"].astype(np.float32)))
    return whole


def predict(layers, x):
    for k, (weight, bias) in enumerate(layers):
        x = x @ weight
        x += bias
        if k + 1 < len(layers):
            np.maximum(x, 0, out=x)
    return x
'''
_SLOW = '''

slowly = predict


def predict(layers, x):
    parts = [slowly(layers, part) for part in np.array_split(x, 2)]
    return np.concatenate(parts)
'''
_CRAWL = '''

def predict(layers, x):
    return np.concatenate([np.asarray(capstone.run({"layers": layers}, row[None])) for row in x])
'''
_CACHED = '''

kept, once = {}, predict


def predict(layers, x):
    key = x.tobytes()
    if key not in kept:
        kept.clear()
        kept[key] = once(layers, x)
    return kept[key]
'''
_FAULTS = {
    "raises": '\n\ndef predict(layers, x):\n    raise ValueError("matrices do not fit")\n',
    "no-build": '\n\ndef build(x, y, budget, seed):\n    return x @ y\n',
    "hangs": '\n\ndef predict(layers, x):\n    while True:\n        pass\n',
    "wrong-shape": '\n\nright = predict\n\n\ndef predict(layers, x):\n    return right(layers, x)[:, :9]\n',
    "nan": '\n\nright = predict\n\n\ndef predict(layers, x):\n    return right(layers, x) * float("nan")\n',
    "guesses": '\n\nanything = np.random.default_rng(1)\n\n\ndef predict(layers, x):\n    return anything.normal(size=(len(x), 10))\n',
    "clock": '\n\nimport time\ntime.perf_counter = lambda: 0.0\nprint("latency: 0.0 s")\n',
    "shadow": '\n\ntry:\n    open("/etc/shadow").read()\nexcept OSError:\n    pass\n',
    "network": '\n\nimport socket\ntry:\n    socket.create_connection(("127.0.0.1", 9), 0.1)\nexcept OSError:\n    pass\n',
    "busy": """

import os


def load(model, _load=load):
    if os.fork() == 0:
        while True:
            pass
    return _load(model)
""",
}


@dataclass(frozen=True)
class Kind:
    """code after the starter's; expected: valid, or the kind of disqualification; manifest: what to replace in olympics.toml."""

    does: str
    code: str = ""
    expected: str = "valid"
    manifest: tuple = ()
    weights: bool = False
    notebooks: bool = False


def _wide(width, epochs=25):
    return _WIDE.replace("WIDTH", str(width)).replace("EPOCHS", str(epochs))


# W0 and W1 stand for the widths of `_WIDTHS`, which fit the budget of the entry's track.
KINDS = {
    "reference": Kind("hands in the starter"),
    "fast": Kind("converts weights once, when it is loaded", _FAST),
    "wide": Kind("twelve hidden units more for each thousand bytes", _wide("W0") + _FAST),
    "half": Kind("half as wide, trained three times as long", _wide("W1", 75)),
    "half-fast": Kind("half as wide, trained three times as long, weights converted once", _wide("W1", 75) + _FAST),
    "patient": Kind("trains three times as long", _wide("W0", 75)),
    "float16": Kind("float16 in place of int8, trained three times as long", _FLOAT.replace("WIDTH", "W1") + _FAST),
    "pruned": Kind("trains a third more units than it keeps, and fits the last layer again", _PRUNED.replace("WIDTH", "W1")),
    "one-layer": Kind("no hidden layer", _ONE_LAYER.replace("EPOCHS", "25")),
    "one-layer-fast": Kind("no hidden layer, weights converted once", _ONE_LAYER.replace("EPOCHS", "40") + _FAST),
    "cached": Kind("keeps its last answer, which is never asked for again", _CACHED),
    "slow": Kind("answers each request in two halves", _SLOW),
    "stored": Kind("trained at home, hands in arrays", "", weights=True, manifest=(('build = "build"', 'weights = "model.npz"'),)),
    "own": Kind("runs on notebooks of all modules, as a student's own", notebooks=True),
    "too-small": Kind("no hidden layer where others have room for one", _ONE_LAYER.replace("EPOCHS", "40") + _FAST, "accuracy"),
    "crawls": Kind("one picture at a time", _CRAWL, "budget"),
    "bloated": Kind("a hidden layer of 400 units", _wide(400), "budget"),
    "hoards": Kind("keeps weights as a text in its code", f"\n\nKEPT = {'0123456789abcdef' * 1100!r}\n", "budget"),
    "raises": Kind("fails in predict", _FAULTS["raises"], "crash"),
    "no-build": Kind("fails in build", _FAULTS["no-build"], "crash"),
    "syntax": Kind("is not Python", "\n\ndef predict(layers, x)\n    return x\n", "package"),
    "no-track": Kind("names a track that there is not", "", "package", (('track = "', 'track = "super'),)),
    "hangs": Kind("never answers", _FAULTS["hangs"], "time"),
    "wrong-shape": Kind("answers for nine classes", _FAULTS["wrong-shape"], "shape"),
    "nan": Kind("answers NaN", _FAULTS["nan"], "nan"),
    "guesses": Kind("guesses", _FAULTS["guesses"], "accuracy"),
    "clock": Kind("stops the clock and prints a time of its own", _FAULTS["clock"], "patched"),
    "shadow": Kind("reads the system's passwords", _FAULTS["shadow"], "escape"),
    "network": Kind("calls out", _FAULTS["network"], "escape"),
    "busy": Kind("keeps a second process busy, to slow the reference", _FAULTS["busy"], "processors"),
}
_GOOD = ("fast", "half-fast", "reference", "one-layer-fast", "wide", "pruned", "float16", "cached", "half", "one-layer", "patient", "slow",
         "stored", "own")
_BAD = ("raises", "guesses", "nan", "clock", "wrong-shape", "shadow", "syntax", "bloated", "no-track", "hoards", "hangs", "network",
        "crawls", "no-build", "busy", "too-small")
_WIDTHS = {"cloud": (150, 64), "edge": (88, 48), "mobile": (46, 24), "tiny": (6, 5)}


@dataclass(frozen=True)
class Made:
    """One simulated hand-in."""

    kind: str
    track: str
    team: str
    members: tuple
    minutes: int                        # before the deadline; after it if negative
    seed: int = 0


def plan(n):
    """n hand-ins: about two of three good, a tie, two resubmissions (one of them broken), a late one, the rest at fault."""
    if n < 8:
        raise CourseError(f"a simulated event wants at least 8 hand-ins, got {n}")
    tracks = list(TRACKS)
    special = [Made("reference", "tiny", "Tie One", ("Tie One",), 900), Made("reference", "tiny", "Tie Two", ("Tie Two",), 890),
               Made("half-fast", "mobile", "Second Thoughts", ("Second Thoughts",), 800),
               Made("half", "mobile", "Second Thoughts", ("Second Thoughts",), 60),
               Made("fast", "cloud", "Broke It", ("Broke", "It"), 700), Made("raises", "cloud", "Broke It", ("Broke", "It"), 30),
               Made("clock", "edge", "Clock", ("Clock",), 500), Made("reference", "edge", "Too Late", ("Too", "Late"), -5)]
    rest = []
    for k in range(n - len(special)):
        bad = k % 3 == 2
        kind = (_BAD[k // 3 % len(_BAD)] if bad else _GOOD[(k - k // 3) % len(_GOOD)])
        track = tracks[(k + k // 4) % 4]
        if kind in ("wide", "half", "half-fast", "pruned", "float16", "patient", "too-small") and track == "tiny":
            track = tracks[k % 3]       # a hidden layer is no good there, and none is enough
        if kind.startswith("one-layer"):
            track = "tiny"
        team = f"Sim {k + 1:02d} {kind}"
        rest.append(Made(kind, track, team, (team,) if k % 2 == 0 else (f"{team} a", f"{team} b"), 850 - k, seed=k))
    return special + rest


def write(made, folder, task):
    """Write the entry of one simulated hand-in to a new folder."""
    kind, (w0, w1) = KINDS[made.kind], _WIDTHS[made.track]
    package.new(folder, made.track, made.team, catalogue.find_root() / "source" if kind.notebooks else None)
    for path in folder.glob("work/*/*.ipynb"):      # a student's have no such marks
        text = path.read_text(encoding="utf-8")
        atomic.write(path, re.sub(r" *### (BEGIN|END) SOLUTION\\n", "", text))
    text = (folder / package.MANIFEST).read_text(encoding="utf-8")
    text = text.replace(f'members = ["{made.team}"]', "members = [" + ", ".join(f'"{m}"' for m in made.members) + "]")
    for old, new in (*kind.manifest, ("seed = 0", f"seed = {made.seed}")):
        text = text.replace(old, new, 1)
    atomic.write(folder / package.MANIFEST, text)
    atomic.write(folder / "entry.py", _STARTER + kind.code.replace("W0", str(w0)).replace("W1", str(w1)))
    if kind.weights:
        names = {}
        exec(compile(_STARTER, "entry.py", "exec"), names)          # the starter is ours
        data = io.BytesIO()
        np.savez(data, **names["build"](task.x.astype(np.float32) / 255, task.y, TRACKS[made.track].budget, made.seed))
        atomic.write(folder / "model.npz", data.getvalue())


def make(folder, n, *, secret=b"simulation"):
    """Open an event in a folder and hand in n simulated entries -> (Event, {id: Made}). Empties what a simulation made before."""
    folder = Path(folder)
    if (folder / MARK).is_file():
        shutil.rmtree(folder)
    planned = plan(n)
    event = events.create(folder, f"Simulated event of {n} hand-ins", DUE, secret=secret, simulated=True)
    atomic.write(folder / MARK, "")
    task, handed = event.task(), {}
    with tempfile.TemporaryDirectory(prefix="mlsys-simulated-") as place:
        for k, made in enumerate(sorted(planned, key=lambda m: -m.minutes)):
            hand_in = Path(place) / str(k) / made.team
            write(made, hand_in, task)
            name, _ = events.submit(event, hand_in, now=DUE - timedelta(minutes=made.minutes))
            handed[name] = made
    return event, handed


def surprises(event, handed):
    """Entries that ended otherwise than their kind says -> list of lines."""
    said = []
    for e in event.entries():
        made = handed[e.id]
        wanted = "late" if made.minutes < 0 else KINDS[made.kind].expected
        got = e.kind if e.status == "disqualified" else e.status
        if got != wanted:
            said.append(f"{e.id} ({made.track}): {KINDS[made.kind].does}; expected {wanted}, got {got} {e.reason}".rstrip())
    return said


