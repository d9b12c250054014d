"""predict: lock a guess before the result is shown. The log is append-only and each line carries the hash of the one before.

The chain starts from course, assignment and student, so a log that belongs to somebody else does not verify. It shows
edits and replays; it cannot show a log that was rewritten from its first line, since nothing in it is secret.
"""

import hashlib
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

from . import mode
from .answer import AnswerUnreadable, read
from .identity import identity, sidecar

LOG = "predictions.jsonl"
LOCKED = 0.5                            # of the points for locking a prediction at all; calibration has the rest
_FIELDS = ("name", "text", "low", "high", "at", "prev", "hash")


class PredictionMissing(RuntimeError):
    """A result was asked for before its prediction was locked."""

    def _render_traceback_(self):
        return [str(self)]


def predict(name, text, *, low, high):
    """Lock the prediction `text` for `name`, with an interval that should hold the truth nine times in ten.

    The first prediction counts; a second one is told so and changes nothing.
    """
    if mode.handler is not None and mode.handler.predict(name, text, low, high):
        return
    entries = own_log()
    before = next((e for e in entries if e["name"] == name), None)
    if before:
        print(f"{name}: already locked at {before['text']} [{before['low']}, {before['high']}]; the first prediction counts")
        return
    if name.startswith("@"):
        raise AnswerUnreadable(f"{name}: names that begin with @ are the course's own; a prediction has the name of its question")
    unit = sidecar().get("units", {}).get(name)
    low_si, value, high_si = (read(name, t, unit)[0] for t in (low, text, high))
    if not low_si <= value <= high_si:
        raise AnswerUnreadable(f"{name}: the interval must hold the prediction; got {low} <= {text} <= {high}")
    append(Path(LOG), genesis(), name, str(text), str(low), str(high))
    print(f"{name}: locked {text}, between {low} and {high}")


def locked(name):
    """Confirm that `name` has a locked prediction; raises PredictionMissing otherwise."""
    if mode.handler is not None and mode.handler.locked(name):
        return
    if not any(e["name"] == name for e in own_log()):
        raise PredictionMissing(f"{name}: no prediction yet; lock one with predict({name!r}, ...) above, then run this again")
    print(f"{name}: prediction locked")


def reveal(name, truth):
    """Show the truth beside the locked prediction; refuses before it is locked. truth: text with unit, such as "27 ms"."""
    if mode.handler is not None and mode.handler.reveal(name):
        return
    entry = next((e for e in own_log() if e["name"] == name), None)
    if entry is None:
        raise PredictionMissing(f"{name}: lock your prediction first; the result is shown after it")
    actual, guess, low, high = (read(name, t)[0] for t in (truth, entry["text"], entry["low"], entry["high"]))
    found = calibration(low, guess, high, actual)
    off = f"Off by a factor of {10**found.decades:.3g}, " if math.isfinite(found.decades) else ""
    inside = "inside your interval" if found.held else "outside your interval"
    print(f"{name}: you said {entry['text']} [{entry['low']}, {entry['high']}]; it is {truth}. {(off + inside)[0].upper()}"
          f"{(off + inside)[1:]}; the interval scores {found.score:.0%}.")


@dataclass(frozen=True)
class Calibration:
    """A prediction beside the truth: decades it is off by, whether its interval holds the truth, score 0 to 1 of the interval."""

    decades: float
    held: bool
    score: float


def calibration(low, guess, high, truth):
    """How well a prediction of a positive quantity did -> Calibration. One that is not positive is infinitely far off."""
    from staffml.parts import interval_score

    decades = abs(math.log10(guess / truth)) if guess > 0 < truth else math.inf
    return Calibration(decades, low <= truth <= high, interval_score(low, high, truth) if 0 < low <= high and truth > 0 else 0.0)


def genesis(course=None, assignment=None, student=None):
    """The first link of a chain."""
    if course is None:
        baked = sidecar()
        course, assignment, student = baked.get("course", ""), baked.get("assignment", ""), identity()
    return hashlib.sha256("\x1f".join(("prediction", course, assignment, student)).encode()).hexdigest()


def own_log():
    """This student's entries; raises if the log was edited or belongs to somebody else."""
    path = Path(LOG)
    if not path.is_file():
        return []
    entries, problem = verify(path.read_text(encoding="utf-8"), genesis())
    if problem:
        raise PredictionMissing(f"{LOG}: {problem}; restore the file from your last submission or ask your instructor")
    return entries


def verify(text, start):
    """Entries of a log and what is wrong with it -> (list of dict, one line or None). Entries before the fault are kept."""
    entries, prev = [], start
    for n, line in enumerate(text.splitlines(), 1):
        try:
            e = json.loads(line)
        except (ValueError, RecursionError):
            return entries, f"line {n} is not readable"
        if type(e) is not dict or set(e) != set(_FIELDS) or type(e["at"]) not in (int, float) or not abs(e["at"]) < 1e12 or any(
                type(e[k]) is not str for k in _FIELDS if k != "at"):
            return entries, f"line {n} is not a prediction"
        if e["prev"] != prev:
            return entries, "it belongs to another student or assignment" if n == 1 else f"line {n} does not follow line {n - 1}"
        if e["hash"] != _link(e):
            return entries, f"line {n} was edited"
        entries.append(e)
        prev = e["hash"]
    return entries, None


def _link(e):
    body = {k: e[k] for k in _FIELDS if k != "hash"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def append(path, start, name, text, low, high):
    """Add one entry to the log at `path`, in a single write that survives a crash."""
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    entries, _ = verify(old, start)
    e = {"name": name, "text": text, "low": low, "high": high, "at": round(time.time(), 3),
         "prev": entries[-1]["hash"] if entries else start}
    e["hash"] = _link(e)
    with open(path, "a", encoding="utf-8") as f:
        f.write(json.dumps(e, sort_keys=True) + "\n")
        f.flush()
        os.fsync(f.fileno())
