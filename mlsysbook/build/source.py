"""Read an author's percent source into cells, each with its kind, name, points and line.

jupytext reads the format; this file gives its cell headers a meaning and refuses what it does not know.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

import jupytext

from ..errors import SourceError

# kind of cell -> attributes it may carry. The kind is the first of these keys found in a header.
KINDS = {
    "solution": {"solution"},
    "check": {"check", "points", "covers"},
    "hidden": {"hidden"},
    "answer": {"answer", "points"},
    "key": {"key"},
    "predict": {"predict", "points", "unit"},
    "decision": {"decision", "points"},
    "rubric": {"rubric", "points"},
}
TITLES = ("show", "variants")           # kinds without a name
INSTRUCTOR = ("hidden", "key", "variants")
GRADED = ("check", "answer", "predict", "decision", "rubric")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_MARKER = re.compile(r"^# %%")
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
EXPORT = "#| export"
_MARKS = (BEGIN, END, EXPORT)
BEGIN_SCHEME, END_SCHEME = "### BEGIN MARK SCHEME", "### END MARK SCHEME"


@dataclass(frozen=True)
class Cell:
    """One cell of an author source. kind: markdown, given, show, variants or a key of KINDS."""

    kind: str
    name: str
    text: str
    line: int
    path: Path
    points: float = 0.0
    covers: tuple[str, ...] = ()
    unit: str | None = None
    export: bool = False

    def error(self, message):
        where = f"cell {self.kind}={self.name!r}: " if self.name else ""
        return SourceError(self.path, self.line, where + message)

    @property
    def code(self):
        """The cell as the reference runs it: marks blanked, so that line numbers stay those of the file."""
        return "\n".join("" if t.strip() in _MARKS else t for t in self.text.split("\n"))

    @property
    def exported(self):
        """The cell as it goes to the exported module: marks removed."""
        return "\n".join(t for t in self.text.split("\n") if t.strip() not in _MARKS).strip("\n")


def read(path):
    """Cells of the author source at `path`, checked for what can be told from one file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SourceError(path, 1, "there is no such author source; `mlsys new` makes one") from None
    except UnicodeDecodeError as error:
        raise SourceError(path, 1, f"not UTF-8 ({error.reason} at byte {error.start})") from None
    try:
        notebook = jupytext.reads(text, fmt="py:percent")
    except Exception as error:
        raise SourceError(path, 1, f"jupytext cannot read it: {error}") from error
    lines = [n for n, line in enumerate(text.split("\n"), 1) if _MARKER.match(line)]
    raw = notebook.cells
    if len(raw) == len(lines) + 1:      # text before the first marker is a cell of its own
        lines.insert(0, 0)
    if len(raw) != len(lines):
        raise SourceError(path, 1, f"found {len(lines)} cell headers but {len(raw)} cells; a `# %%` inside a string splits a cell")
    cells = [_cell(c, line, path) for c, line in zip(raw, lines, strict=True)]
    _check_names(cells)
    return cells


def _cell(c, line, path):
    meta = {k: v for k, v in c.metadata.items() if k not in ("lines_to_next_cell", "cell_marker")}
    title = meta.pop("title", None)
    kind = next((k for k in KINDS if k in meta), None)
    if title is not None:
        if title not in TITLES:
            near = difflib.get_close_matches(title, TITLES, n=1)
            raise SourceError(path, line, f"unknown cell header {title!r}" + (f"; did you mean {near[0]}?" if near else
                              f"; a header without a value is {' or '.join(TITLES)}"))
        if kind or meta:
            raise SourceError(path, line, f"{title} takes no attributes, got {', '.join(meta)}")
        kind = title
    if kind is None:
        if meta:
            near = difflib.get_close_matches(next(iter(meta)), KINDS, n=1)
            raise SourceError(path, line, f"unknown cell header {', '.join(meta)}" + (f"; did you mean {near[0]}?" if near else ""))
        kind = "markdown" if c.cell_type == "markdown" else "given"
    unknown = meta.keys() - KINDS.get(kind, set())
    if unknown:
        raise SourceError(path, line, f"{kind} takes {', '.join(sorted(KINDS[kind]))}; got {', '.join(sorted(unknown))}")
    name = str(meta.get(kind, "")) if kind in KINDS else ""
    if kind in KINDS and not _NAME.fullmatch(name):
        raise SourceError(path, line, f"{kind}={name!r}: a name is a lower-case letter, then letters, digits and _, at most 48")
    if (kind == "rubric" or kind == "markdown") != (c.cell_type == "markdown"):
        raise SourceError(path, line, f"{kind} must be a {'markdown' if kind == 'rubric' else 'code'} cell")
    points = meta.get("points", 0)
    if kind in GRADED and (not isinstance(points, int | float) or isinstance(points, bool) or points <= 0):
        raise SourceError(path, line, f"{kind}={name!r} needs points > 0, got {points!r}")
    covers = tuple(str(meta.get("covers", name)).replace(" ", "").split(",")) if kind == "check" else ()
    text = c.source.strip("\n")
    cell = Cell(kind, name, text, line, path, float(points), covers, meta.get("unit"),
                kind in ("given", "solution") and text.startswith(EXPORT))
    _check_regions(cell)
    return cell


def _check_regions(cell):
    marks = [t.strip() for t in cell.text.split("\n") if t.strip() in (BEGIN, END)]
    if cell.kind in ("solution", "answer", "predict", "decision"):
        if marks != [BEGIN, END] * (len(marks) // 2) or not marks:
            raise cell.error(f"wants a region between `{BEGIN}` and `{END}`")
    elif marks:
        raise cell.error(f"has a `{marks[0]}`; only solution, answer, predict and decision cells are stripped")
    if cell.kind == "rubric" and (BEGIN_SCHEME not in cell.text or END_SCHEME not in cell.text):
        raise cell.error(f"wants a mark scheme between `{BEGIN_SCHEME}` and `{END_SCHEME}`")


def _check_names(cells):
    seen, by_kind = {}, {}
    for c in cells:
        if not c.name:
            continue
        if (c.kind, c.name) in seen:
            raise c.error(f"is defined twice; first on line {seen[c.kind, c.name]}")
        seen[c.kind, c.name] = c.line
        by_kind.setdefault(c.kind, {})[c.name] = c
    get = lambda kind: by_kind.get(kind, {})  # noqa: E731
    covered = {s for c in get("check").values() for s in c.covers}
    for s in get("solution").values():
        if s.name not in covered:
            raise s.error("no check covers it; add a check of that name or name it in a check's covers")
    for c in get("check").values():
        lost = [s for s in c.covers if s not in get("solution")]
        if lost:
            raise c.error(f"covers {lost[0]!r}, which is no solution of this source")
        if c.name not in get("hidden"):
            raise c.error(f"has no hidden cases; add a cell hidden={c.name!r}")
    for kind, partners in (("hidden", ("check",)), ("key", ("answer", "predict", "decision"))):
        for c in get(kind).values():
            if not any(c.name in get(partner) for partner in partners):
                raise c.error(f"there is no {' or '.join(partners)} of that name")
    for kind in ("answer", "decision"):
        for c in get(kind).values():
            if c.name not in get("key"):
                raise c.error(f"has no key; add a cell key={c.name!r}")
    for c in get("decision").values():
        if c.name in get("answer") or c.name in get("predict"):
            raise c.error("shares its name with an answer or a prediction, and a key has one of them")
        if len(get("answer")) < 3:
            raise c.error(f"wants three answers as evidence; this source asks for {len(get('answer'))}")
    if sum(c.kind == "variants" for c in cells) > 1:
        raise next(c for c in cells if c.kind == "variants").error("there is more than one variants cell")


def grade_ids(cells):
    """nbgrader id of each graded item -> its cell, in order."""
    return {f"{c.kind}-{c.name}": c for c in cells if c.kind in GRADED}
