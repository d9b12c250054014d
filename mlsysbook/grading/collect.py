"""Collect submissions from the exchange: the latest of each student, safely copied, at a time that can be trusted.

What nbgrader's own collect leaves open, and this closes: it follows links (a link to a file of the instructor's is copied as
that file), believes the time that the student's process wrote, takes work handed in under another's name with no more than a
warning, and stops for everyone at one folder whose name it cannot parse.
"""

import os
import pwd
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nbgrader.exchange.default import ExchangeCollect

from .. import atomic
from ..errors import ClassError
from . import roster
from .classroom import Classroom
from .config import IGNORED
from .deadlines import stamp
from .intake import look, open_folder, shown, take

TOLERANCE = timedelta(minutes=2)    # between the stamp that a submission carries and its arrival
MAX_FOLDERS = 100                   # submissions of one assignment by one student
_SECRET = re.compile(r"[\x21-\x7e]{16,256}")
_NAME = "submission_secret.txt"


@dataclass
class Collected:
    """state: "new", "updated", "same" or "refused"; with dry_run "would be ..."."""

    student: str
    state: str
    at: datetime | None = None          # the time that counts, UTC
    notes: list = field(default_factory=list)


@dataclass
class _Candidate:
    student: str
    path: Path
    uid: int
    arrived: datetime
    changed_ns: int
    digest: str | None = None           # known only where it had to be read


class Collect(ExchangeCollect):
    """Stock `nbgrader collect` and the formgrader, through the same door."""

    def init_src(self):
        if self.coursedir.course_id == "":
            self.fail("No course id specified. Re-run with --course flag.")

    def copy_files(self):
        classroom = Classroom.open(self.coursedir.root)
        classroom.check_owner = self.check_owner
        student = self.coursedir.student_id
        found = collect(classroom, self.coursedir.assignment_id, students=None if student in ("", "*") else {student},
                        update=self.update, before_due=self.before_duedate)
        for c in found:
            self.log.info("%s %s: %s%s", c.student, self.coursedir.assignment_id, c.state,
                          "".join(f"; {note['note']}" for note in c.notes))
        if not found:
            self.log.warning("No submissions of '%s' for course '%s' to collect", self.coursedir.assignment_id, classroom.course_id)


def collect(classroom, assignment_id, *, students=None, update=True, before_due=False, trust_stamps=False, dry_run=False,
            progress=None):
    """Copy each student's latest submission to submitted/ -> [Collected], by student.

    The time of a submission is its stamp if that lies within two minutes of its arrival, the inode change time of what lies
    in the exchange; else the arrival. trust_stamps takes every readable stamp, for an exchange that was moved or restored.
    before_due prefers the latest submission that was in time. Notes of what was odd go to .mlsys/notes.
    """
    classroom.check_exchange(released=assignment_id)
    with classroom.gradebook() as gb:
        on_roster = {s.id for s in gb.students}
    notes, candidates = _survey(classroom, assignment_id, on_roster)
    results = []
    for i, student in enumerate(sorted(candidates)):
        if progress:
            progress(i, len(candidates), student)
        if students is None or student in students:
            chosen = _choose(candidates[student], classroom, assignment_id, before_due)
            try:
                result = _collect_one(classroom, assignment_id, chosen, update, trust_stamps, dry_run)
            except OSError as error:            # one student's trouble stays theirs
                result = Collected(student, "refused", notes=[_note("damaged", f"could not be copied ({error})")])
            result.notes = notes.pop(student, []) + result.notes
            results.append(result)
    results += [Collected(student, "refused", notes=found) for student, found in sorted(notes.items())
                if students is None or student in students]
    if not dry_run:
        for result in results:
            path = classroom.notes_path(assignment_id, result.student)
            if result.notes:
                atomic.write_json(path, result.notes)
            else:
                path.unlink(missing_ok=True)
    if progress:
        progress(len(candidates), len(candidates), "")
    return sorted(results, key=lambda r: r.student)


def waiting(classroom, assignment_id):
    """Students of whom something lies in the exchange that `collect` has not looked at."""
    try:
        names = os.listdir(classroom.inbound)
    except OSError:
        return set()
    found = {}
    for name in names:
        if _belongs(name, assignment_id) and roster.valid_id(name.split("+")[0]):
            found.setdefault(name.split("+")[0], set()).add(name)
    return {student for student, folders in found.items()
            if folders - atomic.read_json(_ledger_path(classroom, assignment_id, student), {}).get("seen", {}).keys()}


def _belongs(name, assignment_id):
    parts = name.split("+")
    return len(parts) >= 3 and parts[1] == assignment_id


def _survey(classroom, assignment_id, on_roster):
    """-> notes by student, candidates by student. Notes about a name that is nobody's go to the owner of the folder."""
    notes, candidates = {}, {}
    try:
        names = sorted(os.listdir(classroom.inbound))
    except OSError as error:
        raise ClassError(f"{classroom.inbound} cannot be listed ({error.strerror}): collect as the instructor who released the "
                         "assignment") from None
    trusted = {0, os.geteuid()}                 # what the instructor or root put there, they put for the student
    for name in filter(lambda n: _belongs(n, assignment_id), names):
        path, student = classroom.inbound / name, name.split("+")[0]
        try:
            state = path.lstat()
        except FileNotFoundError:               # taken back between listing and looking
            continue
        owner = _user(state.st_uid)
        blame = owner if classroom.check_owner and state.st_uid not in trusted else student
        why = None
        if not stat.S_ISDIR(state.st_mode):
            why = _note("escape", f"{shown(name)} in the exchange is no folder; not collected")
        elif not roster.valid_id(student):
            why = _note("identity", f"handed in as {shown(student)!r}, which cannot be a student; not collected")
        elif classroom.check_owner and state.st_uid not in trusted and owner != student:
            why = _note("identity", f"handed in under the name of {student}; not collected")
        elif on_roster and student not in on_roster:
            why = _note("identity", f"{student} is not on the roster; not collected")
        if why is None:
            try:
                fd = open_folder(path)
                try:
                    changed = look(fd, IGNORED)
                finally:
                    os.close(fd)
                found = _Candidate(student, path, state.st_uid, datetime.fromtimestamp(changed / 1e9, UTC), changed)
                candidates.setdefault(student, []).append(found)
                continue
            except OSError as error:
                why = _note("damaged", f"{shown(name)} cannot be opened ({error.strerror}); not collected")
        if roster.valid_id(blame):
            notes.setdefault(blame, []).append(why)
    for student, found in candidates.items():
        if len(found) > MAX_FOLDERS:
            notes.setdefault(student, []).append(_note("limit", f"{len(found)} submissions in the exchange; the latest {MAX_FOLDERS} "
                                                                "were looked at"))
            candidates[student] = found = sorted(found, key=lambda c: c.changed_ns)[-MAX_FOLDERS:]
        _remember(classroom, assignment_id, student, found)
    return notes, candidates


def _remember(classroom, assignment_id, student, found):
    """Give back the arrival known from an earlier look to a folder whose inodes changed but whose contents did not.

    A chown of the exchange, or a restored backup, changes inodes; it makes nobody's work late.
    """
    before = atomic.read_json(_ledger_path(classroom, assignment_id, student), {}).get("seen", {})
    for c in found:
        known = before.get(c.path.name)
        if not known:
            continue
        if known["changed_ns"] != c.changed_ns:
            try:
                c.digest = _digest(c, classroom.check_owner)
            except OSError:                     # taken back or closed meanwhile; copying it says so
                continue
            if c.digest != known["digest"]:
                continue
        c.digest = known["digest"]
        c.arrived = datetime.fromisoformat(known["arrived"])


def _digest(candidate, check_owner):
    fd = open_folder(candidate.path)
    try:
        return take(fd, owner=candidate.uid if check_owner else None, ignore=IGNORED).digest
    finally:
        os.close(fd)


def _choose(found, classroom, assignment_id, before_due):
    found = sorted(found, key=lambda c: (c.arrived, c.path.name))
    limit = classroom.due.get(assignment_id)
    if before_due and limit is not None:
        limit = limit.at + classroom.extensions.get(assignment_id, {}).get(found[0].student, timedelta(0))
        found = [c for c in found if c.arrived <= limit] or found
    return _Chosen(found[-1], found)


@dataclass
class _Chosen:
    latest: _Candidate
    all: list


def _collect_one(classroom, assignment_id, chosen, update, trust_stamps, dry_run):
    candidate = chosen.latest
    student = candidate.student
    target = classroom.submitted(student, assignment_id)
    ledger_path = _ledger_path(classroom, assignment_id, student)
    before = atomic.read_json(ledger_path, {})
    known = before.get("seen", {}).get(candidate.path.name, {})
    same = (before.get("folder") == candidate.path.name and known.get("digest") == candidate.digest is not None
            and before.get("trusted") >= trust_stamps and target.is_dir())
    if same or target.is_dir() and not update:
        if same and known["changed_ns"] != candidate.changed_ns and not dry_run:
            known["changed_ns"] = candidate.changed_ns
            atomic.write_json(ledger_path, before)
        at = datetime.fromisoformat(before["at"]) if before.get("at") else None
        return Collected(student, "same", at, before.get("notes", []))
    state = "updated" if target.is_dir() else "new"
    if dry_run:
        return Collected(student, f"would be {state}", candidate.arrived)
    staging = Path(tempfile.mkdtemp(dir=classroom.root / ".mlsys", prefix="collect-"))
    try:
        copy = staging / assignment_id
        copy.mkdir()
        fd = open_folder(candidate.path)
        try:
            if os.fstat(fd).st_uid != candidate.uid:
                raise OSError(f"{candidate.path.name} was replaced meanwhile")
            got = take(fd, copy, owner=candidate.uid if classroom.check_owner else None, ignore=IGNORED)
        finally:
            os.close(fd)
        if got.digest != candidate.digest:
            candidate.arrived = datetime.fromtimestamp(got.changed_ns / 1e9, UTC)
        at, odd = _time(copy / "timestamp.txt", candidate.arrived, trust_stamps)
        _write_new(copy / "timestamp.txt", f"{at:%Y-%m-%d %H:%M:%S.%f} UTC")
        notes = [_note(kind, text) for kind, text in got.notes] + ([odd] if odd else []) + _check_secret(copy / _NAME)
        seen = before.get("seen", {}) | {c.path.name: entry for c in chosen.all
                                         if c is not candidate and (entry := _seen(c, classroom.check_owner))}
        seen[candidate.path.name] = {"changed_ns": got.changed_ns, "arrived": candidate.arrived.isoformat(), "digest": got.digest}
        atomic.move_in(copy, target)
        atomic.write_json(ledger_path, {"folder": candidate.path.name, "at": at.isoformat(), "trusted": trust_stamps, "notes": notes,
                                        "seen": seen})
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Collected(student, state, at, notes)


def _seen(candidate, check_owner):
    """What to remember of a folder that was looked at; None if it is gone."""
    try:
        digest = candidate.digest or _digest(candidate, check_owner)
    except OSError:
        return None
    return {"changed_ns": candidate.changed_ns, "arrived": candidate.arrived.isoformat(), "digest": digest}


def _ledger_path(classroom, assignment_id, student):
    return classroom.root / ".mlsys" / "collected" / assignment_id / f"{student}.json"


def _time(path, arrived, trust):
    """The time that counts, and a note if it is not the one that the submission claims."""
    text, claimed = _read_stamp(path)
    if claimed is not None and (trust or abs(claimed - arrived) <= TOLERANCE):
        return claimed, None
    if text is None:
        return arrived, _note("timestamp", f"no readable timestamp; arrived {arrived:%Y-%m-%d %H:%M:%S} UTC, which counts")
    how = "has no time zone that can be read" if claimed is None else f"differs from the arrival by {_apart(claimed - arrived)}"
    return arrived, _note("timestamp", f"timestamp {shown(text, 40)!r} {how}; arrived {arrived:%Y-%m-%d %H:%M:%S} UTC, which counts")


def _read_stamp(path):
    """-> what stands in timestamp.txt, and the moment if it is one without doubt. A name such as CET is in doubt."""
    try:
        with open(path, "rb") as f:
            text = f.read(200).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None, None
    return text or None, stamp(text)


def _apart(delta):
    seconds = abs(delta.total_seconds())
    size, unit = next((s, u) for s, u in ((86400, "days"), (3600, "hours"), (60, "minutes")) if seconds >= s or s == 60)
    return f"{seconds / size:.1f} {unit} ({'early' if delta < timedelta(0) else 'ahead'})"


def _check_secret(path):
    """nbgrader names the released feedback by a hash of this file, so one that is no secret gets no feedback."""
    try:
        with open(path, "rb") as f:
            text = f.read(300).decode("ascii")
    except FileNotFoundError:
        return [_note("damaged", "no submission_secret.txt, so feedback cannot be released to the student")]
    except (UnicodeDecodeError, IsADirectoryError):
        text = ""
    if _SECRET.fullmatch(text.strip()):
        return []
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [_note("damaged", "submission_secret.txt holds no secret, so feedback cannot be released to the student")]


def _write_new(path, text):
    """Replace whatever the student put at `path`, which may be a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    atomic.write(path, text)


def _note(kind, text):
    return {"kind": kind, "note": text}


def _user(uid):
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
