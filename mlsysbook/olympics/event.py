"""An event is a folder: what was announced, what came in and when, and one file of results to which lines are only added.

    event.toml          name, deadline, whether it is a simulation
    secret              draws the task; the organiser's alone
    open.npz            what everybody gets: x (1000, 64) uint8 and y
    submissions/ID/     received.json and files/: as they came; nothing here is ever changed
    results.jsonl       one line for each step, with its evidence; a run that was killed goes on behind the last
    models/             what was built
    page/               the leaderboard
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import secrets
import shutil
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from .. import atomic
from ..box import library
from ..box.outputs import line as printable
from ..errors import CourseError
from . import measure, package, scoring, task
from .boxed import Fault
from .tracks import EVENTS, TRACKS

RESULTS, RECEIVED = "results.jsonl", "received.json"


@dataclass
class Entry:
    """One submission and what became of it. status: waiting, built, valid, disqualified or late."""

    id: str
    folder: Path
    team: str
    members: tuple
    track: str | None
    received: datetime
    sha256: str
    late: bool
    lines: list = field(default_factory=list)
    status: str = "waiting"
    kind: str = ""
    reason: str = ""
    result: dict = field(default_factory=dict)
    attempt: int = 1

    @property
    def board(self):
        return "team" if len(self.members) > 1 else "individual"

    @property
    def scores(self):
        return {name: scoring.Score(*s) for name, s in self.result.get("scores", {}).items()}

    def take(self, line):
        """Follow one line of the results."""
        self.lines.append(line)
        step = line["step"]
        if step == "appeal":
            self.attempt, self.status, self.kind, self.reason, self.result = line["attempt"], "waiting", "", "", {}
        elif step == "built":
            self.status = "built"
        elif step == "measured":
            self.status, self.result = "valid", line
        elif step in ("disqualified", "ruling"):
            self.status, self.kind, self.reason, self.result = "disqualified", line.get("kind", "ruling"), line["reason"], line


class Event:
    """The event in a folder. Raises CourseError where there is none."""

    def __init__(self, folder):
        self.folder = Path(folder)
        try:
            said = tomllib.loads((self.folder / "event.toml").read_text(encoding="utf-8"))
            self.name, self.due, self.simulated = said["name"], said["due"], said.get("simulated", False)
            self.secret = bytes.fromhex((self.folder / "secret").read_text())
        except FileNotFoundError as error:
            missing = Path(error.filename).name
            raise CourseError(f"{folder} is no event ({missing} is missing): `mlsys olympics open FOLDER` makes one") from None
        except (KeyError, ValueError) as error:
            raise CourseError(f"{self.folder / 'event.toml'}: wants name and due, a time with its zone ({error})") from None
        if type(self.due) is not datetime or self.due.tzinfo is None:
            raise CourseError(f"{self.folder / 'event.toml'}: due wants a time with its zone, such as 2026-12-18T18:00:00Z")

    @property
    def results(self):
        return self.folder / RESULTS

    def task(self):
        return task.make(self.secret)

    def lines(self):
        """The lines of the results, without a last one that was cut off."""
        try:
            text = self.results.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        found = []
        for n, row in enumerate(text[:text.rfind("\n") + 1].splitlines(), 1):
            try:
                found.append(json.loads(row))
            except ValueError:
                raise CourseError(f"{self.results}, line {n}: not a line that a run wrote; put the file back as it was") from None
        return found

    def add(self, line):
        """Add a line to the results and see it to the disk. After a cut-off line, in its place."""
        with open(self.results, "a+b") as f:
            f.seek(0)
            whole = f.read()
            f.truncate(whole.rfind(b"\n") + 1)
            f.write(json.dumps(measure.rounded(line), sort_keys=True).encode() + b"\n")
            f.flush()
            os.fsync(f.fileno())

    def entries(self):
        """Every Entry in the order in which they came, with what the results say of it."""
        found = {}
        for path in sorted((self.folder / "submissions").glob(f"*/{RECEIVED}")):
            said = json.loads(path.read_text(encoding="utf-8"))
            received = datetime.fromisoformat(said["received"])
            found[path.parent.name] = Entry(path.parent.name, path.parent / "files", said["team"], tuple(said["members"]), said["track"],
                                            received, said["sha256"], received > self.due)
        for line in self.lines():
            if line.get("entry") in found:
                found[line["entry"]].take(line)
        for entry in found.values():
            if entry.late and entry.status == "waiting":
                entry.status = "late"
        return list(found.values())

    def find(self, name):
        for entry in self.entries():
            if entry.id == name:
                return entry
        raise CourseError(f"no entry is called {name!r}; they are the folders of {self.folder / 'submissions'}")

    @contextlib.contextmanager
    def locked(self):
        """Hold the event, so that no two runs write to it. Raises CourseError if another does."""
        with open(self.folder / ".lock", "w") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CourseError(f"another command works on {self.folder}: wait until it is done") from None
            yield


def create(folder, name, due, *, secret=None, simulated=False):
    """Make an event in a new folder -> Event. due: a datetime with its zone. The secret is drawn unless given."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise CourseError(f"{folder} is not empty: name a new folder for the event")
    secret = secrets.token_bytes(32) if secret is None else secret
    made = task.make(secret)
    data = io.BytesIO()
    np.savez(data, x=made.x, y=made.y)
    atomic.write(folder / "open.npz", data.getvalue())
    atomic.write(folder / "secret", secret.hex() + "\n", mode=0o600)
    atomic.write(folder / "event.toml", f"name = {json.dumps(name, ensure_ascii=False)}\ndue = {due.astimezone(UTC).isoformat()}\n"
                 + "simulated = true\n" * simulated)
    return Event(folder)


def submit(event, folder, *, now=None):
    """Take in what is in a folder, as it is -> (id, note). note says what the run will find fault with, or is empty.

    Raises CourseError: unreadable files, or a team's name that others have handed in under.
    """
    found = package.files(folder)
    note, team, members, track = "", printable(Path(folder).resolve().name)[:40], (), None
    try:
        said = package.manifest(found)
        team, members, track = said.team, said.members, said.track
        package.read(folder)
    except package.PackageError as error:
        note = str(error)
    now = now or datetime.now(UTC)
    with event.locked():
        earlier = event.entries()
        others = next((e.members for e in earlier if e.team == team and e.members and members and set(e.members) != set(members)), None)
        if others:
            raise CourseError(f"team {team!r} has handed in before, as {', '.join(others)}: choose another name for the team of "
                              f"{', '.join(members)}")
        slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in team.lower()).strip("-")[:24] or "entry"
        name = f"{1 + max((int(e.id[:4]) for e in earlier), default=0):04d}-{slug}"
        place = event.folder / "submissions"
        place.mkdir(exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=place, prefix=".new-"))
        try:
            for inside, data in found.items():
                atomic.write(new / "files" / inside, data)
            atomic.write_json(new / RECEIVED, {"team": team, "members": list(members), "track": track, "received": now.isoformat(),
                                               "sha256": package.digest(found)})
            os.rename(new, place / name)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    late = f"after the deadline of {event.due:%Y-%m-%d %H:%M} UTC, so it is kept and not run" if now > event.due else ""
    return name, "; ".join(filter(None, (late, note)))


def rule(event, name, step, reason):
    """Add a ruling to the results: "disqualified" by the organiser, or "appeal", which has the entry run again from the start."""
    with event.locked():
        entry = event.find(name)
        if entry.late:
            raise CourseError(f"{name} came after the deadline and is not run")
        line = {"entry": name, "step": "ruling" if step == "disqualified" else step, "at": _now(), "reason": reason}
        if step == "appeal":
            if entry.status not in ("disqualified", "valid"):
                raise CourseError(f"{name} has not been run yet, so there is nothing to appeal against")
            line["attempt"] = entry.attempt + 1
        event.add(line)


def run(event, *, jobs=None, progress=lambda done, total, text: None):
    """Build and measure what waits -> number of entries that were run. Builds run `jobs` at a time, measurements one at a time."""
    with event.locked():
        entries = event.entries()
        waiting = [e for e in entries if e.status in ("waiting", "built")]
        if not waiting:
            return 0
        made, where = event.task(), measure.machine()
        staged = library.stage_event()
        try:
            read = {}
            for e in waiting:
                if package.digest(package.files(e.folder)) != e.sha256:
                    raise CourseError(f"{e.folder}: the files are not those that came in; put them back before you go on")
                try:
                    read[e.id] = package.read(e.folder)
                except package.PackageError as error:
                    event.add({"entry": e.id, "step": "disqualified", "attempt": e.attempt, "at": _now(), "sha256": e.sha256,
                               "kind": "package", "reason": str(error)})
            todo = [e for e in waiting if e.id in read]
            done, total = len(entries) - len(waiting), len(entries)
            progress(done, total, "references")
            references = _references(event, {e.track for e in todo}, made, staged)
            todo = _build(event, todo, read, made, staged, jobs, lambda text: progress(done, total, text))
            for e in todo:
                progress(len(entries) - len(todo) + todo.index(e), total, e.id)
                track = TRACKS[e.track]
                ref, ref_model = references[e.track]
                line = {"entry": e.id, "attempt": e.attempt, "sha256": e.sha256, "machine": where, "own": read[e.id].own}
                try:
                    model = _model(event, e).read_bytes()
                    found = measure.measured(read[e.id], model, ref, ref_model, track, made, staged)
                    event.add(line | {"step": "measured", "at": _now()} | found)
                except Fault as fault:
                    event.add(line | {"step": "disqualified", "at": _now(), "kind": fault.kind, "reason": str(fault)}
                              | getattr(fault, "evidence", {}))
            progress(total, total, "")
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        return len(waiting)


def _references(event, tracks, made, staged):
    """{track: (entry, model)} of the references, built once for an event."""
    found = {}
    for name in sorted(tracks):
        path, entry = event.folder / "models" / f"reference-{name}.model", measure.reference(TRACKS[name])
        if not path.is_file():
            try:
                atomic.write(path, measure.build(entry, TRACKS[name], made, staged)[0])
            except Fault as fault:
                raise CourseError(f"the reference of the {name} track does not run here: {fault}") from None
        found[name] = entry, path.read_bytes()
    return found


def _build(event, todo, read, made, staged, jobs, say):
    """Build what has not been built -> the entries that have a model, in their order."""
    def one(e):
        return measure.build(read[e.id], TRACKS[e.track], made, staged)

    with ThreadPoolExecutor(jobs or max(1, min(4, os.cpu_count() or 1))) as pool:
        futures = {pool.submit(one, e): e for e in todo if e.status == "waiting"}
        try:
            for n, future in enumerate(as_completed(futures), 1):
                e = futures[future]
                say(f"built {n} of {len(futures)}")
                try:
                    data, seconds = future.result()
                    atomic.write(_model(event, e), data)
                    event.add({"entry": e.id, "step": "built", "attempt": e.attempt, "at": _now(), "sha256": e.sha256, "seconds": seconds,
                               "model_sha256": hashlib.sha256(data).hexdigest()})
                    e.status = "built"
                except Fault as fault:
                    event.add({"entry": e.id, "step": "disqualified", "attempt": e.attempt, "at": _now(), "sha256": e.sha256,
                               "kind": fault.kind, "reason": str(fault)})
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [e for e in todo if e.status == "built"]


def _model(event, entry):
    return event.folder / "models" / f"{entry.id}-{entry.attempt}.model"


def _now():
    return datetime.now(UTC).isoformat(timespec="seconds")


def counting(entries):
    """Of each team on each track the latest valid entry that came in time -> {id}. A better one before it does not count."""
    latest = {}
    for e in entries:
        if e.status == "valid" and not e.late:
            key = e.team, e.track
            if key not in latest or (e.received, e.id) > (latest[key].received, latest[key].id):
                latest[key] = e
    return {e.id for e in latest.values()}


def boards(entries):
    """{(track, event, board): [(rank, Entry), ...]} of what counts, best first."""
    counted, made = counting(entries), {}
    for track in TRACKS:
        for board in ("individual", "team"):
            mine = {e.id: e for e in entries if e.id in counted and e.track == track and e.board == board}
            for event in EVENTS:
                scores = {i: e.scores[event] for i, e in mine.items()}
                given = scoring.ranks(scores)
                made[track, event, board] = [(given[i], mine[i]) for i in sorted(mine, key=lambda i: (given[i], -scores[i].value, i))]
    return made
