"""Feedback: one page for each submission, what the judge said of each item and the notebook, that runs and fetches nothing."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nbconvert.exporters import Exporter
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import GenerateFeedback
from nbgrader.exchange.default import ExchangeReleaseFeedback
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import notebook_hash
from traitlets import List, Unicode, default

from .. import atomic
from ..catalogue import SIDECAR
from . import late
from .classroom import Classroom
from .deadlines import show
from .inert import Inert, markdown, visible

TEMPLATES = Path(__file__).parent / "templates"
_KINDS = {"check": "code", "answer": "number", "predict": "prediction", "decision": "decision", "rubric": "text"}
# What a student is told about their own submission. How an attempt to cheat was noticed is for the instructor.
_TOLD = {"limit", "damaged", "timestamp"}


@dataclass(frozen=True)
class Page:
    """One student's feedback. state: "released", "changed", "same", "unreleased" (no way to the student), "failed"."""

    assignment: str
    student: str
    state: str
    note: str = ""


def feedback(classroom, assignments, *, students=None, progress=None):
    """Generate the pages of graded submissions and release those that are new or differ -> [Page]."""
    pages = []
    for a in assignments:
        with classroom.gradebook() as gb:
            late.refresh(gb, classroom.late, a.id)
        api = classroom.api()
        names = [s for s in graded_students(classroom, a.id) if students is None or s in students]
        for i, student in enumerate(names):
            if progress:
                progress(i, len(names), f"{a.name} {student}")
            why = _generate(classroom, api, a, student)
            pages.append(Page(a.id, student, "failed", why) if why else _release(classroom, api, a, student))
        if progress:
            progress(len(names), len(names), a.name)
    return pages


def graded_students(classroom, assignment_id):
    """Students with a graded record or an autograded notebook."""
    records = {p.stem for p in classroom.graded_path(assignment_id, "x").parent.glob("*.json")}
    trees = {p.parent.name for p in (classroom.root / "autograded").glob(f"*/{assignment_id}") if p.is_dir()}
    return sorted(records | trees)


def _generate(classroom, api, assignment, student):
    """Write one student's page -> None, or why not."""
    tree = classroom.autograded(student, assignment.id)
    if not (tree / f"{assignment.notebook}.ipynb").is_file():
        return _without_notebook(classroom, assignment, student)
    api.coursedir.student_id, api.coursedir.assignment_id = student, assignment.id
    app = GenerateFeedback(coursedir=api.coursedir, parent=api)
    app.force = True
    try:
        app.start()
    except Exception as error:          # nbgrader has logged it; the others' pages go on
        api.log.exception("feedback of %s for %s", student, assignment.id)
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'see the log'}"
    return None


def _without_notebook(classroom, assignment, student):
    """A submission of which nothing could be kept still gets its result and the reason."""
    target = classroom.feedback(student, assignment.id)
    html, _ = render(nbformat.v4.new_notebook(), results(classroom, assignment.id, assignment.notebook, student))
    target.mkdir(parents=True, exist_ok=True)
    for name in ("timestamp.txt", "submission_secret.txt"):
        given = classroom.submitted(student, assignment.id) / name
        if given.is_file():
            shutil.copy(given, target / name)
    atomic.write(target / f"{assignment.notebook}.html", html)
    return None


def _release(classroom, api, assignment, student):
    api.coursedir.student_id, api.coursedir.assignment_id = student, assignment.id
    app = ReleaseFeedback(coursedir=api.coursedir, authenticator=api.authenticator, parent=api)
    app.start()
    state, note = app.released.get((student, assignment.notebook), ("unreleased", "no page"))
    return Page(assignment.id, student, state, note)


class ReleaseFeedback(ExchangeReleaseFeedback):
    """nbgrader's, except that one submission without a secret does not stop the rest, and a page that is out is left alone."""

    released = {}

    def copy_files(self):
        self.released = {}
        left_out = set(filter(None, self.coursedir.student_id_exclude.split(",")))
        source = Path(self.coursedir.format_path(self.coursedir.source_directory, ".", self.coursedir.assignment_id))
        names = {p.stem for p in source.glob("*.ipynb")}        # never a page that the student put there
        root = Path(self.coursedir.format_path(self.coursedir.feedback_directory, "", "")).resolve()
        for folder in sorted(root.glob(f"{self.coursedir.student_id or '*'}/{self.coursedir.assignment_id}")):
            student = folder.parent.name
            for page in sorted(folder.glob("*.html")):
                if student not in left_out and page.stem in names:
                    state, note = self._release(page)
                    self.released[student, page.stem] = state, note
                    self.log.info("Feedback of %s on %s: %s %s", student, self.coursedir.assignment_id, state, note)

    def _release(self, page):
        secret, why = self._secret(page)
        if why:
            return "unreleased", why
        target = Path(self.dest_path) / f"{notebook_hash(secret=secret, notebook_id=page.stem)}.html"
        new = not target.exists()
        changed = atomic.write(target, page.read_bytes(), mode=0o644)
        return ("released" if new else "changed" if changed else "same"), ""


    def _secret(self, page):
        """The student's key to the page, and why there is none. It came with the submission that was graded."""
        graded, submitted = page.parent, Path(self.coursedir.format_path(
            self.coursedir.submitted_directory, page.parent.parent.name, self.coursedir.assignment_id))
        path = graded / "submission_secret.txt"
        if not path.is_file():
            if _text(graded / "timestamp.txt") != _text(submitted / "timestamp.txt"):
                return "", "a newer submission was collected and is not graded yet"
            path = submitted / "submission_secret.txt"
        secret = _text(path)
        return secret, "" if secret.strip() else "the submission has no submission_secret.txt"


def _text(path):
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


class FeedbackExporter(Exporter):
    """Notebook -> one HTML page without scripts or outside references."""

    preprocessors = List([Inert]).tag(config=True)

    @default("file_extension")
    def _file_extension_default(self):
        return ".html"

    def from_notebook_node(self, nb, resources=None, **kw):
        nb, resources = super().from_notebook_node(nb, resources, **kw)
        return render(nb, resources.get("results"), resources)


class Results(NbGraderPreprocessor):
    """In place of nbgrader's GetGrades: scores and comments from the gradebook, the judge's lines from the graded record."""

    root = Unicode(help="Folder of the class.").tag(config=True)

    def preprocess(self, nb, resources):
        about = resources["nbgrader"]
        resources["results"] = results(Classroom.open(self.root or "."), about["assignment"], about["notebook"], about["student"])
        return nb, resources


def results(classroom, assignment_id, notebook_id, student):
    """All that a page says beside the notebook, as plain data."""
    record = atomic.read_json(classroom.graded_path(assignment_id, student), {})
    said = {item["id"]: item for item in record.get("items", ())}
    baked = atomic.read_json(classroom.source(assignment_id) / SIDECAR, {})
    out = {"student": student, "assignment": assignment_id, "title": baked.get("title") or assignment_id, "items": [], "comments": {},
           "penalty": 0.0, "late": None, "due": None,
           "fate": record.get("fate", "graded"), "unsafe": bool(record.get("unsafe")), "submitted": _moment(record),
           "told": [f["note"] for f in record.get("flags", ()) if f.get("kind") in _TOLD]}
    with Gradebook(classroom.db_url, classroom.course_id) as gb:
        try:
            notebook = gb.find_submission_notebook(notebook_id, assignment_id, student)
        except MissingEntry:
            grades = []
        else:
            grades = notebook.grades
            submission = notebook.assignment
            if submission.timestamp:
                out["submitted"] = show(submission.timestamp)
                out["late"] = submission.total_seconds_late or None
            if submission.duedate:
                out["due"] = show(submission.duedate)
            out["penalty"] = notebook.late_submission_penalty or 0.0
            out["comments"] = {c.name: c.comment for c in notebook.comments if c.comment}
        for grade in grades:
            out["items"].append(_item(grade.name, grade.score, grade.max_score, said.get(grade.name, {}),
                                      by_hand=grade.auto_score is None and grade.manual_score is None or grade.needs_manual_grade))
    if not out["items"]:
        out["items"] = [_item(i["id"], i["score"], i["points"], i, by_hand=i["score"] is None) for i in said.values()]
    order = list(said)
    out["items"].sort(key=lambda i: (order.index(i["id"]) if i["id"] in order else len(order), i["id"]))
    out["score"] = max(0.0, sum(i["score"] or 0.0 for i in out["items"]) - out["penalty"])
    out["points"] = sum(i["points"] for i in out["items"])
    out["waiting"] = sum(i["points"] for i in out["items"] if i["by_hand"])
    return out


def _item(grade_id, score, points, said, by_hand):
    kind, _, name = grade_id.partition("-")
    note = said.get("note") or ""
    if by_hand or said.get("score", 0.0) is None:
        note = note if kind == "check" else "to be graded by hand" if by_hand else ""
    return {"id": grade_id, "kind": _KINDS.get(kind, kind), "name": said.get("name") or name or grade_id, "score": score or 0.0,
            "points": points, "by_hand": bool(by_hand), "note": note, "mistake": said.get("mistake"),
            "behaviours": dict(said.get("behaviours") or {})}


def _moment(record):
    try:
        return show(datetime.fromisoformat(record["submitted_at"]).astimezone(UTC))
    except (KeyError, TypeError, ValueError):
        return None


def _failing(item):
    """Behaviours that fail and that the judge's line does not name, where it makes sense to speak of single ones."""
    behaviours = item["behaviours"]
    return [name for name, passed in behaviours.items() if not passed and name not in item["note"]] if any(behaviours.values()) else []


def lateness(seconds):
    """`2.5 days`, `3.0 hours`, `12 minutes`."""
    return f"{seconds / 86400:.1f} days" if seconds >= 86400 else f"{seconds / 3600:.1f} hours" if seconds >= 3600 else \
        f"{max(1, round(seconds / 60))} minutes"


# -- the page -----------------------------------------------------------------------------------------------------------


@cache
def environment():
    """Jinja with everything escaped unless it is marked harmless here, and no control character let through."""
    env = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                      lstrip_blocks=True, finalize=lambda v: visible(v) if type(v) is str else v)
    env.filters["number"] = lambda x, digits=2: f"{x:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{x:.0f}"
    env.filters["markdown"] = lambda text: Markup(markdown(text))
    env.filters["harmless"] = Markup    # what Inert has cleaned
    env.filters["lateness"] = lateness
    env.filters["mark"] = lambda i: "good" if i["score"] >= i["points"] - 1e-9 else "part" if i["score"] > 0 else "bad"
    env.filters["failing"] = _failing
    return env


@cache
def _style():
    from pygments.formatters import HtmlFormatter

    return Markup((TEMPLATES / "page.css").read_text(encoding="utf-8") + HtmlFormatter(style="default").get_style_defs(".code"))


@lru_cache(maxsize=500)
def _code(source):
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers.python import PythonLexer

    return Markup(highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)))


def render(nb, results, resources=None):
    """An inert notebook and its results -> (HTML, resources)."""
    items = {i["id"]: i for i in results["items"]}
    cells = []
    for cell in nb.cells:
        grade_id = (cell.metadata.get("nbgrader") or {}).get("grade_id")
        cells.append({
            "kind": cell.cell_type, "item": items.get(grade_id), "comment": results["comments"].get(grade_id),
            "html": _code(cell.source) if cell.cell_type == "code" else Markup(markdown(cell.source, cell.get("attachments"))),
            # A graded cell that ends in a result holds the judge's line and number, which stand below it anyway.
            "outputs": [] if cell.cell_type != "code" or grade_id in items and any(o.output_type == "execute_result" for o in cell.outputs)
            else cell.outputs,
        })
    html = environment().get_template("feedback.html").render(
        r=results, cells=cells, style=_style(), left_out=(resources or {}).get("cells_left_out", 0))
    return html, resources
