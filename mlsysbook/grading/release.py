"""Hand an assignment out: the course's source to the class, a release without solutions, the exchange, the due date."""

import hashlib
import os
import pwd
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nbgrader.exchange.default import ExchangeReleaseAssignment

from .. import atomic
from ..build import reference
from ..catalogue import SIDECAR
from ..errors import ClassError, HubError
from .nbg import succeed


@dataclass(frozen=True)
class Released:
    """state: "released", "same" (out already, unchanged), "replaced", "rekeyed" (out already; only what students do not see
    has changed), or with dry_run "would be ..."."""

    assignment: str
    state: str
    due: object = None              # Due, or None


class Release(ExchangeReleaseAssignment):
    """nbgrader's release, except that a student who fetches meanwhile gets the old one or the new one, never half of each."""

    def copy_files(self):
        outbound, target = Path(self.outbound_path), Path(self.dest_path)
        if target.is_dir() and not self.force:
            self.fail(f"Destination already exists, add --force to overwrite: {self.coursedir.course_id} {self.coursedir.assignment_id}")
        staging = Path(tempfile.mkdtemp(dir=outbound, prefix=".new-"))
        try:
            self.do_copy(self.src_path, str(staging / target.name))
            self.set_perms(str(staging / target.name), fileperms=0o664 if self.coursedir.groupshared else 0o644,
                           dirperms=0o2775 if self.coursedir.groupshared else 0o755)
            atomic.move_in(staging / target.name, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        self.log.info("Released as: %s %s", self.coursedir.course_id, self.coursedir.assignment_id)


def release(classroom, course, assignments, *, force=False, dry_run=False, progress=None):
    """Release assignments of the course to the class -> [Released], in the order given.

    One that is out and whose source is the same stays as it is. One whose source has changed is an error unless `force`:
    students who fetched it keep their copy. Dates are set by `sync_dates`.
    """
    done = _ledger(classroom)
    plan = []
    for a in assignments:
        if not a.notebook_path.is_file() or not a.author_source.is_file():
            raise ClassError(f"{a.name} is not built: {a.notebook_path} is missing; run `mlsys build {a.name}`")
        digest = _digest(a.source_dir)
        out = (classroom.outbound / a.id).is_dir()
        same = out and done.get(a.id, {}).get("source") == digest and (classroom.root / "release" / a.id).is_dir()
        if out and not same and not force:
            raise ClassError(f"{a.name} is released already and its source has changed since: --force replaces it (students who "
                             "fetched it keep what they have)")
        hidden = same and classroom.author(a).read_bytes() != a.author_source.read_bytes()
        plan.append((a, digest, "rekeyed" if hidden and not force else "same" if same and not force else "replaced" if out else "released"))
    if not dry_run:
        prepare_exchange(classroom)
    results = []
    for i, (a, digest, state) in enumerate(plan):
        if progress:
            progress(i, len(plan), a.name)
        if state == "rekeyed" and not dry_run:
            _keep_author(classroom, course, a)
        elif state != "same" and not dry_run:
            _release(classroom, course, a)
            done[a.id] = {"source": digest, "at": datetime.now(UTC).isoformat(timespec="seconds")}
            atomic.write_json(_ledger_path(classroom), done)
        results.append(Released(a.id, f"would be {state}" if dry_run and state != "same" else state, classroom.due.get(a.id)))
    if progress:
        progress(len(plan), len(plan), "")
    return results


def _release(classroom, course, assignment):
    _copy_source(classroom, assignment)
    _keep_author(classroom, course, assignment)
    api = classroom.api(ExchangeReleaseAssignment={"force": True})
    succeed(classroom, f"generate_assignment {assignment.id}", api.generate_assignment(assignment.id, force=True))
    succeed(classroom, f"release_assignment {assignment.id}", api.release_assignment(assignment.id))


def _keep_author(classroom, course, assignment):
    """Hidden cases, reference and keys as they were when the assignment was released: what the judge goes by."""
    kept = classroom.root / ".mlsys" / "author" / f"{assignment.id}.py"
    atomic.write(kept, assignment.author_source.read_bytes(), mode=0o600)
    baked = atomic.read_json(assignment.source_dir / SIDECAR, {})
    if baked.get("units"):                                  # a later figure of the library changes no key that was given out
        keys = reference.load(course, assignment, pool=baked["variants"]).snapshot()
        atomic.write_json(reference.keys_beside(kept), keys)


def _copy_source(classroom, assignment):
    """The class's own copy of the source, so that a later build of the course does not change a class that is running."""
    target = classroom.source(assignment.id)
    if target.resolve() == assignment.source_dir.resolve() or target.is_dir() and _digest(target) == _digest(assignment.source_dir):
        return
    staging = Path(tempfile.mkdtemp(dir=classroom.root / ".mlsys", prefix="source-"))
    try:
        shutil.copytree(assignment.source_dir, staging / assignment.id)
        atomic.move_in(staging / assignment.id, target)
    finally:
        shutil.rmtree(staging)


def _digest(folder):
    h = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "checkpoints" not in str(p)):
        h.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        h.update(path.read_bytes())
    return h.hexdigest()


def _ledger_path(classroom):
    return classroom.root / ".mlsys" / "released.json"


def _ledger(classroom):
    return atomic.read_json(_ledger_path(classroom), {})


def prepare_exchange(classroom):
    """Make the class's part of the exchange with safe modes, or check the one that stands there."""
    from ..hub.exchange import prepare

    try:
        prepare(classroom.exchange, classroom.course_id, pwd.getpwuid(os.geteuid()).pw_name)
    except HubError as error:
        raise ClassError(str(error)) from None


def sync_dates(classroom, course=None):
    """Bring the gradebook's due dates and extensions to what class.yml says -> lines of what changed.

    class.yml wins over a date typed in the formgrader; an assignment that it does not list keeps the gradebook's date. An
    extension is stored with the student's submission, so it takes effect once there is one.
    """
    from nbgrader.api import Assignment, SubmittedAssignment

    if course is not None:
        for assignment_id in [*classroom.due, *classroom.extensions]:
            course.find(assignment_id)
    lines = []
    with classroom.gradebook() as gb:
        known = {a.name: a for a in gb.db.query(Assignment)}
        for assignment_id, moment in classroom.due.items():
            assignment = known.get(assignment_id)
            if assignment is not None and assignment.duedate != moment.naive:
                lines.append(f"{assignment_id} is due {moment}")
                assignment.duedate = moment.naive
        students = {s.id for s in gb.students}
        for by_student in classroom.extensions.values():
            unknown = sorted(by_student.keys() - students)
            if unknown and students:
                raise ClassError(f"extension for {unknown[0]}, who is not on the roster: mend it in {classroom.root / 'class.yml'}")
        for submission in gb.db.query(SubmittedAssignment):
            granted = classroom.extensions.get(submission.name, {}).get(submission.student_id)
            if submission.extension != granted and submission.name in known:
                submission.extension = granted
                lines.append(f"{submission.student_id} has {f'{granted} more' if granted else 'no extension'} for {submission.name}")
        gb.db.commit()
    return lines
