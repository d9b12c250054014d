"""The whole journey of three assignments, as `mlsys demo` makes it, and what may happen to it afterwards."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlsysbook import catalogue, demo
from mlsysbook.grading.classroom import Classroom

pytestmark = pytest.mark.slow
MLSYS = Path(sys.executable).parent / "mlsys"
ASSIGNMENTS = catalogue.load().select(demo.ASSIGNMENTS)


def mlsys(*arguments, **more):
    """Run the command as a person would, without the environment's bin on the path."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLSYS")} | {"PATH": "/usr/bin:/bin"}
    return subprocess.run([MLSYS, *map(str, arguments)], capture_output=True, text=True, timeout=900, env=env, **more)


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    """A class that has been from release to report: (Classroom, records by student and assignment, what was printed)."""
    folder = tmp_path_factory.mktemp("journey") / "demo"
    done = mlsys("demo", "--to", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    classroom = Classroom.open(folder / "class")
    return classroom, records(classroom), done.stdout


def records(classroom):
    read = [json.loads(p.read_text()) for p in sorted((classroom.root / ".mlsys" / "graded").rglob("*.json"))]
    return {(r["student"], r["assignment"]): r for r in read}


def gradebook(classroom):
    """Every score that nbgrader holds: {(student, assignment, cell): score}."""
    with classroom.gradebook() as gb:
        return {(s.student.id, s.assignment.name, g.cell.name): g.auto_score
                for s in (s for a in gb.assignments for s in a.submissions) for n in s.notebooks for g in n.grades}


def auto(a):
    """Points of an assignment that are not given by hand."""
    cells = json.loads(a.notebook_path.read_text())["cells"]
    graded = [c["metadata"]["nbgrader"] for c in cells if c["metadata"].get("nbgrader", {}).get("grade")]
    return sum(g["points"] for g in graded if not g["solution"])


def test_every_submission_is_scored_and_the_gradebook_agrees(journey):
    classroom, graded, _ = journey
    assert set(graded) == {(s.id, a.id) for s in demo.STUDENTS for a in ASSIGNMENTS}
    book = gradebook(classroom)
    for (student, assignment), r in graded.items():
        for item in r["items"]:
            assert book[student, assignment, item["id"]] == item["score"]


@pytest.mark.parametrize("a", ASSIGNMENTS, ids=lambda a: a.id)
def test_the_reference_has_full_marks_and_the_untouched_notebook_none(journey, a):
    _, graded, _ = journey
    assert graded["perfect", a.id]["score"] == graded["late", a.id]["score"] == auto(a)
    assert graded["perfect", a.id]["flags"] == []
    assert graded["empty", a.id]["score"] == 0 and graded["empty", a.id]["flags"] == []


@pytest.mark.parametrize("a", ASSIGNMENTS, ids=lambda a: a.id)
def test_an_attacker_gets_nothing_and_is_seen(journey, a):
    _, graded, _ = journey
    r = graded["attacker", a.id]
    assert r["score"] == 0
    notes = " ".join(f["note"] for f in r["flags"])
    assert "gradebook.db" in notes and "network" in notes and {"escape", "patched"} <= {f["kind"] for f in r["flags"]}


@pytest.mark.parametrize("a", ASSIGNMENTS, ids=lambda a: a.id)
def test_damage_crash_and_loop_are_scored_with_the_reason(journey, a):
    _, graded, _ = journey
    assert graded["damaged", a.id]["score"] == 0 and "not a readable notebook" in graded["damaged", a.id]["items"][0]["note"]
    assert "exited or crashed" in graded["crash", a.id]["ended"]
    assert any("longer than" in f["note"] for f in graded["loop", a.id]["flags"])
    # what stood before the crash, and what the loop did not touch, keeps its points
    if a.part == "tinytorch":
        assert 0 < graded["crash", a.id]["score"] < auto(a) and graded["loop", a.id]["score"] >= auto(a) - 10


def test_wrong_variants_misconceptions_and_replays_are_named(journey):
    _, graded, _ = journey
    drill, lab = graded["neighbour", "drills-kv_cache"], graded["neighbour", "labs-v1_02_physics"]
    assert drill["score"] == 0 and any(f["kind"] == "copied-variant" and "perfect" in f["note"] for f in drill["flags"])
    assert any("another student" in f["note"] for f in lab["flags"]) and next(i for i in lab["items"] if i["kind"] == "predict")["score"] == 0
    wrong = graded["misconception", "drills-kv_cache"]
    assert 0 < wrong["score"] < 10 and all(i["mistake"] for i in wrong["items"])
    assert next(i for i in graded["no-prediction", "labs-v1_02_physics"]["items"] if i["kind"] == "predict")["score"] == 0


@pytest.mark.parametrize("a", ASSIGNMENTS, ids=lambda a: a.id)
def test_edited_missing_and_doubled_cells_are_put_right_and_told(journey, a):
    _, graded, _ = journey
    r = graded["tampered", a.id]
    notes = " ".join(f["note"] for f in r["flags"])
    assert "was edited; the original was put back" in notes and "was missing; it was put back" in notes and "more than once" in notes
    predictions = sum(i["points"] for i in r["items"] if i["kind"] == "predict")
    assert auto(a) - predictions <= r["score"] <= auto(a)


def test_lateness_costs_what_class_yml_says(journey):
    classroom, graded, _ = journey
    with classroom.gradebook() as gb:
        for a in ASSIGNMENTS:
            late = gb.find_submission(a.id, "late")
            assert late.late_submission_penalty == pytest.approx(0.2 * late.score) and late.score > 0
            assert not gb.find_submission(a.id, "perfect").late_submission_penalty


def test_feedback_reaches_everyone_and_shows_no_hidden_case(journey):
    classroom, graded, _ = journey
    for student, assignment in graded:
        page = next((classroom.root / "feedback" / student / assignment).glob("*.html")).read_text()
        assert not re.search(r"""(src|href)\s*=\s*["'](https?:)?//""", page), "a page must not call the network"
        assert "<script" not in page and "def cases(rng)" not in page
        assert all(item["note"][:20].split("(")[0] in page.replace("&#39;", "'").replace("&#34;", '"').replace("&quot;", '"')
                   for item in graded[student, assignment]["items"][:1])


def test_the_printed_table_and_the_report_name_everyone(journey):
    classroom, _, printed = journey
    page = (classroom.root / "report.html").read_text()
    assert all(s.id in printed for s in demo.STUDENTS)
    assert all(s in page for s in ("attacker", "neighbour", "tampered", "damaged", "crash"))
    assert not re.search(r"""(src|href)\s*=\s*["'](https?:)?//""", page)
    assert str(classroom.root / "report.html") in printed


def test_grading_again_changes_nothing(journey):
    classroom, graded, _ = journey
    before = gradebook(classroom)
    stamps = {p: p.stat().st_mtime_ns for p in (classroom.root / "autograded").rglob("*.ipynb")}
    done = mlsys("class", "-C", classroom.root, "grade")
    assert done.returncode == 0, done.stderr
    assert records(classroom) == graded and gradebook(classroom) == before
    assert stamps == {p: p.stat().st_mtime_ns for p in (classroom.root / "autograded").rglob("*.ipynb")}


def test_killed_half_way_a_second_run_completes_and_loses_nothing(journey, tmp_path):
    classroom, graded, _ = journey
    before = gradebook(classroom)
    shutil.rmtree(classroom.root / ".mlsys" / "graded" / "drills-kv_cache")
    shutil.rmtree(classroom.root / "autograded" / "perfect" / "drills-kv_cache")
    started = subprocess.Popen([MLSYS, "class", "-C", classroom.root, "grade", "drills/kv_cache"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    folder = classroom.root / ".mlsys" / "graded" / "drills-kv_cache"
    deadline = time.monotonic() + 300
    while len(list(folder.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert 3 <= len(list(folder.glob("*.json"))) < len(demo.STUDENTS), "the run was meant to be cut in the middle"
    done = mlsys("class", "-C", classroom.root, "grade")
    assert done.returncode == 0, done.stderr
    again = records(classroom)
    timeless = lambda rs: {k: {f: v for f, v in r.items() if f != "seconds"} for k, r in rs.items()}  # noqa: E731
    assert timeless(again) == timeless(graded) and gradebook(classroom) == before
    assert not list((classroom.root / "autograded").glob("*/.*")), "nothing half-written may be left"


@pytest.mark.parametrize("student", ["perfect", "attacker", "damaged", "misconception"])
def test_stock_nbgrader_autograde_gives_the_same_scores(journey, student):
    classroom, graded, _ = journey
    before = gradebook(classroom)
    done = subprocess.run([Path(sys.executable).parent / "nbgrader", "autograde", "drills-kv_cache", "--student", student, "--force"],
                          cwd=classroom.root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert gradebook(classroom) == before


def test_without_its_secret_a_class_is_not_graded(journey):
    classroom, _, _ = journey
    path = classroom.secret_path
    kept = path.rename(path.with_suffix(".kept"))
    try:
        done = mlsys("class", "-C", classroom.root, "grade", "--force")
    finally:
        kept.rename(path)
    assert done.returncode == 2 and "secret" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_without_bubblewrap_grading_refuses_and_unsafe_says_so(journey, tmp_path):
    classroom, _, _ = journey
    for name in ("sh", "setpriv"):
        (tmp_path / name).symlink_to(shutil.which(name))
    env = {**os.environ, "PATH": str(tmp_path)}
    command = [MLSYS, "class", "-C", classroom.root, "grade", "drills/kv_cache", "--student", "perfect", "--force"]
    refused = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert refused.returncode == 2 and "bubblewrap" in refused.stderr and len(refused.stderr.strip().splitlines()) == 1
    assert records(classroom)["perfect", "drills-kv_cache"]["unsafe"] is False
    allowed = subprocess.run([*command, "--unsafe"], capture_output=True, text=True, env=env, timeout=300)
    assert allowed.returncode == 0, allowed.stderr
    assert records(classroom)["perfect", "drills-kv_cache"]["unsafe"] is True
    assert mlsys("class", "-C", classroom.root, "grade", "drills/kv_cache", "--student", "perfect", "--force").returncode == 0
    assert records(classroom)["perfect", "drills-kv_cache"]["unsafe"] is False


def test_a_students_copy_without_a_class_has_no_solutions_and_can_be_checked(tmp_path):
    got = mlsys("get", "drills/kv_cache", "--to", tmp_path / "mine", cwd=tmp_path)
    assert got.returncode == 0, got.stderr
    text = (tmp_path / "mine" / "kv_cache.ipynb").read_text()
    assert "raise NotImplementedError" in text and "BEGIN SOLUTION" not in text
    checked = mlsys("check", tmp_path / "mine" / "kv_cache.ipynb", cwd=tmp_path)
    assert checked.returncode == 1 and "0 of 3 visible checks pass" in checked.stdout
    assert mlsys("get", "drills/kv_cache", "--to", tmp_path / "mine", cwd=tmp_path).returncode == 2
