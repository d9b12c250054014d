"""What a student's notebook says about itself when it is run from top to bottom in the box: its visible checks only."""

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nbformat

from .. import catalogue
from ..answers.identity import identity, sidecar
from ..box import command, library
from ..box.limits import Limits
from ..box.outputs import plain
from ..box.session import CellSource, Session
from ..errors import CourseError
from .vet import MAX_NOTEBOOK, copy_files, read_file


@dataclass
class Item:
    """One graded cell. ok: it ran without a complaint; for a check that means that the visible cases are right."""

    name: str
    kind: str
    points: float
    ok: bool
    text: str

    @property
    def judged(self):
        """Whether ok says that it is right; an answer or a prediction is only read."""
        return self.kind == "check"


@dataclass
class Visible:
    items: list
    errors: list


def visible(notebook, *, unsafe=False):
    """Run the notebook at path `notebook` in the box -> Visible. Raises CourseError for a file that is no such notebook."""
    notebook = Path(notebook)
    data = read_file(notebook, MAX_NOTEBOOK)
    if data is None:
        raise CourseError(f"{notebook}: there is no such notebook, or it is too large; name the .ipynb that you fetched")
    try:
        nb = nbformat.reads(data.decode("utf-8"), as_version=4)
    except Exception as error:          # nbformat raises many kinds; to the student all mean the same
        raise CourseError(f"{notebook}: not a readable notebook ({type(error).__name__}); fetch the assignment again") from None
    baked = sidecar(notebook.resolve().parent)
    if not baked:
        raise CourseError(f"{notebook}: {catalogue.SIDECAR} is not beside it; fetch the assignment again")
    course = catalogue.load()
    assignment = course.find(baked["assignment"])
    if not unsafe:
        command.probe()
    code = [c for c in nb.cells if c.cell_type == "code"]
    cells = [CellSource(c.source, graded=bool(c.metadata.get("nbgrader", {}).get("grade")), visible=True) for c in code]
    with contextlib.ExitStack() as stack:
        private = stack.enter_context(tempfile.TemporaryDirectory(prefix="mlsys-check-"))
        staged = library.stage(course, assignment)
        stack.callback(shutil.rmtree, staged, ignore_errors=True)
        copy_files(notebook.resolve().parent, private, notebook.resolve().parent, _Quiet())
        outcome = Session(staged, Limits.of(assignment), unsafe=unsafe).run(cells, private, identity())
    items = []
    for i, (c, cell) in enumerate(zip(code, cells, strict=True)):
        if not cell.graded:
            continue
        record, meta = outcome.records.get(i, {}), c.metadata.nbgrader
        failed = record.get("failed") or outcome.notes.get(i)
        kind, _, name = meta.grade_id.partition("-")
        items.append(Item(name, kind, float(meta.points), failed is None, plain(failed or record.get("shown", ""), 4000)))
    errors = [f"cell {i + 1} raised {o['ename']}: {o['evalue']}" for i, outputs in sorted(outcome.outputs.items())
              for o in outputs if o["output_type"] == "error" and o["ename"] != "NotImplementedError"]
    if outcome.ended != "finished":
        errors.append(outcome.ended)
    return Visible(items, errors)


class _Quiet:
    """Takes vet's notes about files, which matter only to an instructor."""

    def flag(self, kind, note):
        pass
