"""The panel without a browser: what counts as an answer, what is kept, the form as text. In JupyterLab: tests/e2e/test_panel.py."""

import os
import subprocess
import sys
import time

import pytest

from staffml import load, mock, panel, widgets
from staffml.practice import Practice
from staffml.taxonomy import AREAS, LEVELS, TRACKS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "practice.sqlite"


@pytest.fixture
def shown(path, monkeypatch):
    choose = widgets.chosen
    only = {("power", "L3", "tiny"): [load("power/duty_cycle")]}        # whatever else is of that kind
    monkeypatch.setattr(widgets, "chosen", lambda *choice: only.get(choice) or choose(*choice))
    made = panel(text=False, path=path)
    yield made
    made._rest()                                        # ends the clock's thread


def begin(made, what, **choices):
    for name, value in choices.items():
        made._filters[name].value = value
    made._buttons[what].click()


def enter(made, text):
    """What the kernel receives when somebody types and presses Enter: first the key, then the text."""
    made._line._handle_custom_msg({"event": "submit"}, [])
    made._line.value = text


def attempts(path):
    with Practice(path) as practice:
        return practice.attempts()


def test_a_drill_is_asked_and_kept_with_confidence(shown, path):
    begin(shown, "drill", area="power", level="L3", track="tiny", count=1)
    assert "Battery life of a duty cycle" in shown._now.value and shown._buttons["drill"].disabled and not attempts(path)
    enter(shown, "soon")
    assert "does not start with a finite number" in shown._now.value
    enter(shown, "1 J")
    assert shown._line.description.startswith("how sure")
    enter(shown, "70")
    shown._pass.click()
    shown._pass.click()
    assert "to be asked again" in shown._now.value and "wanted" in shown._now.value and not shown._buttons["drill"].disabled
    (attempt,) = attempts(path)
    assert [(a["text"], a["confidence"]) for a in attempt["answers"]] == [("1 J", 0.7), ("", None), ("", None)]


def test_leaving_the_line_sends_nothing_and_the_button_sends_what_is_there(shown, path):
    begin(shown, "drill", area="power", level="L3", track="tiny", count=1)
    number = shown._number
    shown._line.value = "1 J"                           # the browser tells the text when another thing gets the focus
    assert shown._number == number
    shown._line._handle_custom_msg({"event": "submit"}, [])         # Enter, and no other text follows
    assert shown._number == number
    shown._send.click()
    assert shown._number == number + 1 and shown._line.value == ""
    shown._send.click()                                 # nothing written: nothing passed by mistake
    assert shown._number == number + 1


def test_text_that_looks_like_html_is_shown_as_text(shown):
    begin(shown, "drill", area="power", level="L3", track="tiny", count=1)
    enter(shown, "<b>x</b>")
    assert "&lt;b&gt;x" in shown._before.value + shown._now.value and "<b>" not in shown._before.value + shown._now.value


def test_a_choice_without_templates_is_one_line_and_the_panel_goes_on(shown):
    from staffml.session import every

    there = {(t.area, t.level, t.track) for t in every()}
    area, level, track = next((a, x, t) for a in AREAS for x in LEVELS for t in TRACKS if (a, x, t) not in there)
    for what in ("drill", "mock"):
        begin(shown, what, area=area, level=level, track=track)
        assert f"no template is of {area}, {level}, {track}" in shown._now.value and not shown._buttons[what].disabled
    begin(shown, "review")
    assert "nothing is due" in shown._now.value
    begin(shown, "progress")
    assert "no attempts yet" in shown._now.value and "<img" not in shown._now.value


def test_a_mock_interview_passes_by_itself_when_the_time_is_over(shown, path, monkeypatch):
    monkeypatch.setattr(mock, "LIMIT", 0.0015)          # of its 10 minutes
    begin(shown, "mock", area="power", level="L3", track="tiny")
    assert "min; feedback comes at the end" in shown._now.value
    for _ in range(600):
        if not shown._buttons["mock"].disabled:
            break
        time.sleep(0.1)
    assert "ability: " in shown._now.value and "time over" in shown._now.value
    with Practice(path) as practice:
        (it,) = practice.mocks()[0]["items"]
    assert it["typed"] == [None] and it["attempt"]["share"] == 0


def test_when_nobody_is_there_the_next_item_waits(shown, path, monkeypatch):
    monkeypatch.setattr(mock, "LIMIT", 0.0015)
    begin(shown, "mock")
    for _ in range(600):
        if not shown._buttons["mock"].disabled:
            break
        time.sleep(0.1)
    assert "nothing is lost" in shown._now.value
    time.sleep(1.2)
    with Practice(path) as practice:
        assert [i["typed"] for i in practice.mock()["items"]] == [[None], []]


def test_stop_leaves_a_mock_interview_to_go_on_with_and_a_drill_unkept(shown, path):
    begin(shown, "mock", area="power")
    shown._stop.click()
    assert "nothing is lost" in shown._now.value
    begin(shown, "mock", area="memory")
    assert "goes on" in shown._now.value and "power" in shown._now.value
    shown._stop.click()
    begin(shown, "drill")
    shown._stop.click()
    assert "this item is not kept" in shown._now.value and attempts(path) == []


def test_progress_has_a_picture_that_is_described(shown, path):
    begin(shown, "drill", area="power", level="L3", track="tiny", count=1)
    for _ in range(3):
        shown._pass.click()
    begin(shown, "progress")
    assert 'alt="Points by area: power 0 % of 1 item. Calibration' in shown._now.value and "data:image/png;base64," in shown._now.value


@pytest.mark.parametrize("hide", [False, True])
def test_without_widgets_the_same_choices_are_asked_as_text(tmp_path, hide):
    code = f"import sys; sys.modules.update({{'ipywidgets': None}} if {hide} else {{}}); from staffml import panel; panel()"
    done = subprocess.run([sys.executable, "-c", code], input="fly\nprogress\ndrill\nq\nmock\nq\nreview\n", capture_output=True, text=True,
                          env=os.environ | {"STAFFML_DATA": str(tmp_path)}, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("got 'fly'; wants one of them", "no attempts yet", "1 of 3", "this item is not kept", "left for this item", "nothing is due"):
        assert text in done.stdout


def test_a_damaged_file_is_said_and_the_buttons_stay_of_use(shown, path):
    path.write_text("no database")
    for what in ("progress", "review", "drill", "mock"):
        begin(shown, what)
        assert "file is not a database" in shown._now.value and not any(b.disabled for b in shown._buttons.values())
    path.unlink()
    begin(shown, "progress")
    assert "no attempts yet" in shown._now.value
