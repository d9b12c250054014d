"""computation_graph: the panel shows what backward computes, and leaves the graph as it was."""

import re

import numpy as np
import pytest

import tinytorch as tt
import tinytorch.autograd  # noqa: F401  (from here on operations are recorded)
from mlsysbook.labs.explore import SettingError
from mlsysbook.labs.graph import ALL, computation_graph


def number(value):
    return tt.Tensor(value, "float64", requires_grad=True)


@pytest.fixture
def worked():
    a, b, c = number(2.0), number(3.0), number(4.0)
    return {"a": a, "b": b, "c": c}, (a * b + c) * b


def shown(panel, **settings):
    return {name: float(np.ravel(g)[0]) for name, g in panel.at(**settings).result["gradients"].items()}


def test_gradients_are_those_of_backward(worked):
    leaves, y = worked
    panel = computation_graph(y, leaves)
    y.backward()                                # afterwards the graph is released, the panel still stands
    end = shown(panel)
    assert {name: end[name] for name in leaves} == {name: leaf.grad.item() for name, leaf in leaves.items()} == {"a": 9, "b": 16, "c": 3}


def test_a_sum_grows_step_by_step(worked):
    panel = computation_graph(worked[1], worked[0])
    assert shown(panel, walked=0) == {"Mul 2": 1}
    assert shown(panel, walked=1) == {"Mul 2": 1, "Add": 3, "b": 10}        # by hand: b gets ab + c = 10 here, and 3 * 2 at the end
    assert "b 10" in str(panel.at(walked=1)) and "b 16" in str(panel.at(walked=3))
    assert panel.idle() == []


def test_the_graph_stays_as_it_was(worked):
    leaves, y = worked
    calls = []
    leaves["b"].register_hook(calls.append)
    (hooked := leaves["a"] * 2.0).register_hook(calls.append)
    hooked.retain_grad()
    z = y + hooked
    panel = computation_graph(z, leaves)
    panel.png(panel.at())
    assert not calls and hooked.grad is None and all(leaf.grad is None for leaf in leaves.values())
    z.backward()
    assert len(calls) == 2 and hooked.grad.item() == 1 and leaves["a"].grad.item() == 11


def test_a_network_with_shapes_that_broadcast():
    rng = np.random.default_rng(0)
    model = tt.Sequential(tt.Linear(4, 8, rng=rng), tt.ReLU(), tt.Linear(8, 3, rng=rng))
    x = tt.Tensor(rng.normal(size=(5, 4)), "float32")
    loss = tt.cross_entropy(model(x), tt.Tensor([0, 1, 2, 0, 1]))
    named = dict(model.named_parameters())
    panel = computation_graph(loss, named)
    loss.backward()
    for name, parameter in named.items():
        np.testing.assert_array_equal(panel.at().result["gradients"][name], parameter.grad.numpy())
    assert re.search(r"0\.weight \|g\| [\d.]+ \(8, 4\)", str(panel))


def test_zoom_shows_less_and_a_place_is_found(worked):
    panel = computation_graph(worked[1], worked[0])
    whole, near = panel.at().result, panel.at(zoom=4.0, look_at="Add").result
    assert whole["in view"] == 6 and near["in view"] < 6
    left, right, bottom, top = near["frame"]
    assert right - left == pytest.approx((whole["frame"][1] - whole["frame"][0]) / 4)
    assert panel.controls["look_at"].values[0] == ALL
    assert panel.png(panel.at(zoom=4.0, look_at="Add")) != panel.png(panel.at())


def test_what_has_no_graph_is_refused(worked):
    with pytest.raises(SettingError, match="has no graph; wants"):
        computation_graph(number(1.0))
    worked[1].backward()
    with pytest.raises(SettingError, match="released by backward"):
        computation_graph(worked[1])
    long = number(1.0)
    for _ in range(401):
        long = long * 1.0
    with pytest.raises(SettingError, match="401 operations; a picture can show 400"):
        computation_graph(long)
