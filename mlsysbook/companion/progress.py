"""Progress of a reader as a file: what the browser exports and imports, read and written whole.

Answers and reviews are lists that only grow, so two files merge by putting the lists together, and a change by another process stays.
"""

import fcntl
import json
import os
import re
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

from .. import atomic
from ..errors import CourseError

VERSION = 1
_ID = re.compile(r"V[12]-\d\d/[a-z0-9-]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class ProgressError(CourseError):
    """A file of progress cannot be read or written."""


def default_path():
    """Where progress is kept unless a file is named: below $MLSYS_DATA, else in the user's state folder."""
    if os.environ.get("MLSYS_DATA"):
        return Path(os.environ["MLSYS_DATA"]) / "companion.json"
    from platformdirs import user_state_path

    return user_state_path("mlsys", appauthor=False) / "companion.json"


def empty():
    return {"version": VERSION, "answers": {}, "reviews": {}, "settings": {}}


def read(path):
    """The progress in a file; an empty one where there is no file. Raises ProgressError with what is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return empty()
    except (OSError, UnicodeDecodeError) as error:
        raise ProgressError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    try:
        return check(json.loads(text))
    except json.JSONDecodeError as error:
        raise ProgressError(f"{path}:{error.lineno}: is not JSON; wants a file that the companion exported") from None
    except ValueError as error:
        raise ProgressError(f"{path}: {error}; wants a file that the companion exported") from None


def check(value):
    """A state from what was read, as book/companion/js/state.js checks it. Raises ValueError."""
    if not isinstance(value, dict) or type(value.get("version")) is not int:
        raise ValueError("it is no progress of this book")
    if value["version"] != VERSION:
        raise ValueError(f"it has version {value['version']}, and this course knows {VERSION}")
    made = empty()
    for name, good in (("answers", _is_answer), ("reviews", _is_review)):
        if not isinstance(value.get(name), dict):
            raise ValueError(f"its {name} are missing")
        for ident, entries in value[name].items():
            if not _ID.fullmatch(ident):
                raise ValueError(f"its {name} have an unknown name {ident[:40]!r}")
            if not isinstance(entries, list) or not all(map(good, entries)):
                raise ValueError(f"its {name} of {ident} are damaged")
            if entries:
                made[name][ident] = entries
    made["settings"] = value["settings"] if isinstance(value.get("settings"), dict) else {}
    return made


def _is_time(at):
    if not isinstance(at, str) or not _TIME.fullmatch(at):
        return False
    try:
        datetime.fromisoformat(at.replace("Z", "+00:00"))
    except ValueError:
        return False
    return True


def _is_answer(entry):
    given = entry.get("given") if isinstance(entry, dict) else None
    return (isinstance(given, str) or isinstance(given, list) and all(type(n) is int for n in given)) and (
        _is_time(entry.get("at")) and isinstance(entry.get("right"), bool))  # fmt: skip


def _is_review(entry):
    if not isinstance(entry, dict) or not _is_time(entry.get("at")) or type(entry.get("rating")) is not int:
        return False
    try:
        return bool(date.fromisoformat(entry["day"])) and len(entry["day"]) == 10 and entry["rating"] in (1, 2, 3, 4)
    except (KeyError, TypeError, ValueError):
        return False


def merge(one, other):
    """Both together: every answer and review that either has, in the order of time; settings of the first go first."""
    made = empty() | {"settings": other["settings"] | one["settings"]}
    for name in ("answers", "reviews"):
        for ident in one[name].keys() | other[name].keys():
            known = {entry["at"]: entry for entry in (*other[name].get(ident, ()), *one[name].get(ident, ()))}
            made[name][ident] = [known[at] for at in sorted(known)]
    return made


def change(path, alter):
    """Read the file, let alter(state) mutate what it says, and write it whole -> the new state. One process at a time."""
    path = Path(path)
    with _locked(path):
        state = read(path)
        alter(state)
        try:
            atomic.write_json(path, state)
        except OSError as error:
            raise ProgressError(f"{path}: cannot be written ({error.strerror}); name another --file") from None
    return state


@contextmanager
def _locked(path):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.with_name(f".{path.name}.lock"), "a")
    except OSError as error:
        raise ProgressError(f"{path}: cannot be written ({error.strerror}); name another --file") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
