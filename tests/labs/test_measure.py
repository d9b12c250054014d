"""Points of this machine: how often it runs, what it keeps, and where it does not run at all."""

import pytest
from matplotlib.figure import Figure

from mlsysbook import ledger, measure
from mlsysbook.labs.measure import MeasureError


def test_each_point_runs_once_to_warm_up_and_then_in_turn(desk):
    calls = []
    points = measure("spin", calls.append, at=(1, 2, 0.5), repeat=3, model=lambda x: 1e-9)
    assert calls == [1, 2, 0.5] * 4 and points.x == (1, 2, 0.5) and len(points.seconds) == 3 and min(points.seconds) > 0
    assert ledger().get("measure/spin")["x"] == [1, 2, 0.5]
    assert str(points).startswith("spin, measured here (") and "median of 3" in str(points) and "times the model: 1: " in str(points)
    axes = points.on(Figure().add_subplot(), scale=1e3)
    assert [list(line.get_ydata()) for line in axes.lines] == [[1e3 * s for s in points.seconds]]


@pytest.mark.parametrize(("name", "value"), [("MLSYS_BOX", "1"), ("MLSYS_MEASURE", "0")])
def test_where_it_may_not_it_measures_nothing_and_says_so(desk, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    points = measure("spin", lambda x: pytest.fail("it ran"), at=(1, 2))
    assert str(points) == "spin: not measured here" and not points.on(Figure().add_subplot()).lines


def test_a_run_that_takes_too_long_is_cut_short(desk, monkeypatch):
    monkeypatch.setattr("mlsysbook.labs.measure.MOST_SECONDS", 0.0)
    calls = []
    points = measure("slow", calls.append, at=(1, 2, 3), repeat=1000)
    assert len(calls) == 1 and points.x == () and "not measured" in str(points)


@pytest.mark.parametrize("arguments", [{"at": ()}, {"at": (1,), "repeat": 0}])
def test_what_cannot_be_measured_is_one_line(desk, arguments):
    with pytest.raises(MeasureError, match="wants measure"):
        measure("spin", print, **arguments)
