"""One entry, built and measured in the box: everything that counts is taken on this side of it.

Time: by this side's clock, around requests whose pictures the entry has never seen and which it must answer rightly. Entry and
reference take turns, AB BA AB ..., and while one of them works every process of the other is stopped; so neither can slow the
other, work ahead, or use a second processor unnoticed. Three fresh starts, each with a warm-up that is not counted.
"""

import math
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from . import arrays, package, scoring
from .boxed import Box, Fault
from .task import CLASSES, ROWS
from .tracks import MIB

STARTS, WARM, TURNS, REQUESTS = 3, 10, 40, 3     # a turn is one request to wake up and three that count
BUILD_SECONDS, LOAD_SECONDS, REQUEST_SECONDS = 60.0, 20.0, 2.0
KINDS = {
    "package": "The entry cannot be read",
    "crash": "Its code failed",
    "time": "It did not answer in time",
    "memory": "It used more memory than it may",
    "shape": "What it answered has the wrong form",
    "nan": "It answered with numbers that are none",
    "budget": "It is over a budget of its track",
    "accuracy": "It is wrong too often for its track",
    "patched": "It changed what measures it",
    "escape": "It reached for what is outside the box",
    "processors": "It worked on more than one processor, or while it was stopped",
    "ruling": "Disqualified by the organiser",
}
_PROCESSORS, _SLACK = 1.3, (0.005, 0.05)    # CPU seconds may be so many times those of its turns, and so many more: to the ns, in ticks


def machine():
    """What a result was measured on, as plain data."""
    import tinytorch.backend

    from .. import __version__

    return {"machine": platform.machine(), "processor": _processor(), "processors": os.cpu_count(), "system": platform.release(),
            "python": platform.python_version(), "numpy": np.__version__, "course": __version__,
            "tinytorch": str(tinytorch.backend.backend_info())}


def _processor():
    try:
        rows = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((row.partition(":")[2].strip() for row in rows if row.startswith("model name")), "")


def job(entry, track):
    """What the box is told about an entry."""
    m = entry.manifest
    return {"module": m.module, "build": m.build, "predict": m.predict, "seed": m.seed, "notebooks": m.notebooks is not None,
            "budget": track.budget}


class Staged:
    """An entry in a folder that boxes are made of."""

    def __init__(self, entry):
        self.entry = entry

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="mlsys-entry-"))
        self.entry.stage(self.folder)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)


def reference(track):
    """The entry that all others are measured beside: the starter, as `mlsys olympics new` writes it."""
    with tempfile.TemporaryDirectory(prefix="mlsys-reference-") as folder:
        package.new(Path(folder) / "entry", track.name, "Reference")
        return package.read(Path(folder) / "entry")


def build(entry, track, task, library):
    """Train an entry in the box, or take its stored arrays -> (bytes of the packed model, seconds). Raises Fault."""
    if entry.model is not None:
        data, seconds = arrays.pack(entry.model), 0.0
    else:
        with Staged(entry) as staged, Box(library, staged.folder, job(entry, track) | {"rows": len(task.x)}) as box:
            box.ask(b"L", most=0, seconds=LOAD_SECONDS)
            payload = task.x.tobytes() + task.y.astype(np.uint8).tobytes()
            data, seconds = box.ask(b"B", payload, most=arrays.MOST, seconds=BUILD_SECONDS)
            _heard(box)
    try:
        model = arrays.unpack(data)
    except ValueError as error:
        raise Fault("shape", f"what build returned is no model: {error}") from None
    weight = arrays.size(model) + entry.carried
    if weight > track.bytes:
        free = ", ".join(f"{n} of {kind}" for kind, n in package.FREE.items())
        code = (f", {entry.carried:,} of them in its code, where {free}, and {package.PACKED:,} of all when compressed, are free"
                if entry.carried else "")
        raise Fault("budget", f"{weight:,} bytes{code}; the {track.name} track has {track.bytes:,}")
    return data, seconds


def _heard(box):
    for kind, note in box.heard():
        raise Fault(kind if kind in KINDS else "patched", note)


def answers(data):
    """Classes (ROWS,) from the bytes of logits. Raises Fault."""
    if len(data) != 4 * ROWS * CLASSES:
        raise Fault("shape", f"{len(data) // 4:,} numbers for {ROWS} pictures; wants logits ({ROWS}, {CLASSES})")
    logits = np.frombuffer(data, np.float32).reshape(ROWS, CLASSES)
    if not np.isfinite(logits).all():
        raise Fault("nan", f"{int((~np.isfinite(logits)).sum()):,} of {logits.size:,} logits are NaN or infinite")
    return logits.argmax(axis=1)


class _Runner:
    """One of the two boxes of a start, with what it has answered."""

    def __init__(self, box, task, number):
        self.box, self.task, self.number, self.asked = box, task, number, 0
        self.turns, self.awake = [], 0.0
        self.wrong, self.shown = np.zeros(task.originals, int), np.zeros(task.originals, int)

    def begin(self, model):
        self.box.ask(b"L", most=0, seconds=LOAD_SECONDS)
        self.box.ask(b"M", model, most=0, seconds=LOAD_SECONDS)

    def request(self):
        """Ask for rows that were never asked before -> seconds."""
        rows, labels, which = self.task.request(self.number, self.asked)
        self.asked += 1
        data, seconds = self.box.ask(b"?", rows, most=4 * ROWS * CLASSES, seconds=REQUEST_SECONDS)
        np.add.at(self.wrong, which, answers(data) != labels)
        np.add.at(self.shown, which, 1)
        return seconds

    def turn(self, count):
        begun = time.perf_counter()
        self.box.thaw()
        self.request()                  # wakes it up
        times = [self.request() for _ in range(count)]
        self.box.freeze()
        self.awake += time.perf_counter() - begun
        return float(np.median(times))


def start(entry, model, ref, ref_model, track, task, library, number):
    """One fresh start of entry and reference, in turns -> what was measured, as plain data. Raises Fault."""
    with Staged(entry) as mine, Staged(ref) as theirs, Box(library, mine.folder, job(entry, track)) as a, \
            Box(library, theirs.folder, job(ref, track)) as b:
        one, other = _Runner(a, task, number), _Runner(b, task, number)
        other.begin(ref_model)
        one.begin(model)
        a.freeze()
        b.freeze()
        for k in range(WARM + 1 + TURNS * (REQUESTS + 1)):
            task.request(number, k)     # made before anything is timed
        one.turn(WARM)
        other.turn(WARM)
        before, one.awake = a.cpu(), 0.0
        for k in range(TURNS):
            for runner in (one, other) if k % 2 == 0 else (other, one):
                runner.turns.append(runner.turn(REQUESTS))
        used = [now - then for now, then in zip(a.cpu(), before, strict=True)]
        a.thaw()
        b.thaw()
        _heard(a)
        peak, ref_peak, more = a.peak(), b.peak(), len(a.members()) - len(b.members())
    if more > 0:
        raise Fault("processors", f"it runs {more} more process{'es' * (more > 1)} than the one that serves")
    alone(used, one.awake)
    return {"seconds": one.turns, "reference_seconds": other.turns, "wrong": one.wrong.tolist(), "reference_wrong": other.wrong.tolist(),
            "asked": one.shown.tolist(), "cpu_seconds": max(used), "awake_seconds": one.awake, "resident_bytes": peak,
            "reference_resident_bytes": ref_peak}


def alone(used, awake):
    """Raise Fault if the processor time of a box, (to the nanosecond, in ticks), is more than one processor has in `awake` seconds."""
    if any(spent > _PROCESSORS * awake + slack for spent, slack in zip(used, _SLACK, strict=True)):
        raise Fault("processors", f"{max(used):.3f} s of processor time in turns that lasted {awake:.3f} s")


def measured(entry, model, ref, ref_model, track, task, library):
    """Measure an entry -> its scores and the evidence, as plain data. Raises Fault, with what was seen of it in `evidence`."""
    starts = [start(entry, model, ref, ref_model, track, task, library, number) for number in range(STARTS)]
    total = {k: np.sum([s[k] for s in starts], axis=0) for k in ("wrong", "reference_wrong", "asked")}
    weight, ref_weight = (arrays.size(arrays.unpack(m)) + e.carried for m, e in ((model, entry), (ref_model, ref)))
    scores = {"latency": scoring.latency([(s["seconds"], s["reference_seconds"]) for s in starts]),
              "memory": scoring.memory(weight, ref_weight),
              "accuracy": scoring.accuracy(total["wrong"], total["reference_wrong"], total["asked"])}
    scores["all-round"] = scoring.all_round(list(scores.values()))
    right = 1 - float(total["wrong"].sum() / total["asked"].sum())
    resident = max(s["resident_bytes"] - s["reference_resident_bytes"] for s in starts)
    ref_right = 1 - float(total["reference_wrong"].sum() / total["asked"].sum())
    evidence = {"accuracy": right, "bytes": weight, "reference_bytes": ref_weight, "resident_above_reference": resident,
                "reference_accuracy": ref_right, "starts": starts}
    why = None
    if right < ref_right - track.behind:
        guess = 1 / CLASSES
        what = f"no better than guessing one of {CLASSES} classes, " if right < guess + 0.05 else ""
        why = Fault("accuracy", f"{what}{right:.1%} of {int(total['asked'].sum()):,} pictures right, the reference {ref_right:.1%}; "
                                f"the {track.name} track allows {100 * track.behind:g} points less")
    elif resident > track.resident:
        why = Fault("budget", f"{resident / MIB:.1f} MiB of memory above the reference; the {track.name} track has "
                              f"{track.resident / MIB:g}")
    elif scores["latency"].high < 1 / track.slower:     # the whole interval is too slow
        why = Fault("budget", f"it takes {1 / scores['latency'].value:.3g} times as long as the reference; the {track.name} "
                              f"track allows {track.slower:g} times")
    if why is not None:
        why.evidence = evidence
        raise why
    return {"scores": {name: [s.value, s.low, s.high] for name, s in scores.items()}, **evidence}


def rounded(value):
    """Plain data with floats of six significant digits, so that a line of results stays readable."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    if isinstance(value, float):
        return value if value == 0 or not math.isfinite(value) else float(f"{value:.6g}")
    return int(value) if isinstance(value, np.integer) else value
