"""explore without a browser: what it says, what it refuses, how long a redraw takes, and that importing it is light."""

import subprocess
import sys
import warnings

import matplotlib
import numpy as np
import pytest

from mlsysbook import explore, pick, slider
from mlsysbook.labs.explore import SettingError, widget
from mlsysim import mmc


def queue(load, servers, unused=0):
    return mmc(load * servers / 0.02, 0.02, servers)


def curve(axes, result, settings):
    t = np.linspace(0, 0.4, 60)
    axes.semilogy(t, result.exceeds(t))
    axes.set(xlabel="time in the system (s)", ylabel="share of requests", title=f"{settings['servers']} servers")


CONTROLS = {"load": slider(0.1, 0.95, start=0.5, unit="%"), "servers": slider(1, 64, start=4, log=True)}


@pytest.fixture
def wall():
    return explore(queue, CONTROLS, draw=curve, say=lambda q, s: f"p99 is {1e3 * q.quantile(0.99):.3g} ms.")


def test_it_says_its_sentence_and_how_to_ask(wall):
    assert repr(wall).splitlines() == [
        f"At load 50 %, servers 4: p99 is {1e3 * queue(0.5, 4).quantile(0.99):.3g} ms.",
        "Controls: load: 10 % to 95 %; servers: 1 to 64. For other settings ask with .at(load=0.929)"]
    assert wall.at(servers=1).result.seconds == pytest.approx(0.04) and wall.at(load="80 %").settings == {"load": 0.8, "servers": 4}


def test_a_result_without_a_sentence_names_its_numbers():
    text = repr(explore(queue, CONTROLS).at(servers=1))
    assert text.startswith("At load 50 %, servers 1: seconds 40 ms") and "utilization 0.5" in text
    assert repr(explore(lambda n: {"two_n": 2 * n}, {"n": slider(1, 3, start=1)}).at()) == "At n 1: two n 2"
    assert repr(explore(lambda n: n / 2, {"n": slider(1, 3, start=1)}).at()) == "At n 1: result 0.5"


@pytest.mark.parametrize(("use", "says"), [
    (lambda e: e.at(laod=1), "no control laod; there are load, servers; did you mean load?"), (lambda e: e.at(load=2), "got 200 %; wants 10 % to 95 %"),
    (lambda e: e.at(servers=2.5), "wants a whole number"), (lambda e: e.at(servers=True), "got a bool"), (lambda e: e.at(load="2 GB"), "load: "),
    (lambda e: e.at(load=float("nan")), "wants 10 % to 95 %"), (lambda e: pick("h100", "a100").read("device", "h10"), "did you mean h100?"),
    (lambda e: slider(5, 1, start=2), "wants low <= start <= high"), (lambda e: slider(0, 1, start=1, log=True), "low > 0 for log"),
    (lambda e: pick("one"), "two values or more"), (lambda e: explore(queue, {}), "wants a control"), (lambda e: explore(queue, {"n": 3}), "n is a int"),
])
def test_a_setting_that_cannot_be_is_one_line(wall, use, says):
    with pytest.raises(SettingError) as error:
        use(wall)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_slider_stops_at_its_ends_at_its_start_and_evenly_between():
    values = slider(1, 1024, start=8, log=True).values
    assert {1, 8, 1024} <= set(values) and all(type(v) is int for v in values) and len(values) <= 42
    values = slider(0.1, 0.95, start=0.5).values
    assert values == tuple(sorted(values)) and np.ptp(np.diff([v for v in values if v != 0.5])) < 0.03


def test_a_control_that_changes_nothing_is_named(wall):
    assert wall.idle() == []
    assert explore(queue, CONTROLS | {"unused": slider(0, 3, start=0)}).idle() == ["unused"]
    rows = explore(lambda row: (1, 4, 9), {"row": slider(0, 2, start=0)}, say=lambda result, s: f"row {s['row']} holds {result[s['row']]}")
    assert rows.idle() == []            # where to look in one result
    assert [name for name, _ in wall.corners()] == ["load", "load", "servers", "servers"]


def test_moving_a_control_changes_the_picture_and_its_text(wall):
    box = widget(wall, wall.at(), wall.png(wall.at()))
    load, servers, page = box.children
    before = page.value
    assert load.description == "load" and before.count("p99 is") == 2 and 'role="status" aria-live="polite"' in before
    load.value = 0.95
    assert page.value != before and page.value.split('"')[5] != before.split('"')[5]
    assert "At load 95 %" in page.value.split('"')[1]


def test_an_error_of_the_students_function_is_said_in_the_panel():
    def broken(n):
        if n > 1:
            raise NotImplementedError("<not yet>")
        return n

    box = widget(made := explore(broken, {"n": slider(1, 3, start=1)}), made.at(), None)
    box.children[0].value = 3
    assert "NotImplementedError: &lt;not yet&gt;" in box.children[1].value


def test_a_figure_is_used_again_and_holds_nothing_of_the_last_one(wall):
    first = wall.png(wall.at())
    figure = wall._figure
    other = wall.png(wall.at(load=0.9))
    assert wall._figure is figure and other != first and wall.png(wall.at()) == first


@pytest.mark.parametrize("said", ["figure.constrained_layout.use", "figure.autolayout"])
def test_margins_are_the_same_whatever_layout_matplotlib_is_told_to_use(wall, said):
    plain = wall.png(wall.at())
    told = explore(queue, CONTROLS, draw=curve)
    with matplotlib.rc_context({said: True}), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert told.png(told.at()) == wall.png(wall.at()) == plain


def test_without_a_kernel_it_is_text_and_a_picture(wall):
    assert set(wall._repr_mimebundle_()) == {"text/plain", "image/png"}
    assert set(wall.at()._repr_mimebundle_()) == {"text/plain", "text/html", "image/png"}


def test_importing_the_student_side_is_light():
    code = ("import sys; from mlsysbook import decision, explore, ledger, measure, pick, scenario, slider; "
            "explore(lambda n: n, {'n': slider(1, 3, start=1)}).at(); print(sorted({'ipywidgets', 'matplotlib', 'IPython'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
