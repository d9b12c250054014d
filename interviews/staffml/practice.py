"""What one person has practised: attempts, confidence, review cards and mock interviews, in one SQLite file.

Every write is one immediate transaction, so a second process waits and a crash leaves the file as it was before. The
file is versioned (PRAGMA user_version); a newer one is refused rather than damaged.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

FOLDER_VARIABLE = "STAFFML_DATA"
_WAIT = 20.0                            # seconds for another process to finish its write
_SCHEMAS = ("""
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
INSERT INTO about VALUES ('salt', lower(hex(randomblob(8))))
""", """
CREATE TABLE mock (id INTEGER PRIMARY KEY, at TEXT NOT NULL, plan TEXT NOT NULL, ended TEXT) STRICT;
CREATE TABLE mock_item (
    mock INTEGER NOT NULL REFERENCES mock(id), number INTEGER NOT NULL, template TEXT NOT NULL, draw INTEGER NOT NULL, pool TEXT NOT NULL,
    typed TEXT NOT NULL, spent REAL NOT NULL, attempt INTEGER REFERENCES attempt(id), PRIMARY KEY (mock, number)
) STRICT
""")
VERSION = len(_SCHEMAS)                 # schema number i takes a file from version i to i + 1


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
        for old, schema in enumerate(_SCHEMAS):
            if self._version() == old:
                with self._writing():
                    if self._version() == old:      # no other process was quicker
                        for statement in schema.split(";\n"):
                            self._db.execute(statement)
                        self._db.execute(f"PRAGMA user_version = {old + 1}")
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

    def record(self, template, draw, answers, seconds, *, at=None, mock=None):
        """Add one attempt and move the template's review card -> (number of the attempt, when it is due).

        mock: (number of a mock interview, number of its item) that the attempt belongs to.
        """
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
            if mock:
                self._one(db.execute("UPDATE mock_item SET attempt = ? WHERE mock = ? AND number = ? AND attempt IS NULL",
                                     (row.lastrowid, *mock)))
        return row.lastrowid, due

    def start_mock(self, plan, *, at=None):
        """Begin a mock interview -> its number. Raises PracticeError while another one runs."""
        at = at or datetime.now(UTC)
        with self._writing() as db:
            running = db.execute("SELECT at FROM mock WHERE ended IS NULL").fetchone()
            if running:
                raise PracticeError(f"the mock interview of {running[0][:16]} UTC is not over: go on with it, or end it first")
            return db.execute("INSERT INTO mock (at, plan) VALUES (?,?)", (at.isoformat(), json.dumps(plan))).lastrowid

    def end_mock(self, number, reason):
        """Close a mock interview: no more items."""
        with self._writing() as db:
            self._one(db.execute("UPDATE mock SET ended = ? WHERE id = ? AND ended IS NULL", (reason, number)))

    def ask_mock(self, number, place, template, draw, pool):
        """Keep which variant is asked as item number `place`; pool is the hash of the pool that it comes from."""
        with self._writing() as db:
            db.execute("INSERT INTO mock_item VALUES (?,?,?,?,?,'[]',0,NULL)", (number, place, template, draw, pool))

    def type_mock(self, number, place, before, typed, spent, pool):
        """Keep what was typed into an item so far, [text], and the seconds spent on it. before: the list that this one replaces."""
        with self._writing() as db:
            self._one(db.execute("UPDATE mock_item SET typed = ?, spent = ?, pool = ? WHERE mock = ? AND number = ? AND typed = ?",
                                 (json.dumps(typed), spent, pool, number, place, json.dumps(before))))

    def mocks(self):
        """All mock interviews in order -> [{"id", "at", "plan", "ended", "items": [{..., "typed": [...], "attempt": {...} or None}]}]."""
        attempts = {a["id"]: a for a in self.attempts()}
        items = self._rows("SELECT * FROM mock_item ORDER BY mock, number")
        for item in items:
            item["typed"], item["attempt"] = json.loads(item["typed"]), attempts.get(item["attempt"])
        return [m | {"plan": json.loads(m["plan"]), "items": [i for i in items if i["mock"] == m["id"]]}
                for m in self._rows("SELECT * FROM mock ORDER BY id")]

    def mock(self, number=None):
        """One mock interview, as mocks() gives it: by its number, or the one that runs; None if there is none."""
        return next((m for m in self.mocks() if (m["ended"] is None if number is None else m["id"] == number)), None)

    @staticmethod
    def _one(changed):
        if changed.rowcount != 1:
            raise PracticeError("another process goes on with this mock interview; go on there, or start again here")

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
            return {"format": "staffml-practice", "version": VERSION, "attempts": self.attempts(), "cards": cards,
                    "mocks": [m | {"items": [i | {"attempt": i["attempt"] and i["attempt"]["id"]} for i in m["items"]]}
                              for m in self.mocks()]}
        finally:
            self._db.execute("COMMIT")
