"""The small lab through the box and the judge: on each track, and with logs that somebody worked on."""

import json
import re
import shutil
from pathlib import Path

import pytest

from mlsysbook.answers import predict
from mlsysbook.box import library
from mlsysbook.build.reference import load
from mlsysbook.build.student import student_copy
from mlsysbook.grading.submission import grade_submission
from mlsysbook.labs import tracks

REGION = re.compile(r"[ ]*### (BEGIN|END) SOLUTION\n?")


@pytest.fixture(scope="module")
def staged(built):
    folder = library.stage(*built)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def grade(built, staged, tmp_path):
    """grade(student, solved=, log=, edit=): the graded record of a submission. log: entries to chain; edit(text) -> text."""
    course, a = built

    def run(student="ada", *, solved=True, log=(), edit=lambda text: text, chain_of=None, change=lambda source: source):
        folder = tmp_path / student
        shutil.rmtree(folder, ignore_errors=True)
        path = student_copy(a, folder)
        if solved:
            shutil.copy(a.notebook_path, path)
        nb = json.loads(path.read_text())
        for c in nb["cells"]:
            c["source"] = change(REGION.sub("", "".join(c["source"])))
        path.write_text(json.dumps(nb))
        for name, text, low, high in log:
            predict.append(folder / predict.LOG, predict.genesis(course.id, a.id, chain_of or student), name, text, low, high)
        if log:
            (folder / predict.LOG).write_text(edit((folder / predict.LOG).read_text()))
        record, nb = grade_submission(str(course.root), a.name, student, folder, secret=b"s" * 32, library=staged, roster=("bob", "eve"))
        return record

    return run


def points(record):
    return {i["name"]: i["score"] for i in record["items"]}


def perfect(built, track, student="ada"):
    """The log of somebody who knew: the track, and the wait to the last digit."""
    ref = load(*built)
    wait = f"{ref.key('wait', ref.variant(student, track)).value:.9g} s"
    return [("@track", track, "", ""), ("wait", wait, f"{wait}", f"{wait}")]


@pytest.mark.parametrize("track", ["cloud", "tiny"])
def test_the_reference_has_all_points_on_each_track(built, grade, track):
    record = grade(log=perfect(built, track))
    assert record["score"] == record["max_score"] and record["flags"] == [], record["items"]


def test_an_empty_notebook_has_none(built, grade):
    record = grade(solved=False)
    assert record["score"] == 0 and set(points(record).values()) == {0.0}


def test_a_decision_is_judged_with_the_answers_of_its_submission(built, grade):
    drawn, _ = drawn_and_other()
    record = grade(log=perfect(built, drawn), change=lambda s: s.replace("{here.si('service'):.9g} s", "1e9 s").replace(
        'binding="arrivals"', 'binding="service"').replace("A faster clock alone would heat it", "Sounds come to a chip."))
    assert points(record)["work"] == 0 and points(record)["plan"] == pytest.approx(4 * (2 / 9 + 2 / 18), abs=0.01)
    assert "The service time is fixed" in next(i["note"] for i in record["items"] if i["name"] == "plan")


@pytest.mark.parametrize("source", ["plan = ''", "plan = decision", "plan = {1: 2}", "class D(dict): pass\nplan = D(claim='a b c d')",
                                    "plan = dict(claim=open, binding=7, evidence=7)", "plan = dict(evidence=[['load'] * 3])"])
def test_what_is_no_decision_is_nothing_with_a_reason(grade, source):
    made = next(i for i in grade(change=lambda s: source if s.startswith("# plan =") else s)["items"] if i["name"] == "plan")
    assert made["score"] == 0 and made["note"]


def test_without_a_log_the_track_is_the_lot_and_the_prediction_is_missing(grade):
    record = grade()
    assert points(record)["load"] == 2 and points(record)["wait"] == 0


def drawn_and_other():
    drawn = tracks.lot("small", "ada", ("cloud", "tiny"))
    return drawn, "tiny" if drawn == "cloud" else "cloud"


def test_a_track_added_behind_the_first_changes_nothing_and_is_seen(built, grade):
    drawn, other = drawn_and_other()
    record = grade(log=[*perfect(built, other), ("@track", drawn, "", "")])
    assert record["score"] == record["max_score"]
    assert [f["kind"] for f in record["flags"]] == ["tamper"] and "more than one track" in record["flags"][0]["note"]


@pytest.mark.parametrize("name", ["mobile", "moon", ""])
def test_a_track_that_the_lab_does_not_have_is_passed_over(built, grade, name):
    drawn, _ = drawn_and_other()
    record = grade(log=[("@track", name, "", ""), *perfect(built, drawn)])
    assert record["score"] == record["max_score"] and record["flags"]


def test_an_edited_track_leaves_the_lot_and_is_seen(built, grade):
    """The numbers were typed for the other track; the edit, which would make them right, breaks the chain."""
    drawn, other = drawn_and_other()
    work = load(*built).key("work", {"track": other, "arrivals": 1.0}).value
    record = grade(log=perfect(built, drawn), edit=lambda t: t.replace(f'"text": "{drawn}"', f'"text": "{other}"'),
                   change=lambda s: re.sub(r"^work = f.*", f'work = "{work} s"', s, flags=re.M))
    assert points(record)["work"] == 0 and points(record)["wait"] == 0 and points(record)["load"] == 2
    assert "line 1 was edited" in record["flags"][0]["note"]


def test_a_neighbours_log_decides_nothing(built, grade):
    drawn, other = drawn_and_other()
    record = grade(log=perfect(built, other), chain_of="bob")
    assert points(record)["load"] == 2 and points(record)["wait"] == 0
    assert {f["kind"] for f in record["flags"]} == {"tamper"} and "another student" in record["flags"][0]["note"]
    assert not Path(tracks.ledger.path()).exists()
