"""mlsys review and the panel: the page's deck and progress, kept at once, never lost."""

import json
from datetime import datetime, timedelta

import pytest
from typer.testing import CliRunner

from mlsysbook.cli import app, companion  # noqa: F401  (registers its commands)
from mlsysbook.companion import progress, review, schedule

NOW = datetime(2027, 1, 25, 9).astimezone()
DATA = {"chapter": "V1-13", "questions": [
    {"id": "V1-13/q", "kind": "choice", "section": "s", "ask": "Which?", "choices": [{"n": 0, "text": "a", "right": True, "why": "A."}, {"n": 1, "text": "b", "right": False, "why": "B."}]}],
    "cards": [{"id": f"V1-13/c{i}", "section": "s", "front": f"Front {i}", "back": rf'<span class="math x">\(x_{i}\)</span> &lt; <code>y</code>'} for i in range(12)]}


@pytest.fixture
def session(tmp_path):
    """A session whose clock stands still: session.now is its time."""
    made = review.Session([DATA], tmp_path / "progress.json", clock=lambda: made.now)
    made.now = NOW
    return made


def test_a_rating_is_in_the_file_at_once_and_the_card_comes_tomorrow(session):
    card = session.next()
    assert session.intervals(card) == {"Again": "10 min", "Hard": "12 h", "Good": "1 day", "Easy": "8 days"}
    session.rate(card, 3)
    kept = json.loads(session.path.read_text())["reviews"]
    assert kept == {"V1-13/c0": [{"at": kept["V1-13/c0"][0]["at"], "day": "2027-01-25", "rating": 3}]}
    assert progress.check(json.loads(session.path.read_text()))["reviews"] == kept
    assert len(session.queue()[1]) == 9, "one of the ten new cards of today is used"
    session.now += timedelta(hours=14)
    assert session.queue()[0] == []
    session.now = NOW + timedelta(hours=16)
    assert session.next() == card and session.undo() and not session.undo()
    assert json.loads(session.path.read_text())["reviews"] == {}


def test_a_question_answered_wrong_is_a_card(session):
    answers = {"V1-13/q": [{"at": "2027-01-20T08:00:00.000Z", "given": [1], "right": False}]}
    progress.change(session.path, lambda state: state["answers"].update(answers))
    cards = review.Session([DATA], session.path).cards
    assert (cards[0]["id"], len(cards)) == ("V1-13/q", 13) and review.plain(cards[0]["back"]) == "a\n\nA."
    assert review.plain(cards[0]["front"]) == "Which?\n- a\n- b" and review.plain(cards[1]["back"]) == "$x_0$ < `y`"


def test_two_sessions_on_one_file_keep_each_others_reviews(session):
    other = review.Session([DATA], session.path, clock=lambda: NOW + timedelta(minutes=1))
    session.rate(DATA["cards"][0], 3)
    other.rate(DATA["cards"][1], 1)
    assert set(progress.read(session.path)["reviews"]) == {"V1-13/c0", "V1-13/c1"}


def test_merging_loses_nothing_whichever_comes_first():
    def state(*times):
        return progress.empty() | {"reviews": {"V1-13/a": [schedule.review(3, NOW + timedelta(days=d)) for d in times]}}

    one, other = state(0, 2), state(0, 1)
    assert progress.merge(one, other) == progress.merge(other, one)
    assert [r["day"] for r in progress.merge(one, other)["reviews"]["V1-13/a"]] == ["2027-01-25", "2027-01-26", "2027-01-27"]


@pytest.mark.parametrize("text, told", [
    ("{", "is not JSON"), ("[]", "no progress of this book"), ('{"version": 9, "answers": {}, "reviews": {}}', "version 9, and this course knows 1"),
    ('{"version": 1, "answers": {}, "reviews": {"x": []}}', "unknown name 'x'"),
    ('{"version": 1, "answers": {}, "reviews": {"V1-13/a": [{"at": "now", "day": "2027-01-25", "rating": 3}]}}', "V1-13/a are damaged"),
    ('{"version": 1, "answers": {}, "reviews": {"V1-13/a": [{"at": "2027-01-25T08:00:00Z", "day": "2027-01-25", "rating": 5}]}}', "damaged"),
])  # fmt: skip
def test_a_damaged_file_is_refused_and_stays(tmp_path, text, told):
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(progress.ProgressError, match=told):
        progress.change(path, lambda state: None)
    assert path.read_text() == text


def test_the_terminal_shows_rates_takes_back_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(review, "load", lambda course, number, tell: DATA)
    file = tmp_path / "p.json"
    done = CliRunner().invoke(app, ["review", "V1-13", "--file", str(file)], input="\n3\n\n9\n1\nu\nq\n")
    assert done.exit_code == 0, done.output
    assert "Front 0" in done.output and "$x_0$ < `y`" in done.output and "3 Good (1 day)" in done.output
    assert "Type 1, 2, 3, 4, u or q." in done.output and "The last rating is taken back." in done.output and "1 reviewed" in done.output
    assert list(progress.read(file)["reviews"]) == ["V1-13/c0"]
    monkeypatch.setattr("builtins.input", lambda prompt: (_ for _ in ()).throw(KeyboardInterrupt))
    assert CliRunner().invoke(app, ["review", "V1-13", "--file", str(file)]).exit_code == 0
    assert list(progress.read(file)["reviews"]) == ["V1-13/c0"], "Ctrl-C keeps what was rated"


def test_the_panel_turns_and_rates_cards_of_the_same_file(tmp_path, monkeypatch):
    from mlsysbook.companion import panel

    monkeypatch.setattr(review, "load", lambda course, number: DATA)
    file = tmp_path / "p.json"
    box = panel("V1-13", file=file)
    _, count, face, turn, behind, row, (back, _), told = (*box.children[:6], box.children[6].children, box.children[7])
    assert face.value == "Front 0" and count.value == "0 due, 10 new today" and row.layout.display == "none"
    turn.click()
    assert r"\(x_0\)" in behind.value and [b.description for b in row.children][2] == "Good: 1 day"
    row.children[2].click()
    assert face.value == "Front 1" and progress.read(file)["reviews"]["V1-13/c0"][0]["rating"] == 3
    back.click()
    assert face.value == "Front 0" and progress.read(file)["reviews"] == {} and "taken back" in told.value
