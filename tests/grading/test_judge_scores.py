"""From a record, honest or forged, to points and one line that tells a student nothing of the hidden cases."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysbook import catalogue
from mlsysbook.answers.check import WORKED, run_case
from mlsysbook.answers.keys import Key
from mlsysbook.answers.record import encode
from mlsysbook.build import build
from mlsysbook.build.reference import load
from mlsysbook.grading import judge

COURSE = Path(__file__).resolve().parent.parent / "course"
SECRET = b"s" * 32


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    root = tmp_path_factory.mktemp("judged") / "course"
    shutil.copytree(COURSE, root)
    made = catalogue.load(root)
    build(made, made.assignments)
    return made


@pytest.fixture(scope="module")
def code(course):
    return load(course, course.find("tinytorch/t_unbroadcast"))


@pytest.fixture(scope="module")
def drill(course):
    return load(course, course.find("drills/t_numbers"))


def honest(ref, name, call=None, student="ada"):
    """The record that the box makes of a function, and the hidden cases."""
    hidden, _ = judge.hidden_cases(ref, SECRET, name, student)
    cases = [*ref.checks[name].cases, *hidden]
    return {"check": name, "results": [run_case(call or ref.checks[name].call, c) for c in cases]}, hidden


def check(ref, name, record, hidden, why=None):
    gid = f"check-{name}"
    return judge.judge_check(ref, gid, ref.items[gid], json.loads(json.dumps(record)), why, hidden, {})


def test_the_reference_has_full_points(code):
    for name in code.checks:
        made = check(code, name, *honest(code, name))
        assert made["score"] == made["points"] and made["note"] == "right" and all(made["behaviours"].values())


def test_points_are_the_share_of_behaviours(code):
    def no_refusal(grad, shape):
        try:
            return code.checks["unbroadcast"].call(grad, shape)
        except ValueError:
            return grad

    made = check(code, "unbroadcast", *honest(code, "unbroadcast", no_refusal))
    assert made["score"] == pytest.approx(3 * 3 / 4) and "refuses a shape" in made["note"]


def test_nothing_without_the_core(code):
    made = check(code, "unbroadcast", *honest(code, "unbroadcast", lambda grad, shape: grad))
    assert made["score"] == 0 and made["behaviours"]["leaves a gradient of the right shape alone"]
    assert made["note"] == "not right: sums what broadcasting created or widened; a worked example fails too, run its cell to see which"


def test_hidden_cases_are_the_students_own_and_stay_the_same(code):
    a, b, again = (judge.hidden_cases(code, SECRET, "product", s) for s in ("ada", "ben", "Ada "))
    assert encode([c.args for c in a[0]]) == encode([c.args for c in again[0]]) and a[1] == again[1]
    assert encode([c.args for c in a[0]]) != encode([c.args for c in b[0]])
    other = judge.hidden_cases(code, b"t" * 32, "product", "ada")
    assert encode([c.args for c in a[0]]) != encode([c.args for c in other[0]])


@pytest.mark.parametrize("call", [lambda *a: np.ones(3), lambda *a: 0, lambda *a: None, lambda *a: a[0]])
def test_a_constant_or_an_argument_is_worth_nothing(code, call):
    for name in ("unbroadcast", "product"):
        assert check(code, name, *honest(code, name, call))["score"] == 0


def test_what_a_student_chose_is_in_the_detail_and_not_in_the_note(code):
    """Errors, their classes, results and their shapes can all carry a hidden case."""
    def leaks(grad, shape):
        raise type("LEAK", (Exception,), {})("LEAK")

    for call in (leaks, lambda *a: np.zeros((1, 77777)), lambda *a: np.full(a[1], 77777.0)):
        made = check(code, "unbroadcast", *honest(code, "unbroadcast", call))
        assert "LEAK" not in made["note"] and "77777" not in made["note"]
        assert "LEAK" in made["detail"] or "77777" in made["detail"]


@pytest.mark.parametrize(("failed", "said"), [
    ("unbroadcast is not defined", "unbroadcast is not defined"), ("ran out of memory", "ran out of memory"),
    ("NameError: name 'np' is not defined", "np is not defined"), ("NameError: name 'LEAK' is not defined", "the cell raised NameError"),
    ("LEAK: 1", "the cell raised an error of the notebook's own"), ("ValueError: LEAK", "the cell raised ValueError"),
    ("LEAK is not defined", "the cell raised an error of the notebook's own"), ([["LEAK"]], "its record cannot be read"), (7, "its record cannot be read"),
])
def test_a_check_that_failed_says_why_in_our_words(code, failed, said):
    made = check(code, "unbroadcast", {"check": "unbroadcast", "results": [], "failed": failed}, honest(code, "unbroadcast")[1])
    assert made["score"] == 0 and made["note"] == f"not graded: {said}"


def test_without_a_record_the_boxs_reason_stands(code):
    made = check(code, "unbroadcast", None, honest(code, "unbroadcast")[1], "did not end within 3 s")
    assert (made["score"], made["note"]) == (0, "not graded: did not end within 3 s")


def test_a_stub_is_not_written(code):
    def stub(*a):
        raise NotImplementedError

    assert check(code, "product", *honest(code, "product", stub))["note"] == "not written"


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = st.sampled_from(["v", "t", "l", "d", "i", "s", "e", "b", "nd", "dtype", "o", "a", "type", "shape", "data", "scalar", "out", "raised", "message",
                        "changed"])
VALUES = PLAIN | st.sampled_from(["<f8", "i4,i4", "(2,)f8", "O", "V8", "AAAAAAAAAAA=", "ValueError", "U9999999", "M8[s]", "((((", "f8,"])
JSON = st.recursive(VALUES, lambda c: st.lists(c, max_size=4) | st.dictionaries(KEYS, c, max_size=4), max_leaves=12)


@settings(max_examples=300)
@given(results=st.lists(JSON, min_size=7, max_size=7))
def test_no_forged_result_makes_the_judge_fail_or_pays(code, results):
    made = check(code, "unbroadcast", {"check": "unbroadcast", "results": results}, honest(code, "unbroadcast")[1])
    assert made["score"] == 0 and "\n" not in made["note"]
    json.dumps(made, allow_nan=False)


@settings(max_examples=200)
@given(record=st.dictionaries(st.sampled_from(["check", "results", "failed", "answer", "text", "locked"]), JSON, max_size=4))
def test_no_forged_record_makes_the_judge_fail_or_pays(code, drill, record):
    made = check(code, "product", record, honest(code, "product")[1])
    assert made["score"] == 0
    item, _ = judge.judge_answer(drill, "answer-cache", drill.items["answer-cache"], record, None, "ada", ["ben"])
    assert item["score"] == 0
    json.dumps([made, item], allow_nan=False)


def test_a_property_that_never_ends_is_cut(code, monkeypatch):
    """compare=None leaves the verdict to a property, and what it is given may be any number."""
    monkeypatch.setattr(judge, "JUDGE_SECONDS", 0.2)
    monkeypatch.setattr(judge, "_safe_verdict", lambda *a: time.sleep(600))
    begun = time.monotonic()
    made = check(code, "unbroadcast", *honest(code, "unbroadcast"))
    assert time.monotonic() - begun < 60 and made["score"] == 0 and "could not be judged within" in made["note"]


def test_an_item_is_never_worth_more_than_its_points_nor_less_than_none(code):
    cell = code.items["check-product"]
    for score, given_ in ((99, 3.0), (-5, 0.0), (float("nan"), 0.0), (float("inf"), 0.0), (2, 2.0)):
        assert judge.item("x", cell, score, "")["score"] == given_
    assert judge.item("x", cell, None, "")["score"] is None


def answer(ref, name, text, student="ada", roster=()):
    gid = f"answer-{name}"
    return judge.judge_answer(ref, gid, ref.items[gid], {"answer": name, "text": text}, None, student, roster)


def test_a_right_number_in_any_unit(drill):
    right = drill.key("cache", drill.variant("ada")).value
    for text in (f"{right} B", f"{right / 1e6} MB", f"{right * 8} bit", f"{right / 2**30} GiB"):
        made, flags = answer(drill, "cache", text)
        assert made["score"] == 3 and flags == []


def test_a_misconception_has_its_share_and_its_sentence(drill):
    made, flags = answer(drill, "cache", f"{drill.key('cache', drill.variant('ada')).value / 2} B")
    assert made["score"] == 1.5 and made["mistake"] == "There is a value beside each key." and flags == []


def test_another_students_number_is_named(drill):
    roster = ["ada", *(f"student{i}" for i in range(60))]
    other = next(s for s in roster if drill.variant(s) != drill.variant("ada"))
    value = drill.key("cache", drill.variant(other)).value
    made, flags = answer(drill, "cache", f"{value} B", roster=roster)
    assert made["score"] == 0 and 1 <= len(flags) <= 3 and {f["kind"] for f in flags} == {"copied-variant"}
    named = [f["note"].split()[-1] for f in flags]
    assert all(drill.key("cache", drill.variant(s)).value == pytest.approx(value, rel=0.01) for s in named) and "ada" not in named


def test_a_number_that_answers_many_variants_says_nothing_of_copying(drill, monkeypatch):
    monkeypatch.setattr(type(drill), "key", lambda self, name, v: judge_key(v))
    made, flags = answer(drill, "cache", "7 B", roster=[f"student{i}" for i in range(60)])
    assert made["score"] == 0 and flags == []


def judge_key(v):
    from mlsysbook.answers.keys import Key

    return Key(7.0 if v["layers"] % 2 else 8.0, "B", tol=0.0)


@pytest.mark.parametrize("text", ["", " ", None, "seven", "1e9999999 B", "nan B", "3 s", "9" * 5000 + " B", "1 B; DROP TABLE", "\x1b[31m5"])
def test_an_unreadable_answer_is_nothing_with_a_reason(drill, text):
    made, _ = answer(drill, "cache", text)
    assert made["score"] == 0 and made["note"] and made["note"].isprintable()


def test_worked_examples_count_as_a_behaviour_of_their_own(code):
    assert WORKED in check(code, "product", *honest(code, "product"))["behaviours"]


@pytest.mark.parametrize(("low", "guess", "high", "share", "says"), [
    (26, 27, 28, 1 - 0.5 * 0.5 * 0.0322, "inside"), (2.7, 27, 270, 0.5, "inside"), (20, 25, 26, 0.5 + 0.5 * (1 - 0.5 * (0.1139 + 20 * 0.01639)), "outside"),
    (1, 2, 3, 0.5, "outside"), (27, 27, 27, 1.0, "inside"), (0, 27, 40, 0.5, "inside"), (-5, -1, 0, 0.5, "outside")])
def test_a_prediction_with_a_key_is_scored_for_its_interval(drill, monkeypatch, tmp_path, low, guess, high, share, says):
    from mlsysbook.answers import predict

    monkeypatch.setitem(drill.keys, "rtt", lambda v: Key(0.027, "s"))
    start = predict.genesis(drill.course, drill.assignment.id, "ada")
    predict.append(tmp_path / "log", start, "rtt", f"{guess} ms", f"{low} ms", f"{high} ms")
    made, flags = judge.judge_prediction(drill, "predict-rtt", drill.items["predict-rtt"], (tmp_path / "log").read_text(), None, "ada")
    assert made["score"] == pytest.approx(share, abs=0.011) and says in made["note"] and flags == []
    assert made["truth"] == 0.027 and made["low"] == pytest.approx(low / 1e3)


def test_a_prediction_without_a_key_is_full_for_being_locked(drill, tmp_path):
    from mlsysbook.answers import predict

    predict.append(tmp_path / "log", predict.genesis(drill.course, drill.assignment.id, "ada"), "rtt", "1 s", "1 s", "1 s")
    made, _ = judge.judge_prediction(drill, "predict-rtt", drill.items["predict-rtt"], (tmp_path / "log").read_text(), None, "ada")
    assert made["score"] == 1 and "truth" not in made
