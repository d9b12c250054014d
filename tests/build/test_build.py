"""A small course built from nothing: what goes where, what never does, and that the bytes do not change."""

import json
import os
import subprocess
import sys

import nbformat
import pytest

from mlsysbook import catalogue
from mlsysbook.build import build
from mlsysbook.build.scaffold import scaffold
from mlsysbook.errors import CatalogueError, SourceError

SOURCE = '''# %% [markdown]
# # Doubling

# %%
#| export
"""Doubling."""

# %%
from mlsysbook import answer, case, check, predict, variant

# %% variants
def pool():
    return [{"n": n} for n in range(1, 30)]

# %%
V = variant()

# %% solution="double"
#| export
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% check="double" points=3
check("double", [case(1), case(0.5)])

# %% hidden="double"
def cases(rng):
    secret_marker_of_hidden = rng.normal()
    yield case(float(secret_marker_of_hidden), behaviour="any number")

# %% predict="cost" points=1 unit="s"
# predict("cost", "... s", low="... s", high="... s")
### BEGIN SOLUTION
predict("cost", "1 s", low="0.5 s", high="2 s")
### END SOLUTION

# %% answer="size" points=4
size = ""
### BEGIN SOLUTION
size = f"{8 * V['n']} B"
### END SOLUTION

# %% key="size"
def key(v):
    return Key(8 * v["n"], "B", mistakes=[Mistake(v["n"], 0.5, "bits are not bytes marker")])

# %% [markdown] rubric="why" points=2
# Why is it so?
# ### BEGIN MARK SCHEME
# One point for the bound, one for the number.
# ### END MARK SCHEME

# %% show
raise SystemExit("show cells are not run by the build")
'''
CATALOGUE = '''id: demo
title: Demo
assignments:
  - {name: tinytorch/01_double, title: Double, points: 10, exports: tinytorch/double.py}
'''


@pytest.fixture
def course(tmp_path):
    folder = tmp_path / "modules" / "tinytorch" / "01_double"
    folder.mkdir(parents=True)
    (folder / "01_double.py").write_text(SOURCE)
    (folder / "data.csv").write_text("a,b\n")
    (tmp_path / "course.yml").write_text(CATALOGUE)
    return tmp_path


def run(root, **more):
    course = catalogue.load(root)
    return build(course, course.assignments, **more)


def author(root):
    return root / "modules" / "tinytorch" / "01_double" / "01_double.py"


def built(root):
    return nbformat.read(root / "source" / "tinytorch-01_double" / "01_double.ipynb", 4)


def test_the_notebook_is_valid_nbgrader_schema_three(course):
    run(course)
    nb = built(course)
    nbformat.validate(nb)
    graded = {c.id: c.metadata.nbgrader for c in nb.cells if c.metadata.get("nbgrader", {}).get("grade")}
    assert {k: v.points for k, v in graded.items()} == {"check-double": 3, "predict-cost": 1, "answer-size": 4, "rubric-why": 2}
    assert all(v.schema_version == 3 and v.locked for k, v in graded.items() if not k.startswith("rubric"))
    assert all(not c.get("outputs") for c in nb.cells)
    from nbgrader.nbgraderformat import MetadataValidator
    MetadataValidator().validate_nb(nb)


def test_hidden_cases_keys_and_pools_are_in_no_notebook(course):
    run(course)
    text = (course / "source" / "tinytorch-01_double" / "01_double.ipynb").read_text()
    assert "secret_marker_of_hidden" not in text and "marker" not in text and "def pool" not in text


def test_the_sidecar_has_wanted_results_units_variants_and_no_key(course):
    run(course)
    text = (course / "source" / "tinytorch-01_double" / "assignment.json").read_text()
    side = json.loads(text)
    assert side["wanted"]["double"] == [{"out": {"v": 2}}, {"out": {"v": 1.0}}]
    assert side["units"] == {"size": "B", "cost": "s"} and len(side["variants"]) == 29 and side["course"] == "demo"
    assert "marker" not in text and "mistake" not in text


def test_exports_go_to_the_module_and_files_beside_the_source_go_along(course):
    run(course)
    text = (course / "tinytorch" / "double.py").read_text()
    assert "def double" in text and "return 2 * x" in text and "BEGIN" not in text and "check" not in text
    assert (course / "source" / "tinytorch-01_double" / "data.csv").read_text() == "a,b\n"


def test_building_twice_gives_the_same_bytes_whoever_and_wherever(course, tmp_path):
    run(course)
    first = {p: p.read_bytes() for p in (course / "source").rglob("*") if p.is_file()}
    for path in first:
        path.unlink()
    code = f"from mlsysbook import catalogue; from mlsysbook.build import build; c = catalogue.load({str(course)!r}); build(c, c.assignments)"
    env = os.environ | {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "USER": "somebody", "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "3", "MLSYS_STUDENT": "x"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, cwd=tmp_path)
    assert first == {p: p.read_bytes() for p in (course / "source").rglob("*") if p.is_file()}


def test_check_writes_nothing_and_names_what_differs(course):
    assert {c.state for c in run(course, check=True)} == {"missing"}
    assert not (course / "source").exists()
    run(course)
    assert {c.state for c in run(course, check=True)} == {"same"}
    (course / "source" / "tinytorch-01_double" / "left_over.txt").write_text("")
    (course / "tinytorch" / "double.py").write_text("edited\n")
    assert {c.path.name: c.state for c in run(course, check=True) if c.state != "same"} == {"double.py": "differs", "left_over.txt": "stray"}
    run(course)
    assert {c.state for c in run(course, check=True)} == {"same"}


@pytest.mark.parametrize(("old", "new", "says"), [
    ("points=3", "points=4", "add up to 11 points, course.yml says 10"),
    ("return 2 * x", "return 2 * y", "the reference raises NameError"),
    ("return 2 * x", "return 2 *", "invalid syntax"),
    ("size = f\"{8 * V['n']} B\"", 'size = "9 B"', "does not agree with its key"),
    ("size = f\"{8 * V['n']} B\"", 'size = "9"', "not readable"),
    ('Key(8 * v["n"], "B", ', 'Key(8 * v["n"], "B" if v["n"] < 9 else "s", ', "unit differs between variants"),
    ("behaviour=\"any number\")", "behaviour=\"any number\", extra=1)", "wants only errors"),
    ("behaviour=\"any number\")", ")", "each with a behaviour"), ("rng.normal()", "rng.nomal()", "cases(rng) fails: AttributeError"),
    ("case(float(secret_marker_of_hidden)", "case(object()", "is not plain data"),
    ("return [{", "return [{}, {}] or [{", "repeats itself"),
    ("def pool", "def pond", "must define pool"),
    ('check("double", [', 'check("other", [', "must call check('double'"),
    ('check("double", [case(1), case(0.5)])', 'check("double", [])', "shows no case"),
])
def test_a_wrong_source_is_an_error_with_its_file_and_nothing_is_written(course, old, new, says):
    assert old in SOURCE
    author(course).write_text(SOURCE.replace(old, new))
    with pytest.raises(SourceError) as error:
        run(course)
    assert says in str(error.value) and "\n" not in str(error.value) and str(error.value).startswith(f"{author(course)}:")
    assert not (course / "source").exists()


def test_an_error_in_a_cell_names_the_very_line(course):
    author(course).write_text(SOURCE.replace("V = variant()", "V = variant()\nboom = 1 / 0"))
    with pytest.raises(SourceError, match="01_double.py:17: ZeroDivisionError"):
        run(course)


def test_a_scaffold_builds(course):
    text = (course / "course.yml").read_text()
    for kind, name in (("module", "02_next"), ("lab", "v1_03_tax"), ("drill", "roofline")):
        scaffold(catalogue.load(course), kind, name)
    assert (course / "course.yml").read_text().startswith(text.rstrip())
    assert len(run(course)) == 10
    with pytest.raises(CatalogueError, match="exists already"):
        scaffold(catalogue.load(course), "lab", "v1_03_tax")
    with pytest.raises(CatalogueError, match="unknown kind"):
        scaffold(catalogue.load(course), "essay", "x")


@pytest.mark.parametrize(("text", "says"), [
    ("id: [", "course.yml:1: not YAML"), ("id: a", "wants the keys"), (CATALOGUE + "  - {name: essay/x, points: 1}\n", "must be PART/NAME"),
    (CATALOGUE + "  - {name: labs/x, points: 0}\n", "needs points > 0"), (CATALOGUE + "  - {name: labs/x, points: 1, point: 2}\n", "unknown fields point"),
    (CATALOGUE + "  - {name: tinytorch/01_double, points: 1}\n", "listed twice"), (CATALOGUE + "  - {name: labs/x, points: 1, requires: [labs/y]}\n", "requires labs/y"),
    (CATALOGUE + "labs:\n  - {number: V1-1, title: A}\n", "'V1-1' wants the form V1-13"), (CATALOGUE + "labs: [V1-01]\n", "wants number and title"),
    (CATALOGUE + "labs:\n  - {number: V1-02, title: A}\n  - {number: V1-02, title: B}\n", "numbers ascend"),
    (CATALOGUE + "labs:\n  - {number: V1-02, title: A, assignment: tinytorch/01_double}\n", "no assignment of the part labs"),
])
def test_a_wrong_catalogue_is_one_line(course, text, says):
    (course / "course.yml").write_text(text)
    with pytest.raises(CatalogueError) as error:
        catalogue.load(course)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_assignment_names_the_nearest(course):
    with pytest.raises(CatalogueError, match="did you mean tinytorch/01_double"):
        catalogue.load(course).find("tinytorch/01_doubel")
