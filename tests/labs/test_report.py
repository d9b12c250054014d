"""The page about a class's predictions: right numbers, nothing fetched or run, and a notebook that runs."""

import json
import math
import re

import pytest

from mlsysbook.grading import labs
from mlsysbook.grading.statistics import Work


def bet(value, low, high, truth=100.0, **more):
    return {"id": "predict-rtt", "kind": "predict", "name": "rtt", "score": 1.0, "points": 1.0, "behaviours": {}, "mistake": None,
            "value": value, "low": low, "high": high, "truth": truth, "at": 1060.0, "began": 1000.0} | more


NOTHING = {"id": "predict-rtt", "kind": "predict", "name": "rtt", "score": 0.0, "points": 1.0, "behaviours": {}, "mistake": None, "value": None}
PLAN = {"id": "decision-plan", "kind": "decision", "name": "plan", "score": 1.0, "points": 4.0, "mistake": "<b>no</b>",
        "behaviours": {"names the limit that binds": False, "rests on answers that are right": True}}


@pytest.fixture
def page():
    works = {"labs-queue": [Work("ada", "labs-queue", items=[bet(10, 5, 20), PLAN]), Work("bob", "labs-queue", items=[bet(100, 50, 200)]),
                            Work("eve", "labs-queue", items=[bet(1000, 10, 1000, at=1240.0)]), Work("kim", "labs-queue", items=[NOTHING]),
                            Work("tom", "labs-queue", fate="not collected")], "drills-x": [Work("ada", "drills-x", items=[])]}
    return labs.summary(works, {"labs-queue": "A <queue>", "drills-x": "X"})


def test_numbers_are_those_of_the_guesses(page):
    (lab,) = page
    (p,) = lab["predictions"]
    assert (lab["n"], p["asked"], p["locked"], p["off"]) == (4, 4, 3, [-1.0, 0.0, 1.0])
    assert p["factor"] == pytest.approx(10) and p["held"] == pytest.approx(2 / 3) and p["width"] == pytest.approx(4)
    assert lab["minutes"] == pytest.approx(1.0) and lab["timed"] == 3
    assert lab["decisions"] == [{"name": "plan", "n": 1, "parts": {"names the limit that binds": 0, "rests on answers that are right": 1}}]
    assert lab["mistakes"] == [{"text": "<b>no</b>", "item": "plan", "n": 1}]


def test_guesses_that_are_not_positive_or_have_no_key_are_counted_and_not_drawn():
    works = {"l": [Work("a", "l", items=[bet(0, 0, 1)]), Work("b", "l", items=[bet(1, 1, 1, truth=None)])]}
    (p,) = labs.summary(works, {"l": "L"})[0]["predictions"]
    assert (p["locked"], p["judged"], p["off"], p["factor"]) == (2, 1, [], None) and p["held"] == 0


def test_every_guess_is_in_one_bar():
    off = [-3, -2, -1.5, -0.31, 0.0, 0.05, 0.1, 0.4, 1.0, 7.0]
    assert sum(labs.counts(off)) == len(off) and labs.counts([0.0])[5] == 1 and labs.counts([math.inf])[-1] == 0
    assert 'aria-label="Guesses by factor from the truth. 10 to 100 times too low: 1, right within a factor of 1.26: 1"' in labs.chart({"off": [-1.5, 0.0]})


def test_the_page_of_a_graded_class_fetches_nothing_and_escapes_what_it_shows(page, monkeypatch, tmp_path):
    monkeypatch.setattr(labs.report, "gather", lambda *_: ({}, [], {}, {}, {}))
    monkeypatch.setattr(labs, "summary", lambda *_: page)
    course, classroom = type("C", (), {"title": "Small"}), type("K", (), {"course_id": "small"})
    html, beside = labs.write(classroom, course, [], tmp_path / "labs.html")
    text = html.read_text()
    assert "A &lt;queue&gt;" in text and "&lt;b&gt;no" in text and "3 of 4" in text and "67 %" in text
    assert "<script" not in text and not re.search(r"""(src|href)\s*=\s*["'](https?:)?//""", text)
    cells = json.loads(beside.read_text())["cells"]
    names = {}
    exec("".join(cells[1]["source"]), names)
    assert names["LABS"] == page and "bob" not in beside.read_text()
    compile("".join(cells[2]["source"]), "plots", "exec")
