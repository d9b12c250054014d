"""ledger: what a student chose or measured in one lab and uses in the next. It is theirs; no grade is read from it.

One JSON file in the user's data folder ($MLSYS_DATA overrides it), keyed by course, assignment and part.
"""

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

from ..answers.identity import sidecar
from ..atomic import write_json

COURSE = "course"                       # the assignment under which choices for all labs are kept


class LedgerError(LookupError):
    """Nothing in the ledger under that name, or no readable ledger. Shown in a notebook as its message alone."""

    def __str__(self):
        return str(self.args[0])

    def _render_traceback_(self):
        return [str(self)]


def ledger():
    """The ledger of the lab beside this notebook."""
    baked = sidecar()
    return Ledger(baked.get("course", ""), baked.get("assignment", ""))


def in_box():
    """Whether this runs where work is graded: nothing is measured or remembered there."""
    return os.environ.get("MLSYS_BOX") == "1"


def path():
    """Where the ledger is kept."""
    if os.environ.get("MLSYS_DATA"):
        return Path(os.environ["MLSYS_DATA"]) / "ledger.json"
    from platformdirs import user_data_path

    return user_data_path("mlsys", appauthor=False) / "ledger.json"


class Ledger:
    """Entries of one course, written under one assignment."""

    def __init__(self, course, assignment):
        self.course, self.assignment = course, assignment

    def put(self, part, value):
        """Remember `value`, which is plain data, as this lab's `part`; a later one replaces it."""
        try:
            value = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise LedgerError(f"ledger: {part} cannot be remembered ({error}); wants numbers, text, lists and dicts") from None
        if in_box():
            return
        with _locked():
            everything = _read()
            everything.setdefault(self.course, {}).setdefault(self.assignment, {})[part] = {"value": value, "at": round(time.time(), 3)}
            write_json(path(), everything)

    def get(self, part, *, lab=None):
        """What this lab, or `lab` ("labs/v1_00_portal"), remembered as `part`. Raises LedgerError if it did not."""
        assignment = (lab or self.assignment).replace("/", "-", 1)
        found = _entries(self.course, assignment)
        if part not in found:
            more = f"; it has {', '.join(sorted(found))}" if found else ""
            raise LedgerError(f"ledger: nothing under {part!r} from {assignment}{more}; run the cell of that lab that makes it")
        return found[part]["value"]

    def look(self, part, default=None):
        """What this lab remembered as `part`, or the default."""
        return _entries(self.course, self.assignment).get(part, {"value": default})["value"]


def _entries(course, assignment):
    return {} if in_box() else _read().get(course, {}).get(assignment, {})


def _read():
    try:
        text = path().read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        found = json.loads(text)
        if all(type(entry["value"]) is not None for labs in found.values() for parts in labs.values() for entry in parts.values()):
            return found
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        pass
    raise LedgerError(f"{path()}: not a readable ledger; move the file away, and choices made so far are made again")


@contextmanager
def _locked():
    """One writer at a time, over all kernels of this user."""
    import fcntl

    path().parent.mkdir(parents=True, exist_ok=True)
    with open(path().with_suffix(".lock"), "a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield
