"""The practice file: kept whole through crashes and second processes, versioned, exported; reviews and progress add up."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta

import pytest

from staffml import load
from staffml.pools import draws
from staffml.practice import VERSION, Answer, Practice, PracticeError, default_path
from staffml.progress import description, plot, progress, said, save
from staffml.schedule import rating, review

NAME = "networking/round_trip"
TEMPLATE = load(NAME)
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def answers(share=1.0, **more):
    return [Answer("trip", "choice", "2", 2.0, share, **more), Answer("turns", "number", "4", 4.0, share, **more)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "practice.sqlite"


def test_an_attempt_comes_back_as_it_was_kept(path):
    with Practice(path) as practice:
        number, due = practice.record(TEMPLATE, 17, answers(0.25, mistake="one way", confidence=0.8), 33.5, at=NOW)
    with Practice(path) as practice:
        (attempt,) = practice.attempts()
    assert (attempt["id"], attempt["template"], attempt["draw"], attempt["share"], attempt["seconds"]) == (number, NAME, 17, 0.25, 33.5)
    assert (attempt["area"], attempt["level"], attempt["track"]) == (TEMPLATE.area, TEMPLATE.level, TEMPLATE.track)
    assert attempt["answers"][0] == {"part": "trip", "kind": "choice", "text": "2", "value": 2.0, "share": 0.25, "mistake": "one way",
                                     "confidence": 0.8, "held": None}
    assert due > NOW


def test_the_export_is_json_and_holds_everything(path):
    with Practice(path) as practice:
        practice.record(TEMPLATE, 17, answers(), 10, at=NOW)
        data = json.loads(json.dumps(practice.export()))
    assert (data["format"], data["version"], len(data["attempts"]), len(data["cards"])) == ("staffml-practice", VERSION, 1, 1)
    assert data["cards"][0]["card"]["stability"] > 0


WRITER = """
import sys
from staffml import load
from staffml.practice import Answer, Practice
for i in range(int(sys.argv[2])):
    with Practice(sys.argv[1]) as practice:
        practice.record(load("networking/round_trip"), i, [Answer("trip", "choice", "1", 1.0, 1.0), Answer("turns", "number", "4", 4.0, 1.0)], 5)
    print(i, flush=True)
"""


def writer(path, n):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(n)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_lose_nothing_even_when_both_make_the_file(path):
    both = [writer(path, 15) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    with Practice(path) as practice:
        attempts = practice.attempts()
    assert len(attempts) == 30 and all(len(a["answers"]) == 2 for a in attempts)
    assert sorted(a["draw"] for a in attempts) == sorted(2 * list(range(15)))


def test_a_process_killed_at_any_moment_leaves_whole_attempts(path):
    """What was reported done is there; nothing is there in part; the next process writes on."""
    for pause in (0.0, 0.003, 0.011, 0.02):
        process = writer(path, 10_000)
        done = 0
        for line in process.stdout:
            done = int(line) + 1
            if done >= 5:
                break
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        process.stderr.close()
        with Practice(path) as practice:
            before = practice.attempts()
        assert all(len(a["answers"]) == 2 for a in before)
        assert len(before) >= done + len([x for x in rest if x.isdigit()]) - 1
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
        os.unlink(path)


def test_an_error_half_way_through_keeps_nothing(path):
    with Practice(path) as practice:
        practice.record(TEMPLATE, 1, answers(), 5, at=NOW)
        twice = answers() + answers()                                       # two answers of one part: against the key
        with pytest.raises(PracticeError, match="nothing of this was kept"):
            practice.record(TEMPLATE, 2, twice, 5, at=NOW)
        assert [a["draw"] for a in practice.attempts()] == [1]


def test_a_newer_file_is_refused_and_left_alone(path):
    with Practice(path):
        pass
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(PracticeError, match=f"has version {VERSION + 1}, this StaffML reads up to {VERSION}: install a newer one"):
        Practice(path)
    assert path.read_bytes() == before


def test_a_file_that_is_something_else_is_one_line(path):
    path.write_text("not a database, but long enough to look like one\n" * 50)
    with pytest.raises(PracticeError, match="move the file away") as caught:
        Practice(path)
    assert "\n" not in str(caught.value)


def test_the_file_lies_in_the_users_data_folder_or_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("STAFFML_DATA", str(tmp_path))
    assert default_path() == tmp_path / "practice.sqlite"
    monkeypatch.delenv("STAFFML_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_path().name == "practice.sqlite" and default_path().parent.name == "staffml"


def test_variants_are_fresh_until_all_were_asked_and_then_the_oldest_comes_back(path):
    few = draws(NAME)["draws"][:5]
    with Practice(path) as practice:
        asked = []
        for i in range(8):
            draw = practice.fresh(NAME, few)
            practice.record(TEMPLATE, draw, answers(), 5, at=NOW + timedelta(minutes=i))
            asked.append(draw)
    assert sorted(asked[:5]) == sorted(few) and asked[5:] == asked[:3]


def test_two_people_meet_variants_in_different_orders(tmp_path):
    firsts = set()
    for i in range(6):
        with Practice(tmp_path / str(i)) as practice:
            firsts.add(practice.fresh(NAME, draws(NAME)["draws"]))
    assert len(firsts) > 1


@pytest.mark.parametrize("share, seconds, wanted", [(1, 100, "easy"), (1, 500, "good"), (0.9, 100, "hard"), (0.5, 1, "hard"),
                                                    (0.49, 1, "again"), (0, 1, "again"), (2 / 3 + 1 / 3, 100, "easy")])
def test_the_rating_comes_from_the_grade(share, seconds, wanted):
    assert rating(share, seconds, 300) == wanted


def test_better_grades_come_back_later_and_a_failure_comes_back_soon():
    dues = [review(None, r, NOW)[1] for r in ("again", "hard", "good", "easy")]
    assert dues == sorted(dues) and dues[0] < NOW + timedelta(minutes=10) and dues[-1] > NOW + timedelta(days=2)
    card, due = review(None, "easy", NOW)
    later, again = review(card, "easy", due)
    assert again - due > due - NOW                                          # intervals grow
    assert review(later, "again", again)[1] < again + timedelta(days=1)
    assert review(None, "good", NOW) == review(None, "good", NOW)           # no randomness


def test_what_is_due_is_listed_longest_overdue_first(path):
    other = load("compute/training_time")
    with Practice(path) as practice:
        practice.record(TEMPLATE, 1, answers(0.0), 5, at=NOW)
        practice.record(other, 1, answers(0.0), 5, at=NOW - timedelta(days=3))
        assert practice.due(NOW) == [(other.name, practice.upcoming()[0][1])]
        assert [name for name, _ in practice.due(NOW + timedelta(days=1))] == [other.name, NAME]
        practice.record(other, 2, answers(), 5, at=NOW)
        assert [name for name, _ in practice.due(NOW + timedelta(days=1))] == [NAME]


def attempt(at, share, level="L1", **more):
    answer = {"part": "a", "kind": "number", "text": "", "value": None, "share": share, "mistake": "", "confidence": None, "held": None}
    return {"id": 0, "at": at.isoformat(), "template": NAME, "draw": 0, "seconds": 1.0, "share": share, "area": "memory", "level": level,
            "track": "tiny", "answers": [answer | more]}


def test_streaks_count_days_up_to_today_and_items_all_right():
    noon = datetime.now().astimezone().replace(hour=12)
    days = [attempt(noon - timedelta(days=d), s) for d, s in ((6, 1.0), (5, 1.0), (4, 1.0), (2, 0.5), (1, 1.0), (0, 1.0))]
    found = progress(days)
    assert (found.attempts, found.days, found.right, found.best) == (6, 3, 2, 3)
    assert progress(days, today=noon.date() + timedelta(days=1)).days == 3          # today is not over
    assert progress(days, today=noon.date() + timedelta(days=2)).days == 0
    assert progress([]).days == 0 and progress([], today=date(2026, 1, 1)).brier is None


def test_progress_by_group_is_the_mean_share():
    found = progress([attempt(NOW, 1.0), attempt(NOW, 0.5), attempt(NOW, 0.0, level="L2")])
    assert found.groups["level", "L1"] == (2, 0.75) and found.groups["level", "L2"] == (1, 0.0)
    assert found.groups["area", "memory"] == (3, 0.5) and found.groups["track", "tiny"] == (3, 0.5)


def test_calibration_holds_confidence_against_how_often_it_was_right():
    sure = [attempt(NOW, s, confidence=c) for c, s in ((0.9, 1.0), (0.9, 1.0), (0.9, 0.5), (0.9, 0.0), (0.5, 1.0), (0.5, 0.0), (1.0, 1.0))]
    found = progress(sure + [attempt(NOW, 1.0, held=True), attempt(NOW, 0.7, held=False, mistake="one way")])
    assert [(low, high, n, round(c, 3), r) for low, high, n, c, r in found.calibration] == [
        (0.4, 0.6, 2, 0.5, 0.5), (0.8, 0.95, 4, 0.9, 0.5), (0.95, 1, 1, 1.0, 1.0)]
    assert found.brier == pytest.approx((2 * 0.01 + 2 * 0.81 + 0.25 + 0.25 + 0) / 7)
    assert found.intervals == (1, 2) and found.mistakes == [("one way", 1)]


def test_the_plot_says_in_words_what_it_shows_and_is_the_same_every_time(tmp_path):
    found = progress([attempt(NOW, 1.0, confidence=0.9), attempt(NOW, 0.5, level="L2", confidence=0.5)])
    assert found.grid == {("memory", "L1"): (1, 1.0), ("memory", "L2"): (1, 0.5)}
    words = description(found)
    assert words == ("Points by area: memory 75 % of 2 items. Calibration, confidence against how often it was right: "
                     "sure 50 %, right 0 % of 1 answer; sure 90 %, right 100 % of 1 answer.")
    figure, text = plot(found)
    left, right = figure.axes
    assert text == words and [bar.get_width() for bar in left.patches] == [75]
    curve = right.lines[1]
    assert (list(curve.get_xdata()), list(curve.get_ydata())) == ([50, 90], [0, 100])
    for name in ("a.png", "b.png"):
        assert save(found, tmp_path / name) == words
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes() and words.encode() in (tmp_path / "a.png").read_bytes()
    save(found, tmp_path / "a.svg")
    assert words in (tmp_path / "a.svg").read_text()
    lines = [step.text for step in said(found)]
    assert "memory  100 % (1)  50 % (1)   .   .   .    .  75 % (2)" in lines and lines[0].startswith("2 items; ")
