"""The mock interview: adapts, balances areas, keeps time, tells nothing before its end, survives a kill, reports what is so."""

import json
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from mlsysim import units
from staffml import irt, load, mock
from staffml.parts import Choice, Design, Diagnosis, Fermi
from staffml.pools import variant
from staffml.practice import _SCHEMAS, VERSION, Practice, PracticeError
from staffml.round import Ask, Say, Stopped, play
from staffml.session import every
from staffml.taxonomy import LEVELS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "practice.sqlite"


class Clock:
    """Seconds that pass only when an answer is typed."""

    def __init__(self, step=20.0):
        self.now, self.step = 1000.0, step

    def __call__(self):
        return self.now


def right(part, p, answers):
    """What somebody types who knows the answer."""
    if isinstance(part, Choice | Diagnosis):
        options = part.options(p, answers) if isinstance(part, Choice) else part.options(p)
        return str(next(i for i, (_, wrong) in enumerate(options, 1) if wrong is None))
    return units.format(answers[part.name], part.unit, digits=12)


def interview(path, knows, clock=None, stop_after=None, said=None):
    """Play the mock interview that runs; knows(template, part) says if an answer is right -> (its number or None, steps)."""
    clock, asked, steps = clock or Clock(), 0, said if said is not None else []

    def answer(step):
        nonlocal asked
        steps.append(step)
        asked += 1
        if stop_after is not None and asked > stop_after:
            return "q"
        clock.now += clock.step
        if not step.prompt.startswith("answer"):
            return "80" if step.prompt.startswith("how sure") else ""
        with Practice(path) as practice:
            it = practice.mock()["items"][-1]
        template = load(it["template"])
        p = variant(template, it["draw"])
        questions = [s.text for s in steps if isinstance(s, Say) and s.style == "question"]
        part = template.parts[int(questions[-1].split(".")[0]) - 1]
        return right(part, p, template.answers(p)) if knows(template, part) else ""

    try:
        return play(mock.mock(path, clock=clock), lambda text, style: steps.append(Say(text, style)), answer), steps
    except Stopped:
        return None, steps


def begin(path, templates=None, **options):
    with Practice(path) as practice:
        return practice.start_mock(mock.plan(templates or every(), known=options.pop("known", {}), seed=options.pop("seed", "x"), **options))


def kept(path, number):
    with Practice(path) as practice:
        return practice.mock(number)


def test_it_finds_the_level_that_somebody_answers_at_and_balances_areas(path):
    for top in (0, 2, 5):
        number = begin(path, items=9, minutes=480, error=0.2, confidence=False)
        interview(path, lambda template, part, top=top: tuple(LEVELS).index(template.level) <= top)
        current = kept(path, number)
        names = [i["template"] for i in current["items"]]
        found = mock.report(current)
        assert current["ended"] == "items" and len(set(names)) == 9 and len({n.split("/")[0] for n in names}) == 9
        assert abs(tuple(LEVELS).index(found.levels[0]) - top) <= 1
        assert tuple(LEVELS).index(found.levels[1]) <= top <= tuple(LEVELS).index(found.levels[2])
        answered = [(irt.from_level(load(i["template"]).level), mock.credit(i["attempt"])) for i in current["items"]]
        assert found.ability == irt.estimate(answered)


def test_later_items_come_from_the_level_that_was_shown(path):
    levels = {}
    for top in (0, 5):
        number = begin(path, items=8, minutes=480, error=0.2, confidence=False)
        interview(path, lambda template, part, top=top: tuple(LEVELS).index(template.level) <= top)
        asked = [tuple(LEVELS).index(load(i["template"]).level) for i in kept(path, number)["items"]]
        levels[top] = sum(asked[4:]) / 4
    assert levels[0] < 1.5 and levels[5] > 3


@pytest.mark.parametrize("options, reason", [
    ({"items": 3}, "items"), ({"error": 1.2}, "error"), ({"minutes": 20, "items": 50}, "time"), ({"items": 50, "minutes": 480}, "templates")])
def test_it_ends_for_the_reason_that_comes_first(path, options, reason):
    few = [t for t in every() if t.area == "networking"][:2] if reason == "templates" else None
    number = begin(path, few, confidence=False, **({"error": 0.2, "minutes": 480} | options))
    interview(path, lambda template, part: True, Clock(120))
    current = kept(path, number)
    assert current["ended"] == reason
    if reason == "error":
        errors = [irt.estimate(mock.answered(current["plan"], current["items"][:n])).error for n in range(1, len(current["items"]) + 1)]
        assert errors[-1] <= 1.2 and all(e > 1.2 for e in errors[:-1])
    if reason == "time":
        spent = sum(i["spent"] for i in current["items"])
        left = 20 * 60 - spent
        asked = {i["template"] for i in current["items"]}
        assert left >= 0 and min(60 * t.minutes for t in every() if t.name not in asked) > left


def test_nothing_is_told_before_the_end_and_then_all_of_it(path):
    number = begin(path, [load("networking/round_trip"), load("power/duty_cycle"), load("deployment/capacity_plan")], minutes=480)
    _, steps = interview(path, lambda template, part: part.name in ("turns", "energy"))
    during = [s for s in steps if isinstance(s, Say)]
    assert {s.style for s in during} <= {"", "bold", "question", "rule"} and not any("wanted" in s.text for s in during)
    found = mock.report(kept(path, number))
    text = "\n".join(s.text for s in mock.said(found))
    assert "turns: right." in text and "life: passed." in text and text.count("wanted ") == 6
    assert "uncalibrated" in text and "to read: V1-02 ML Systems; to do: Lab V1-02: Physics of Deployment" in text
    assert found.sure == (2, 0.8, 1.0)
    assert "memory/kv_cache, deployment/capacity_plan" in text                      # what comes before it is drilled first
    by = {row["template"]: row for row in found.items}
    assert by["power/duty_cycle"]["share"] == pytest.approx(1 / 3)
    assert by["deployment/capacity_plan"]["share"] == 0                             # of the three parts that the machine judges


def test_a_design_is_marked_by_oneself_and_left_out_of_the_ability(path):
    number = begin(path, [load("deployment/capacity_plan")], confidence=False, minutes=480)
    typed = iter(["", "", "", "Everything.", "y", "y", "y", "y"])
    play(mock.mock(path), lambda text, style: None, lambda step: next(typed))
    (it,) = kept(path, number)["items"]
    assert it["attempt"]["share"] == 0.25 and mock.credit(it["attempt"]) == 0
    with pytest.raises(ValueError, match="designs only"):
        mock.plan([t for t in every() if all(isinstance(part, Design) for part in t.parts)])


def test_the_clock_is_shown_and_what_comes_too_late_does_not_count(path):
    template = load("power/duty_cycle")
    number = begin(path, [template], confidence=False, minutes=480)
    clock = Clock(0.7 * mock.LIMIT * 60 * template.minutes)
    _, steps = interview(path, lambda template, part: True, clock)
    limit = mock.LIMIT * 60 * template.minutes
    lefts = [s.left for s in steps if isinstance(s, Ask)]
    assert lefts == [(pytest.approx(limit), 480 * 60), (pytest.approx(0.3 * limit), pytest.approx(480 * 60 - 0.7 * limit))]
    assert any("does not count" in s.text or "do not count" in s.text for s in steps if isinstance(s, Say))
    (it,) = kept(path, number)["items"]
    assert [a["share"] for a in it["attempt"]["answers"]] == [1, 0, 0] and it["attempt"]["seconds"] == it["spent"] == pytest.approx(limit)
    (row,) = mock.report(kept(path, number)).items
    assert row["late"] and "time over" in "\n".join(s.text for s in mock.said(mock.report(kept(path, number))))


def test_an_interview_that_stopped_goes_on_at_the_same_question_with_its_time(path):
    number = begin(path, items=4, minutes=480, error=0.2)
    said, clock = [], Clock(7.0)
    for stop in (1, 2, 3, 5, None):
        clock.now += 100_000                                                        # nobody is asked meanwhile
        end, _ = interview(path, lambda template, part: True, clock, stop, said=said)
    assert end == number
    other = path.with_name("whole.sqlite")
    begin(other, items=4, minutes=480, error=0.2)
    interview(other, lambda template, part: True, Clock(7.0))
    one, two = kept(path, number), kept(other, 1)
    assert [(i["template"], i["typed"] and len(i["typed"]), i["spent"]) for i in one["items"]] == [
        (i["template"], i["typed"] and len(i["typed"]), i["spent"]) for i in two["items"]]
    assert mock.report(one).ability == mock.report(two).ability


def test_a_template_that_changed_meanwhile_is_asked_anew(path):
    begin(path, [load("power/duty_cycle")], confidence=False)
    interview(path, lambda template, part: True, stop_after=2)
    db = sqlite3.connect(path)
    db.execute("UPDATE mock_item SET pool = 'of another version'")
    db.commit()
    db.close()
    _, steps = interview(path, lambda template, part: True)
    assert any("begins anew" in s.text for s in steps if isinstance(s, Say))
    assert [a["share"] for a in kept(path, 1)["items"][0]["attempt"]["answers"]] == [1, 1, 1]


def test_items_that_a_class_has_calibrated_count_as_such(path):
    known = {"power/duty_cycle": irt.Item(2.2, 1.4, 40)}
    number = begin(path, [load("power/duty_cycle"), load("networking/round_trip")], confidence=False, known=known, minutes=480)
    interview(path, lambda template, part: True)
    found = mock.report(kept(path, number))
    assert found.class_items == 1 and "1 of 2 items have parameters from a class" in "\n".join(s.text for s in mock.said(found))
    items = {"power/duty_cycle": irt.Item(2.2, 1.4, 40), "networking/round_trip": irt.from_level(load("networking/round_trip").level)}
    assert found.ability == irt.estimate([(items[row["template"]], 1.0) for row in found.items])


def test_one_interview_runs_at_a_time_and_two_processes_do_not_mix(path):
    begin(path, [load("power/duty_cycle")], confidence=False)
    with pytest.raises(PracticeError, match="is not over: go on with it, or end it first"):
        begin(path)
    first, second = mock.mock(path), mock.mock(path)
    for steps in (first, second):
        while not isinstance(next(steps), Ask):
            pass
    first.send("1 J")
    with pytest.raises(PracticeError, match="another process goes on with this mock interview") as caught:
        second.send("2 J")
    assert "\n" not in str(caught.value) and kept(path, 1)["items"][0]["typed"] == ["1 J"]


def test_a_file_of_the_first_version_is_taken_over(path):
    db = sqlite3.connect(path, isolation_level=None)
    for statement in _SCHEMAS[0].split(";\n"):
        db.execute(statement)
    db.execute("INSERT INTO attempt VALUES (1, '2026-03-02T12:00:00+00:00', 'power/duty_cycle', 3, 9.0, 1.0, 'power', 'L3', 'tiny')")
    db.execute("PRAGMA user_version = 1")
    db.close()
    begin(path)
    with Practice(path) as practice:
        assert (practice._version(), len(practice.attempts()), len(practice.mocks())) == (VERSION, 1, 1)


@pytest.fixture
def staffml(tmp_path):
    def start(*arguments):
        environment = os.environ | {"STAFFML_DATA": str(tmp_path), "COLUMNS": "120", "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen([sys.executable, "-m", "staffml", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)

    return start


def test_killed_in_the_middle_it_goes_on_and_reports(staffml, path):
    process = staffml("mock", "--area", "networking", "--items", "2", "--no-confidence")
    process.stdin.write("bla\n")
    process.stdin.flush()
    for line in process.stdout:
        if "bla" in line:                                                           # it has said that it cannot read this
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = kept(path, 1)["items"][-1]
    assert before["typed"] == ["bla"] and before["attempt"] is None
    out, errors = staffml("mock").communicate("\n" * 20, timeout=60)
    assert not errors and "goes on, with the limits that it began with" in out and "answer (Enter to pass, q to stop): bla" in out
    after = kept(path, 1)["items"]
    assert (after[0]["template"], after[0]["draw"], after[0]["typed"][0]) == (before["template"], before["draw"], "bla")
    level = mock.report(kept(path, 1)).levels[0]
    assert f"ability: {level}, between" in out and level in ("L1", "L2") and "standard error" in out
    assert "mock interview 1" in staffml("mock", "--list").communicate(timeout=60)[0]
    (found,) = json.loads(staffml("mock", "--list", "--json").communicate(timeout=60)[0])
    assert found["level"] == level and found["ended"] == "items" and not found["calibrated"]
    assert "mock interview 1" in staffml("progress").communicate(timeout=60)[0]
    data = json.loads(staffml("export").communicate(timeout=60)[0])
    assert [i["attempt"] for i in data["mocks"][0]["items"]] == [1, 2] and len(data["attempts"]) == 2


def test_q_leaves_it_running_end_reports_and_new_begins_another(staffml, path):
    out, _ = staffml("mock", "--area", "networking").communicate("q\n", timeout=60)
    assert "nothing is lost" in out and kept(path, 1)["ended"] is None
    out, _ = staffml("mock", "--new", "--items", "1", "--area", "networking", "--no-confidence").communicate("\n" * 9, timeout=60)
    assert (kept(path, 1)["ended"], kept(path, 2)["ended"]) == ("stopped", "items") and "mock interview 2" in out
    staffml("mock", "--area", "networking").communicate("q\n", timeout=60)
    out, _ = staffml("mock", "--end").communicate(timeout=60)
    assert "no item was finished" in out and kept(path, 3)["ended"] == "stopped"


def test_estimates_and_intervals_are_typed_and_come_back_in_the_report(path):
    template = load("compute/training_time")
    assert any(isinstance(part, Fermi) for part in template.parts)
    number = begin(path, [template], confidence=False, minutes=480)
    p = None

    def answer(step):
        nonlocal p
        with Practice(path) as practice:
            it = practice.mock()["items"][-1]
        p = variant(template, it["draw"])
        truth = template.answers(p)
        if step.prompt.startswith("an interval"):
            return f"{truth['time'] / 2!r} s .. {truth['time'] * 2!r} s"
        return f"{truth['time']!r} s" if len(it["typed"]) else f"{truth['flop']!r} FLOP"

    play(mock.mock(path), lambda text, style: None, answer)
    (row,) = mock.report(kept(path, number)).items
    assert row["share"] > 0.9 and any(s.text == "your interval holds it" for s in row["told"])


def test_what_a_class_report_saved_is_what_a_new_interview_goes_by(monkeypatch):
    monkeypatch.setattr(mock, "read", lambda: {"power/duty_cycle": irt.Item(2.0, -0.25, 31)})
    its = mock.plan([load("power/duty_cycle"), load("networking/round_trip")])["templates"]
    stand_in = irt.from_level(load("networking/round_trip").level)
    assert its["power/duty_cycle"]["item"] == [2.0, -0.25, 31]
    assert its["networking/round_trip"]["item"] == [stand_in.discrimination, stand_in.difficulty, 0]
