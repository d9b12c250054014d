"""Every attack through `grade_submission`: it gets what it earned, is seen, and reaches nothing outside."""

import json
import re
import time

import nbformat
import pytest

from mlsysbook.grading.submission import grade_submission
from tests.attacks.attacks import ATTACKS, HONEST
from tests.attacks.conftest import SECRET, Canary

SLOWER = 4               # times that another machine, or a busy one, may be slower than the one where an attack's seconds were counted
ROSTER = ("neighbour", *(a.name for a in HONEST))
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def outputs(nb):
    """All text that the notebook's outputs show."""
    return json.dumps([c.get("outputs") for c in nb["cells"]], ensure_ascii=False)


def notes(record):
    return [i["note"] for i in record["items"]] + [f["note"] for f in record["flags"]]


def verify(attack, record, nb):
    """What holds of every graded submission, whatever was in it, and what this one was to get."""
    assert {i["name"]: i["score"] for i in record["items"] if i["kind"] != "rubric"} == pytest.approx(attack.wanted), notes(record)
    assert record["fate"] == attack.fate
    assert record["score"] == pytest.approx(sum(attack.wanted.values())) and record["score"] <= record["max_score"]
    kinds = {f["kind"] for f in record["flags"]}
    assert set(attack.flags) <= kinds, record["flags"]
    assert kinds <= {"tamper", "identity", "escape", "limit", "patched", "damaged", "copied-variant", "timestamp"}
    for i in record["items"]:
        assert i["note"], "a score without a reason"
    assert any(map(re.compile(attack.notes).search, notes(record))), notes(record)
    if attack in HONEST:
        assert record["flags"] == []
    elif attack.loud:
        assert record["flags"] or 0.0 in attack.wanted.values(), "nobody sees it"
    shown = outputs(nb)
    assert re.search(attack.shows, shown), shown
    assert not re.search("PWNED|LEAK|" + Canary.WORD, shown + json.dumps([i["note"] for i in record["items"]]))
    assert "PWNED" not in json.dumps(record)
    for text in notes(record) + [t for c in nb["cells"] for t in strings(c.get("outputs"))]:
        assert not _CONTROL.search(text), repr(text)
    for c in nb["cells"]:
        for o in c.get("outputs", ()):
            assert set(o.get("data", ())) <= {"text/plain", "image/png"}
    json.dumps(record, allow_nan=False).encode()
    text = nbformat.writes(nbformat.from_dict(nb))
    nbformat.validate(nbformat.reads(text, as_version=4))
    assert len(text.encode()) < 5_000_000


def strings(x):
    if isinstance(x, str):
        yield x
    elif isinstance(x, dict | list):
        for v in x.values() if isinstance(x, dict) else x:
            yield from strings(v)


def run(attack, course, libraries, world, folder, **more):
    attack.write(folder, world, attack.name)
    before = time.monotonic()
    record, nb = grade_submission(str(course.root), attack.assignment, attack.name, folder, secret=SECRET,
                                  library=libraries[attack.assignment], roster=ROSTER, **more)
    return record, nb, time.monotonic() - before


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_attack(attack, course, libraries, world, canary, tmp_path, nothing_left):
    record, nb, seconds = run(attack, course, libraries, world, tmp_path)
    verify(attack, record, nb)
    assert canary.unharmed() == []
    assert seconds < SLOWER * attack.seconds


IN_A_KERNEL = ("equal_to_everything", "input_transformer", "own_check", "patched_numpy", "patched_courseware", "patched_json", "own_handler",
               "walks_the_heap", "flood_of_checks", "crooked_values", "reads_the_host", "reads_the_solution",
               "leaks_hidden_cases", "neighbours_variant", "links", "mixed_up", "escapes_and_scripts", "fork_bomb", "memory_hog", "disk_hog",
               "stubborn_loop", "exits_at_once", "segfault", "survivor", "network", "writes_the_library", "privilege", "by_magic", "perfect")


@pytest.mark.slow
@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.name in IN_A_KERNEL], ids=lambda a: a.name)
def test_attack_on_a_notebook_that_has_a_kernel(attack, kernel_course, libraries, world, canary, tmp_path, nothing_left):
    record, nb, seconds = run(attack, kernel_course, libraries, world, tmp_path)
    verify(attack, record, nb)
    assert canary.unharmed() == []
    assert seconds < SLOWER * (attack.seconds + 6)


@pytest.mark.parametrize("name", ["reads_the_host", "network"])
def test_without_a_box_the_same_code_gets_out(name, course, libraries, world, tmp_path, scratch):
    """So that what these tests look for can be found."""
    attack = next(a for a in ATTACKS if a.name == name)
    with Canary(tmp_path / "class") as canary:
        record, nb, _ = run(attack, course, libraries, world.at(canary.places), tmp_path, unsafe=True)
        assert "PWNED" in outputs(nb) and record["unsafe"]
        assert canary.callers if name == "network" else Canary.WORD in outputs(nb)
