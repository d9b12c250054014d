"""A submission folder as it came, and what is left of it for grading."""

import base64
import json
import os
import time

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mlsysbook.grading import vet as vetting
from mlsysbook.grading.vet import NO_ANSWER, Vetted, copy_files, read_file, vet

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 20).decode()


def graded(grade_id, *, grade=False, solution=False, locked=False):
    return {"nbgrader": {"schema_version": 3, "grade_id": grade_id, "grade": grade, "solution": solution, "locked": locked, "task": False}}


OFFICIAL = new_notebook(cells=[
    new_markdown_cell("# Title", id="text-1"),
    new_code_cell("import numpy as np", id="given-1", metadata=graded("given-1", locked=True)),
    new_code_cell("def f(): ...", id="solution-f", metadata=graded("solution-f", solution=True)),
    new_code_cell("check('f', [case(1)])", id="check-f", metadata=graded("check-f", grade=True, locked=True)),
    new_markdown_cell("", id="rubric-why", metadata=graded("rubric-why", grade=True, solution=True)),
])


def submitted(folder, cells, name="nb.ipynb", **more):
    text = json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | more)
    (folder / name).write_text(text)
    return vet(OFFICIAL, folder, "nb")


def theirs(**changed):
    cells = json.loads(nbformat.writes(OFFICIAL))["cells"]
    for c in cells:
        c["source"] = changed.get(c["id"].replace("-", "_"), c["source"])
    return cells


def sources(vetted):
    return {c.id: c.source for c in vetted.notebook.cells}


def flags(vetted):
    return [f["note"] for f in vetted.flags]


def test_the_students_text_goes_into_the_official_notebook(tmp_path):
    v = submitted(tmp_path, theirs(solution_f="def f(): return 1", rubric_why="Because."))
    assert v.fate == "graded" and v.flags == [] and [c.id for c in v.notebook.cells] == [c.id for c in OFFICIAL.cells]
    assert sources(v)["solution-f"] == "def f(): return 1" and sources(v)["rubric-why"] == "Because."


def test_a_locked_cell_is_put_back_and_noted(tmp_path):
    v = submitted(tmp_path, theirs(check_f="3.0", given_1="import evil"))
    assert sources(v)["check-f"] == "check('f', [case(1)])" and sources(v)["given-1"] == "import numpy as np"
    assert len(v.flags) == 2 and {f["kind"] for f in v.flags} == {"tamper"}


def test_white_space_at_the_ends_is_no_edit(tmp_path):
    assert submitted(tmp_path, theirs(check_f="\ncheck('f', [case(1)])  \n")).flags == []


def test_missing_doubled_and_moved_cells(tmp_path):
    cells = theirs(solution_f="def f(): return 1")
    doubled = [cells[3], *reversed(cells[:3]), cells[2] | {"source": "def f(): return 2"}]
    v = submitted(tmp_path, doubled)
    assert [c.id for c in v.notebook.cells if "nbgrader" in c.metadata] == ["given-1", "solution-f", "check-f", "rubric-why"]
    assert sources(v)["solution-f"] == "def f(): return 1" and sources(v)["rubric-why"] == NO_ANSWER
    assert "cell solution-f appears more than once; the first is graded" in flags(v)
    assert len({c.id for c in v.notebook.cells}) == len(v.notebook.cells)


def test_extra_cells_stay_behind_the_cell_they_stood_behind(tmp_path):
    cells = theirs()
    cells.insert(3, {"cell_type": "code", "source": "explore()", "metadata": {"nbgrader": {"grade": True, "points": 99}}})
    v = submitted(tmp_path, cells)
    at = [c.source for c in v.notebook.cells].index("explore()")
    assert v.notebook.cells[at - 1].id == "solution-f" and "nbgrader" not in v.notebook.cells[at].metadata


@pytest.mark.parametrize(("data", "fate", "why"), [
    (None, "missing", "no notebook"), (b"", "damaged", "not a readable"), (b"[]", "damaged", "not a notebook"), (b"{}", "damaged", "format"),
    (b"\xff", "damaged", "not a readable"), (b'{"nbformat": 4}', "damaged", "no list of cells"), (b'{"nbformat": 4, "cells": [1]}', "damaged", "no list"),
    (b'{"nbformat": 4, "cells": [' + b"{}," * 2000 + b"{}]}", "damaged", "2001 cells"), (b'{"a":' * 100_000, "damaged", "RecursionError"),
    (b"x" * (vetting.MAX_NOTEBOOK + 1), "damaged", "larger than"), (b'{"nbformat": 4, "cells": [' + b"[]," * 2_000_001 + b"[]]}", "damaged", "values"),
])
def test_an_unreadable_notebook_has_a_reason(tmp_path, data, fate, why):
    if data is not None:
        (tmp_path / "nb.ipynb").write_bytes(data)
    v = vet(OFFICIAL, tmp_path, "nb")
    assert v.fate == fate and why in flags(v)[0]
    assert set(sources(v)) == {c.id for c in OFFICIAL.cells if "nbgrader" in c.metadata}


def test_the_only_notebook_under_another_name_is_taken(tmp_path):
    assert "renamed" in flags(submitted(tmp_path, theirs(), name="mine.ipynb"))[0]


def test_pictures_stay_and_nothing_else_in_their_place(tmp_path):
    cells = theirs()
    cells[4] |= {"source": "![a](attachment:a.png)", "attachments": {
        "a.png": {"image/png": PNG}, "b.png": {"image/png": "\"><script>"}, "c.svg": {"image/svg+xml": "<svg/>"}, "d\x1b": {"image/png": PNG},
        "e.jpg": {"image/jpeg": PNG}, "f": 3}}
    assert submitted(tmp_path, cells).notebook.cells[-1].attachments == {"a.png": {"image/png": PNG}}


CELLS = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["code", "markdown", "check-f", "solution-f"]),
                     lambda c: st.lists(c, max_size=3) | st.dictionaries(st.sampled_from(
                         ["cell_type", "source", "metadata", "nbgrader", "grade_id", "id", "attachments", "image/png", "outputs"]), c, max_size=5),
                     max_leaves=10)


@given(cells=st.lists(CELLS, max_size=5), more=st.dictionaries(st.sampled_from(["nbformat", "metadata", "worksheets"]), CELLS, max_size=3))
def test_no_notebook_makes_it_fail(tmp_path_factory, cells, more):
    v = submitted(tmp_path_factory.mktemp("any"), cells, **more)
    text = nbformat.writes(v.notebook)
    text.encode()
    nbformat.validate(nbformat.reads(text, as_version=4))


# -- the files beside it

def copied(folder, tmp_path, official=None):
    target, source, v = tmp_path / "target", tmp_path / "official", Vetted(None)
    target.mkdir()
    source.mkdir()
    for name, text in (official or {}).items():
        (source / name).write_text(text)
    copy_files(folder, target, source, v)
    return {str(p.relative_to(target)): p.read_text() for p in sorted(target.rglob("*")) if p.is_file()}, v


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "folder"
    made.mkdir()
    return made


def test_files_come_along_and_the_official_ones_win(folder, tmp_path):
    (folder / "data").mkdir()
    (folder / "data" / "mine.csv").write_text("1")
    (folder / "assignment.json").write_text("forged")
    (folder / ".hidden").write_text("x")
    found, v = copied(folder, tmp_path, {"assignment.json": "right", "given.csv": "2"})
    assert found == {"data/mine.csv": "1", "assignment.json": "right", "given.csv": "2"}
    assert flags(v) == ["assignment.json is not as it was released; the official file was put back"]


def test_what_is_no_plain_file_stays_behind(folder, tmp_path):
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "pipe")
    (folder / "assignment.json").mkdir()
    (folder / "assignment.json" / "inside.txt").write_text("")
    (folder / "assignment.json" / "x").write_text("x")
    begun = time.monotonic()
    found, v = copied(folder, tmp_path, {"assignment.json": "right"})
    assert found == {"assignment.json": "right"} and time.monotonic() - begun < 60
    assert {f["kind"] for f in v.flags} == {"escape", "damaged"} and len(v.flags) == 4


def test_too_much_is_left_out_and_said_once(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(vetting, "MAX_TOTAL", 1000)
    monkeypatch.setattr(vetting, "MAX_FILES", 20)
    monkeypatch.setattr(vetting, "MAX_ENTRIES", 50)
    (folder / "a.bin").write_bytes(b"x" * 2000)
    for i in range(100):
        (folder / f"f{i:03}").write_text("x")
    found, v = copied(folder, tmp_path)
    assert len(found) == 20 and len(v.flags) == 2 and {f["kind"] for f in v.flags} == {"limit"}


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\nb", "..", "$(reboot)", "x" * 255])
def test_a_name_is_shown_without_its_tricks(folder, tmp_path, monkeypatch, name):
    monkeypatch.setattr(vetting, "MAX_FILES", 0)
    (folder / f"{name}"[:255]).write_text("x") if name != ".." else (folder / "..x").write_text("x")
    _, v = copied(folder, tmp_path)
    assert all(note.isprintable() and len(note) <= 300 for note in flags(v))


def test_a_file_named_like_a_library_is_pointed_out(folder, tmp_path):
    (folder / "numpy.py").write_text("x")
    (folder / "json").mkdir()
    (folder / "json" / "__init__.py").write_text("x")
    (folder / "helpers.py").write_text("x")
    assert [f["note"].split()[0] for f in copied(folder, tmp_path)[1].flags] == ["json", "numpy"]


def test_read_file_reads_plain_files_only(tmp_path):
    (tmp_path / "f").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("f")
    os.mkfifo(tmp_path / "pipe")
    assert read_file(tmp_path / "f", 5) == b"12345" and read_file(tmp_path / "f", 4) is None
    assert [read_file(tmp_path / n, 9) for n in ("link", "pipe", ".", "none")] == [None] * 4
