"""The judge inside stock `nbgrader autograde`: public configuration points, no fork.

TolerantExporter does not read a student's file; Vet does, and puts the official cells
back; BoxAndJudge takes the place of nbgrader's Execute. SaveAutoGrades and the rest are nbgrader's own.
`mlsys class grade` does the same work in parallel; both give the same scores.
"""

import shutil
from pathlib import Path

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat.v4 import new_notebook
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Unicode

from .. import atomic, catalogue
from ..box import command, library
from ..errors import ClassError
from .classroom import Classroom
from .judge import unscored
from .submission import grade_submission, loaded, of_class, released_files
from .vet import vet


class TolerantExporter(NotebookExporter):
    """NotebookExporter that leaves a student's file alone: an empty notebook stands for it until Vet has read it.

    Whatever the file is, its submission is then scored and not lost; and nbformat need not validate a million cells.
    """

    def from_filename(self, filename, resources=None, **kw):
        if Path(self.config.Vet.class_root).resolve() / "submitted" in Path(filename).resolve().parents:
            return self.from_notebook_node(new_notebook(), resources=resources, **kw)
        return super().from_filename(filename, resources=resources, **kw)


class Vet(NbGraderPreprocessor):
    """First sanitising step: the official notebook with the student's text in it."""

    course_root = Unicode(help="Folder of course.yml").tag(config=True)
    class_root = Unicode(help="Folder of class.yml").tag(config=True)

    def preprocess(self, nb, resources):
        who = resources["nbgrader"]
        classroom = Classroom.open(self.class_root)
        a = catalogue.load(self.course_root).find(who["assignment"])
        _, _, official = loaded(self.course_root, a.name, *released_files(classroom, a))
        return vet(official, classroom.submitted(who["student"], a.id), a.notebook).notebook, resources


class BoxAndJudge(NbGraderPreprocessor):
    """In place of Execute: run the submission in the box, judge it outside, put a plain float into each graded cell."""

    course_root = Unicode(help="Folder of course.yml").tag(config=True)
    class_root = Unicode(help="Folder of class.yml").tag(config=True)
    unsafe = Bool(False, help="Run without a box; every record then says so").tag(config=True)

    def preprocess(self, nb, resources):
        if not self.unsafe:
            command.probe()
        who = resources["nbgrader"]
        classroom, course = Classroom.open(self.class_root), catalogue.load(self.course_root)
        a = course.find(who["assignment"])
        staged = library.stage(course, a)
        try:
            record, made = grade_submission(**of_class(classroom, course, a, who["student"], library=staged, roster=classroom.roster(),
                                                       secret=classroom.secret(), unsafe=self.unsafe))
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        if left := unscored(record):
            raise ClassError(f"{a.id}, {who['student']}: {left[0]['name']} {left[0]['note']}")
        atomic.write_json(classroom.graded_path(a.id, who["student"]), record)
        made = nbformat.from_dict(made)
        for ours, theirs in zip(made.cells, nb.cells, strict=False):
            if ours.id == theirs.id and "nbgrader" in theirs.metadata:
                ours.metadata = theirs.metadata         # with the checksums that OverwriteCells put in
        return made, resources
