"""A decision: what is said at the desk, what the judge makes of a record, and what an author cannot write."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysbook import decided, decision
from mlsysbook.build.reference import load
from mlsysbook.errors import SourceError
from mlsysbook.grading import judge
from mlsysbook.labs.decision import DecisionIncomplete
from tests.labs import lab as text

GOOD = {"claim": "One more server halves each load", "binding": "arrivals", "evidence": ["load", "work", "gaps"],
        "rejected": "A faster clock would heat it", "risk": "Requests may come in bursts"}
TEXT = text.SOURCE.replace("answer,", "answer, decision,") + text.DECISION


@pytest.fixture(scope="module")
def ref(built):
    return load(*built)


def items(*right, wrong=()):
    return [{"name": n, "kind": "answer", "points": 2, "score": 2.0 if n in right else 1.0} for n in (*right, *wrong)]


def score(ref, fields, answers=None, given_text="", student="ada"):
    record = json.loads(json.dumps({"decided": "plan", "fields": fields}))
    gid = "decision-plan"
    return judge.judge_decision(ref, gid, ref.items[gid], record, None, student, items("load", "work", "gaps") if answers is None else answers, given_text)


def test_at_the_desk_it_is_recorded_and_not_judged(desk, capsys):
    for binding in ("arrivals", "service", "memory"):
        decided("plan", decision(**GOOD | {"binding": binding}))
    out = capsys.readouterr().out
    assert out.count("plan: recorded") == 3 and "right" not in out and "wrong" not in out


@pytest.mark.parametrize(("change", "says"), [
    ({"claim": "because so"}, "claim wants a sentence of 4 words"), ({"risk": 7}, "risk wants"), ({"binding": "arrival"}, "did you mean arrivals?"),
    ({"evidence": ("load", "work")}, "3 different answers"), ({"evidence": ("load", "load", "work")}, "3 different"),
    ({"evidence": ("load", "work", "gap")}, "did you mean gaps?"), ({"evidence": "load"}, "3 different"), ({"binding": ["memory"]}, "binding: got"),
])
def test_what_is_missing_is_said_in_one_line(desk, change, says):
    with pytest.raises(DecisionIncomplete) as error:
        decided("plan", decision(**GOOD | change))
    assert says in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(DecisionIncomplete, match="no decision yet"):
        decided("plan", "")


@pytest.mark.parametrize(("change", "answers", "share"), [
    ({}, None, 1), ({"binding": "service"}, None, 1 / 2), ({"binding": "memory"}, None, 1 / 2), ({"binding": None}, None, 1 / 2),
    ({}, items("load", "work", wrong=("gaps",)), 1 - 1 / 9), ({"evidence": ["load", "load", "load"]}, None, 1 - 2 / 9),
    ({"evidence": ["load", "work", "gaps", "wait"]}, None, 2 / 3), ({"evidence": []}, None, 2 / 3), ({}, [], 2 / 3),
    ({"claim": "x"}, None, 1 - 1 / 18), ({"risk": GOOD["claim"].upper()}, None, 1 - 2 / 18), ({"claim": "", "risk": "", "rejected": None}, None, 5 / 6),
    ({"claim": "Sounds come to a chip."}, None, 1 - 1 / 18),
])
def test_half_is_for_the_limit_a_third_for_evidence_the_rest_for_sentences(ref, change, answers, share):
    made = score(ref, GOOD | change, answers, given_text=text.SOURCE)
    assert made["score"] == pytest.approx(4 * share, abs=0.006), made["note"]


def test_a_wrong_limit_gets_its_sentence(ref):
    made = score(ref, GOOD | {"binding": "service"})
    assert made["mistake"] == "The service time is fixed by the chip." and made["note"].startswith("The service time is fixed by the chip;")
    assert score(ref, GOOD | {"binding": "memory"})["note"].startswith("another limit binds;")
    assert score(ref, GOOD | {"binding": "LEAK"})["note"].startswith("no limit is named;")


DATA = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=6), lambda c: st.lists(c, max_size=4) | st.dictionaries(
    st.sampled_from(["claim", "binding", "evidence", "rejected", "risk"]), c, max_size=5), max_leaves=9)


@settings(max_examples=150)
@given(record=st.dictionaries(st.sampled_from(["decided", "fields", "failed"]), DATA | st.just("plan"), max_size=3))
def test_no_forged_record_makes_the_judge_fail_or_pays(ref, record):
    gid = "decision-plan"
    made = judge.judge_decision(ref, gid, ref.items[gid], record, None, "ada", items("load", "work", "gaps"), text.SOURCE)
    assert made["score"] == 0
    json.dumps(made, allow_nan=False)


def test_what_bound_at_the_release_binds(built):
    ref = load(*built)
    ref.released = ref.snapshot()
    assert set(ref.released["plan"]) == {"arrivals"} and len(ref.released["plan"]) == len(ref.pool)
    ref.released["plan"] = ["memory"] * len(ref.pool)
    assert ref.ruling("plan", ref.variant("ada")).binding == "memory"


def test_what_the_student_sees_holds_no_ruling(built, sidecar):
    assert sidecar["decisions"] == {"plan": {"options": ["arrivals", "service", "memory"], "evidence": ["load", "work", "gaps"]}}
    nb = built[1].notebook_path.read_text()
    assert 'decided(\\"plan\\", plan)' in nb and "fixed by the chip" not in nb


@pytest.mark.parametrize(("old", "new", "says"), [
    ('# %% key="plan"', '# %% key="plan2"', "there is no answer or predict or decision"), ("### BEGIN SOLUTION\nplan", "plan", "region"),
    ('Decision("arrivals"', 'Decision("arrival"', "names 'arrival'"), ('Decision("arrivals"', 'Decision("memory"', "its solution names 'arrivals', its key 'memory'"),
    ('{"service": "The', '{"arrivals": "The', "names 'arrivals'"), ("risk=\"Requests may come in bursts after all\"", 'risk="none"', "its solution is no decision: risk"),
    ('return Decision("arrivals", ("arrivals", "service", "memory"), {"service": "The service time is fixed by the chip."})', "return 3", "must return a Decision"),
    ('# %% answer="gaps" points=1\ngaps = ""\n### BEGIN SOLUTION\ngaps = f"{1 / mine[\'arrivals\']:.9g} s"\n### END SOLUTION\n\n# %% key="gaps"\ndef key(v):\n    return Key(1 / v["arrivals"], "s", tol=0.001)\n',
     "", "wants three answers"),
])
def test_an_authors_mistake_is_an_error_at_its_cell(tmp_path, old, new, says):
    assert TEXT.count(old) == 1, TEXT.count(old)
    with pytest.raises(SourceError) as error:
        text.make(tmp_path, TEXT.replace(old, new), 11)
    assert says in str(error.value) and "\n" not in str(error.value)
