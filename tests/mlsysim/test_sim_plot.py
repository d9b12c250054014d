"""Figures draw what the numbers say, and their texts say it too."""

import matplotlib
import numpy as np
import pytest
from pytest import approx

from mlsysim import model, plot, solve
from mlsysim.devices import device
from mlsysim.errors import SimError
from mlsysim.serving import serve
from mlsysim.training import Memory, Term, total

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _closed():
    yield
    matplotlib.pyplot.close("all")


def test_the_roof_bends_where_the_text_says_and_points_lie_on_it():
    d = device("a100")
    g = model("llama-3.1-8b").graph(batch=1, tokens=1, context=2048)
    ax = plot.roofline(d, g)
    ridge = d.rate("fp16") / d.bandwidth.value
    assert f"{ridge:.3g} FLOP/B" in ax.alt and "memory" in ax.alt
    roof, *points = ax.lines
    x, y = roof.get_data()
    assert y.max() == d.rate("fp16") and y[x < ridge] == approx(x[x < ridge] * d.bandwidth.value)
    for line in points:
        (px,), (py,) = line.get_data()
        assert py == approx(min(d.rate("fp16"), px * d.bandwidth.value))
    with pytest.raises(SimError, match="one workload"):
        plot.roofline(d, model("llama-3.1-8b").graph(batch=np.arange(1, 4)))


def test_the_waterfall_ends_at_the_total():
    s = solve("llama-3.1-8b", "a100", tokens=1, context=100)
    ax = plot.waterfall(s)
    ends = [b.get_x() + b.get_width() for b in ax.patches]
    assert max(ends) == approx(s.seconds) and "feed-forward in" in ax.alt
    with pytest.raises(SimError, match="index"):
        plot.waterfall(solve("llama-3.1-8b", "a100", batch=np.arange(1, 3)))


def test_a_timeline_has_a_bar_for_every_span():
    ax = plot.timeline([(0, 0.0, 1.0, "forward"), (1, 1.0, 2.0, "forward"), (0, 2.0, 4.0, "backward")])
    assert len(ax.patches) == 3 and "2 rows" in ax.alt and "50%" in ax.alt
    with pytest.raises(SimError, match="no spans"):
        plot.timeline([])


def test_latency_is_drawn_over_throughput():
    s = serve("llama-3.1-8b", "a100", batch=np.array([1, 4, 16]))
    x, y = plot.latency_throughput(s).lines[0].get_data()
    assert x == approx(s.rate) and y == approx(1e3 * s.tpot)
    with pytest.raises(SimError, match="array"):
        plot.latency_throughput(serve("llama-3.1-8b", "a100"))


def test_memory_stacks_up_to_the_sum_and_says_what_fits():
    def memory(weights):
        parts = [Term("weights", weights, "B"), Term("activations", 3e9, "B")]
        return Memory(memory=weights + 3e9, weights=weights, gradients=0.0, optimizer=0.0, activations=3e9,
                      grow=lambda: total("memory", parts, "B"))  # fmt: skip

    ax = plot.memory_stack([memory(1e9), memory(9e9)], ["small", "large"], capacity=10e9)
    assert max(p.get_y() + p.get_height() for p in ax.patches) == approx(12.0) and "1 of 2 fit 10 GB" in ax.alt


def test_the_front_is_what_no_point_beats():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 60))
    best = plot.front(x, y)
    for i in range(60):
        beats = [j for j in range(60) if x[j] <= x[i] and y[j] >= y[i] and (x[j] < x[i] or y[j] > y[i])]
        assert best[i] == (not beats)
    assert f"{best.sum()} on the front" in plot.pareto(x, y).alt


def test_a_tornado_puts_the_widest_on_top_and_takes_elasticities():
    ax = plot.tornado({"link": (-1, 2), "peak": (-30, 10)})
    assert [t.get_text() for t in ax.get_yticklabels()] == ["peak", "link"]
    assert "memory bandwidth" in plot.tornado(solve("llama-3.1-8b", "a100").why().elasticities, xlabel="elasticity").alt
