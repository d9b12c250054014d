"""What one person has practised: attempts, confidence and review cards, in one SQLite file.

Every write is one immediate transaction, so a second process waits and a crash leaves the file as it was before. The
file is versioned (PRAGMA user_version); a newer one is refused rather than damaged.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

VERSION = 1
FOLDER_VARIABLE = "STAFFML_DATA"
_WAIT = 20.0                            # seconds for another process to finish its write
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, template TEXT NOT NULL, draw INTEGER NOT NULL, seconds REAL NOT NULL,
    share REAL NOT NULL, area TEXT NOT NULL, level TEXT NOT NULL, track TEXT NOT NULL
) STRICT;
CREATE TABLE answer (
    attempt INTEGER NOT NULL REFERENCES attempt(id), part TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL, value REAL,
    share REAL NOT NULL, mistake TEXT NOT NULL, confidence REAL, held INTEGER, PRIMARY KEY (attempt, part)
) STRICT;
CREATE TABLE card (template TEXT PRIMARY KEY, data TEXT NOT NULL, due TEXT NOT NULL) STRICT;
CREATE INDEX attempt_template ON attempt(template);
"""


class PracticeError(ValueError):
    """A practice file that cannot be used. One line."""


@dataclass(frozen=True)
class Answer:
    """One answer of an attempt. confidence is the student's own, 0 to 1; held says if an interval held the truth."""

    part: str
    kind: str
    text: str
    value: float | None
    share: float
    mistake: str = ""
    confidence: float | None = None
    held: bool | None = None


def default_path():
    """Where the file lies: in the folder STAFFML_DATA names, or in the user's data folder."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        from platformdirs import user_data_path

        folder = user_data_path("staffml", appauthor=False)
    return Path(folder) / "practice.sqlite"


class Practice:
    """The practice file, opened. Use it as a context manager, or close() it."""

    def __init__(self, path=None):
        self.path = Path(path or default_path())
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._open()
        except (sqlite3.Error, OSError) as error:
            raise PracticeError(f"{self.path}: {error}; move the file away to start afresh, or set {FOLDER_VARIABLE}") from None

    def _open(self):
        if self._version() == 0:
            with self._writing():
                if self._version() == 0:            # no other process was quicker
                    for statement in _SCHEMA.split(";\n"):
                        self._db.execute(statement)
                    self._db.execute("INSERT INTO about VALUES ('salt', ?)", (os.urandom(8).hex(),))
                    self._db.execute(f"PRAGMA user_version = {VERSION}")
        if self._version() > VERSION:
            raise PracticeError(f"{self.path} has version {self._version()}, this StaffML reads up to {VERSION}: install a newer one")

    def _version(self):
        return self._db.execute("PRAGMA user_version").fetchone()[0]

    @contextlib.contextmanager
    def _writing(self):
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise PracticeError(f"{self.path}: {error}; nothing of this was kept") from None

    def close(self):
        self._db.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def record(self, template, draw, answers, seconds, *, at=None):
        """Add one attempt and move the template's review card -> (number of the attempt, when it is due)."""
        from .schedule import rating, review

        at = at or datetime.now(UTC)
        share = sum(a.share for a in answers) / len(answers)
        with self._writing() as db:
            row = db.execute("INSERT INTO attempt (at, template, draw, seconds, share, area, level, track) VALUES (?,?,?,?,?,?,?,?)",
                             (at.isoformat(), template.name, draw, seconds, share, template.area, template.level, template.track))
            db.executemany("INSERT INTO answer VALUES (?,?,?,?,?,?,?,?,?)", [
                (row.lastrowid, a.part, a.kind, a.text, a.value, a.share, a.mistake, a.confidence, a.held) for a in answers])
            old = db.execute("SELECT data FROM card WHERE template = ?", (template.name,)).fetchone()
            data, due = review(old and old[0], rating(share, seconds, 60 * template.minutes), at)
            db.execute("INSERT OR REPLACE INTO card VALUES (?,?,?)", (template.name, data, due.isoformat()))
        return row.lastrowid, due

    def fresh(self, name, draws):
        """A draw of a template that was not asked yet; when all were, the one asked longest ago."""
        last = dict(self._db.execute("SELECT draw, max(id) FROM attempt WHERE template = ? GROUP BY draw", (name,)))
        salt = self._db.execute("SELECT value FROM about WHERE name = 'salt'").fetchone()[0]

        def place(i):
            return last.get(i, 0), hashlib.sha256(f"{salt}\x1f{name}\x1f{i}".encode()).digest()

        return min(draws, key=place)

    def due(self, now=None):
        """Templates to review by `now` -> [(name, due)], longest overdue first."""
        now = now or datetime.now(UTC)
        rows = self._db.execute("SELECT template, due FROM card ORDER BY due, template").fetchall()
        return [(name, when) for name, when in ((n, datetime.fromisoformat(d)) for n, d in rows) if when <= now]

    def upcoming(self):
        """All review cards -> [(name, due)], soonest first."""
        return [(n, datetime.fromisoformat(d)) for n, d in self._db.execute("SELECT template, due FROM card ORDER BY due, template")]

    def attempts(self):
        """All attempts in order -> [{..., "answers": [{...}]}]."""
        attempts = self._rows("SELECT * FROM attempt ORDER BY id")
        by_id = {a["id"]: a | {"answers": []} for a in attempts}
        for answer in self._rows("SELECT * FROM answer ORDER BY attempt, rowid"):
            by_id[answer.pop("attempt")]["answers"].append(answer)
        return list(by_id.values())

    def _rows(self, query):
        cursor = self._db.execute(query)
        columns = [c[0] for c in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor]

    def export(self):
        """Everything, as JSON data."""
        self._db.execute("BEGIN")                   # one view of all tables
        try:
            cards = [{"template": c["template"], "due": c["due"], "card": json.loads(c["data"])}
                     for c in self._rows("SELECT * FROM card ORDER BY template")]
            return {"format": "staffml-practice", "version": VERSION, "attempts": self.attempts(), "cards": cards}
        finally:
            self._db.execute("COMMIT")


@dataclass(frozen=True)
class Progress:
    """What the attempts add up to. groups: {(kind of group, name): (attempts, mean share)}; days is the streak up to today.

    right is the run of items all right up to now, best the longest. calibration: [(low, high, answers, mean confidence, share
    right)] by bins of the student's confidence; brier their mean squared error; intervals (held, all) of estimates; mistakes
    the misconceptions met most often.
    """

    attempts: int
    groups: dict
    days: int
    right: int
    best: int
    calibration: list
    brier: float | None
    intervals: tuple
    mistakes: list


_BINS = (0, 0.2, 0.4, 0.6, 0.8, 0.95, 1)


def progress(attempts, today=None):
    """Progress over a list of attempts as Practice.attempts() gives them; days are those of the local clock."""
    from collections import Counter, defaultdict

    today = today or datetime.now().astimezone().date()
    shares = defaultdict(list)
    run = best = 0
    for a in attempts:
        for group in ("area", "level", "track"):
            shares[group, a[group]].append(a["share"])
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
    return Progress(len(attempts), {k: (len(v), sum(v) / len(v)) for k, v in sorted(shares.items())}, days, run, best, bins,
                    sum((c - r) ** 2 for c, r in sure) / len(sure) if sure else None, (sum(held), len(held)),
                    Counter(x["mistake"] for x in answers if x["mistake"]).most_common(5))

