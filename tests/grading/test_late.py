"""The late policy in the gradebook, whoever applies it."""

import json

import pytest

from mlsysbook.grading import late
from mlsysbook.grading.deadlines import LatePolicy

TINY = "drills-tiny"
POLICY = LatePolicy(grace_minutes=15, percent_per_day=10, max_percent=50)


def set_late(classroom, student, seconds):
    """Move the due date so that the submission is so many seconds late."""
    from datetime import timedelta

    with classroom.gradebook() as gb:
        submission = gb.find_submission(TINY, student)
        gb.update_or_create_assignment(TINY, duedate=submission.timestamp - timedelta(seconds=seconds))


def penalty(classroom, student):
    with classroom.gradebook() as gb:
        return gb.find_submission(TINY, student).late_submission_penalty


def refresh(classroom, policy=POLICY):
    with classroom.logged(), classroom.gradebook() as gb:
        return late.refresh(gb, policy, TINY)


@pytest.mark.parametrize(("seconds", "points"), [(-3600, 0), (0, 0), (900, 0), (901, 0.5), (86400 + 1, 1.0), (30 * 86400, 2.5)])
def test_the_penalty_is_a_share_of_what_was_scored(graded_class, seconds, points):
    set_late(graded_class, "ada", seconds)
    refresh(graded_class)
    assert penalty(graded_class, "ada") == pytest.approx(points)     # of 5 points


def test_applying_twice_changes_nothing(graded_class):
    set_late(graded_class, "ada", 5000)
    assert refresh(graded_class) > 0
    assert refresh(graded_class) == 0


def test_points_given_by_hand_later_are_counted(graded_class):
    set_late(graded_class, "ada", 5000)
    refresh(graded_class)
    with graded_class.gradebook() as gb:
        gb.find_grade("rubric-why", "tiny", TINY, "ada").manual_score = 5.0
        gb.db.commit()
    refresh(graded_class)
    assert penalty(graded_class, "ada") == pytest.approx(1.0)


def test_an_extension_given_later_takes_the_penalty_away(graded_class):
    set_late(graded_class, "ada", 5000)
    refresh(graded_class)
    with graded_class.gradebook() as gb:
        gb.grant_extension(TINY, "ada", days=1)
    refresh(graded_class)
    assert penalty(graded_class, "ada") == 0
    assert penalty(graded_class, "bob") > 0


def test_stock_autograding_applies_the_same_policy(released, hand_in, autograde):
    from mlsysbook.grading import collect

    text = (released.root / "class.yml").read_text()
    (released.root / "class.yml").write_text(text.replace("percent_per_day: 0, max_percent: 100", "percent_per_day: 10, max_percent: 50"))
    room = type(released).open(released.root)
    hand_in("ada")
    with room.at_work():
        collect.collect(room, TINY)
    with room.gradebook() as gb:
        gb.update_or_create_assignment(TINY, duedate="2020-01-01 00:00:00 UTC")
    autograde(room, "ada")
    assert penalty(room, "ada") == pytest.approx(2.5)
    assert refresh(room, room.late) == 0                # nothing left to set right


def test_no_policy_takes_nothing_off(graded_class):
    set_late(graded_class, "ada", 10**7)
    refresh(graded_class, LatePolicy())
    assert penalty(graded_class, "ada") == 0
    assert json.dumps(str(LatePolicy())) == '"late work costs nothing"'
