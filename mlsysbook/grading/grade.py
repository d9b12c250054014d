"""Grade a class: submissions in parallel in boxes, one writer to the gradebook, nothing lost when it is killed.

A pool of processes turns submissions into graded records and notebooks; this process alone writes them: nbgrader's own
SaveAutoGrades into the gradebook, the notebook into autograded/, and last the record, which marks the submission as done.
A run that is killed leaves no mark for what it had not finished, so the next run does just that.
"""

import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import nbformat

from .. import atomic
from ..box import command, library
from ..build.reference import keys_beside
from ..catalogue import SIDECAR
from ..errors import ClassError, CourseError
from .judge import unscored
from .submission import grade_submission, of_class, released_files, ungraded

FORMAT = 1                              # of the graded record; a change grades everything again


def grade(classroom, course, assignments, *, students=None, jobs=None, force=False, unsafe=False, progress=None, executor=None):
    """Grade what was submitted for `assignments` -> graded records, in order of assignment and student.

    students: only these ids. jobs: processes, as many as there are cores by default. force: grade again what is unchanged.
    executor: anything with the concurrent.futures `submit`, such as a Dask client's; a process pool by default.
    progress: called with (done, total, text). unsafe: without a box; every record then says so.

    Raises BoxError without a working box, ClassError for a secret or release that is missing.
    """
    if not unsafe:
        command.probe()
    secret = classroom.secret()
    progress = progress or (lambda done, total, text: None)
    records, todo = {}, []
    for a in assignments:
        _released(classroom, a)
        for student in _submitted(classroom, a, students):
            key = _key(classroom, a, student, secret, unsafe)
            kept = None if force else read_record(classroom, a.id, student)
            if kept and kept.get("key") == key and _written(classroom, a, student):
                records[a.id, student] = kept
            else:
                todo.append((a, student, key))
    total = len(records) + len(todo)
    progress(len(records), total, f"{len(records)} unchanged")
    if not todo:
        return [records[k] for k in sorted(records)]
    roster = classroom.roster()
    libraries = {a.name: library.stage(course, a) for a in {a.name: a for a, _, _ in todo}.values()}
    try:
        pool = executor or _pool(min(jobs or _cores(), len(todo)))
        with _closing(pool, own=executor is None), Writer(classroom) as writer:
            pending = {pool.submit(_job, of_class(classroom, course, a, student, library=libraries[a.name], roster=roster, secret=secret,
                                                  unsafe=unsafe)): (a, student, key) for a, student, key in todo}
            for future in concurrent.futures.as_completed(pending):
                a, student, key = pending.pop(future)
                record, nb = future.result()
                again = record["fate"] == "failed" or bool(unscored(record))
                record |= {"key": None if again else key, "format": FORMAT}
                records[a.id, student] = writer.save(a, student, record, nb)
                progress(len(records), total, f"{a.id} {student}")
    finally:
        for folder in libraries.values():
            shutil.rmtree(folder, ignore_errors=True)
    return [records[k] for k in sorted(records)]


def _job(arguments):
    try:
        return grade_submission(**arguments)
    except CourseError:
        raise
    except Exception as error:          # one submission's trouble, a fault of ours included, stays its own
        return ungraded(error, **arguments)


def _pool(jobs):
    context = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    if hasattr(context, "set_forkserver_preload"):
        context.set_forkserver_preload(["mlsysbook.grading.submission"])
    return concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context)


class _closing:
    def __init__(self, pool, own):
        self.pool, self.own = pool, own

    def __enter__(self):
        return self.pool

    def __exit__(self, kind, *_):
        if self.own:
            self.pool.shutdown(wait=True, cancel_futures=kind is not None)


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _released(classroom, a):
    if not a.notebook_path.is_file():
        raise ClassError(f"{a.id} is not built: run `mlsys build {a.name}` first")
    with classroom.gradebook() as gb:
        if a.id not in {x.name for x in gb.assignments}:
            raise ClassError(f"{a.id} was not released in this class: run `mlsys class release {a.name}` first")


def _submitted(classroom, a, students):
    folders = sorted(classroom.submitted("*", a.id).parent.parent.glob(f"*/{a.id}"))
    found = [f.parent.name for f in folders if f.is_dir() and not f.is_symlink()]
    if students:
        lost = [s for s in students if s not in found]
        if lost:
            raise ClassError(f"{lost[0]} has submitted nothing for {a.id}; collected are {', '.join(found) or 'none'}")
    return [s for s in found if not students or s in students]


def _key(classroom, a, student, secret, unsafe):
    """Changes when anything that the grade depends on does: the files, the source, the secret, known notes."""
    h = hashlib.sha256(repr((FORMAT, a.id, student, secret, unsafe, a.limits, classroom.notes(a.id, student))).encode())
    source, author = released_files(classroom, a)
    for path in (author, source / f"{a.notebook}.ipynb", source / SIDECAR, *filter(Path.is_file, [keys_beside(author)])):
        h.update(path.read_bytes())
    folder = classroom.submitted(student, a.id)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            st = path.stat()
            h.update(f"{path.relative_to(folder)}\0{st.st_size}\0{st.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return h.hexdigest()


def read_record(classroom, assignment_id, student):
    """The graded record on disk, or None where there is none that can be read."""
    try:
        return json.loads(classroom.graded_path(assignment_id, student).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _written(classroom, a, student):
    return (classroom.root / "autograded" / student / a.id / f"{a.notebook}.ipynb").is_file()


class Writer:
    """The one writer: nbgrader's preprocessors into its gradebook, the notebook into autograded/, then the record."""

    def __init__(self, classroom):
        self.classroom, self.config = classroom, classroom.nbgrader_config()

    def __enter__(self):
        from nbgrader.preprocessors import AssignLatePenalties, OverwriteCells, SaveAutoGrades

        self.steps = [OverwriteCells(config=self.config), SaveAutoGrades(config=self.config), AssignLatePenalties(config=self.config)]
        self.gradebook = self.classroom.gradebook()
        return self

    def __exit__(self, *_):
        self.gradebook.close()

    def save(self, a, student, record, nb):
        stamp = self.classroom.timestamp(student, a.id)
        more = {"timestamp": stamp} if stamp else {}
        self.gradebook.update_or_create_student(student)
        self.gradebook.update_or_create_submission(a.id, student, **more)
        resources = {"unique_key": a.notebook, "nbgrader": {
            "student": student, "assignment": a.id, "notebook": a.notebook, "db_url": self.classroom.db_url}}
        nb = nbformat.from_dict(nb)
        for step in self.steps:
            nb, resources = step.preprocess(nb, resources)
        for made in unscored(record):
            grade = self.gradebook.find_grade(made["id"], a.notebook, a.id, student)
            grade.auto_score, grade.needs_manual_grade = None, True
        self.gradebook.db.commit()
        record["submitted_at"] = stamp.isoformat() + "Z" if stamp else None
        self._autograded(a, student, nb)
        atomic.write_json(self.classroom.graded_path(a.id, student), record)
        return record

    def _autograded(self, a, student, nb):
        """Replace autograded/<student>/<assignment> in two renames, so that it is never half there."""
        target = self.classroom.root / "autograded" / student / a.id
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{a.id}.*"):       # of a run that was killed
            shutil.rmtree(left)
        fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{a.id}."))
        fresh.chmod(0o755)
        nbformat.write(nb, fresh / f"{a.notebook}.ipynb")
        for name in ("timestamp.txt", "submission_secret.txt"):     # what nbgrader's feedback goes by
            given = self.classroom.submitted(student, a.id) / name
            if given.is_file() and not given.is_symlink():
                shutil.copyfile(given, fresh / name)
        for path in fresh.iterdir():
            path.chmod(0o444)
        if target.exists():
            os.replace(target, target.parent / f".{a.id}.old")
        os.replace(fresh, target)
        shutil.rmtree(target.parent / f".{a.id}.old", ignore_errors=True)
