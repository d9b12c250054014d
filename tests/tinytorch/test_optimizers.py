"""The exported optimizers: closed forms on bowls, exact resumption, memory, strides and dtypes, errors that name the culprit."""

import copy
import gc
import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinytorch.autograd  # noqa: F401  (parameters are leaves that require a gradient)
from tinytorch import (
    SGD,
    Adam,
    AdamW,
    CosineWithWarmup,
    DTypeError,
    OneCycleLR,
    Optimizer,
    OverlapError,
    RMSProp,
    ShapeError,
    StepLR,
    Storage,
    Tensor,
    clip_grad_norm_,
    clip_grad_value_,
)
from tinytorch.optimizers import Scheduler, adam_rule, in_blocks, rmsprop_rule, velocity

OPTIMIZERS = {
    "sgd": lambda p: SGD(p, 0.1),
    "momentum": lambda p: SGD(p, 0.1, momentum=0.9, dampening=0.1),
    "nesterov": lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "rmsprop": lambda p: RMSProp(p, 0.1),
    "rmsprop-full": lambda p: RMSProp(p, 0.1, momentum=0.9, centered=True, eps=1e-3, weight_decay=0.1),
    "adam": lambda p: Adam(p, 0.1, weight_decay=0.1),
    "adamw": lambda p: AdamW(p, 0.1),
}
every = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
SLOTS = {"sgd": 0, "momentum": 1, "nesterov": 1, "rmsprop": 1, "rmsprop-full": 3, "adam": 2, "adamw": 2}
FLOATS = ("float16", "float32", "float64")
finite = st.floats(-100, 100, allow_subnormal=False)


def leaf(values, grad=None, dtype="float64"):
    p = Tensor(np.asarray(values, dtype), requires_grad=True)
    p.grad = None if grad is None else Tensor(np.asarray(grad, dtype))
    return p


def steps(optimizer, params, gradients):
    """One step for each entry of gradients, itself a list with one for each parameter."""
    for grads in gradients:
        for p, grad in zip(params, grads, strict=True):
            p.grad = None if grad is None else Tensor(np.asarray(grad, p.dtype))
        optimizer.step()


def some_gradients(rng, count, shapes):
    return [[rng.normal(size=shape) for shape in shapes] for _ in range(count)]


# Rules, in closed form


@given(st.floats(0.01, 1), st.floats(0.01, 1.99), st.integers(1, 30))
def test_gradient_descent_on_a_bowl_shrinks_by_one_minus_lr_times_curvature(curvature, share, count):
    lr = share / curvature
    p = leaf([1.0])
    for _ in range(count):
        p.grad = Tensor(curvature * p.numpy())
        SGD([p], lr).step()
    assert p.item() == pytest.approx((1 - share) ** count, rel=1e-9, abs=1e-12)


@given(st.floats(0.1, 0.95), st.floats(0, 0.9), st.integers(1, 60))
def test_velocity_under_a_steady_gradient_is_a_geometric_sum(momentum, dampening, count):
    v = None
    for _ in range(count):
        v = velocity(v, np.ones(1), momentum, dampening)
    later = (1 - dampening) * (1 - momentum ** (count - 1)) / (1 - momentum)
    assert v[0] == pytest.approx(momentum ** (count - 1) + later, rel=1e-9)


def test_the_best_heavy_ball_needs_about_the_root_of_the_steps():
    """Polyak 1964: on curvatures 1 and 400 the factors are 19/21 against 399/401 a step."""
    curvature = np.array([1.0, 400.0])
    root = np.sqrt(curvature)
    counts = []
    for lr, momentum in ((2 / curvature.sum(), 0.0), (4 / root.sum() ** 2, ((root[1] - root[0]) / root.sum()) ** 2)):
        p = leaf(np.ones(2))
        optimizer, far = SGD([p], lr, momentum=momentum), 0
        for step in range(1, 3000):
            p.grad = Tensor(curvature * p.numpy())
            optimizer.step()
            far = step if np.abs(p.numpy()).max() > 1e-6 else far
        counts.append(far)
    assert counts[0] == pytest.approx(math.log(1e6) / math.log(401 / 399), rel=0.01)
    assert counts[1] < counts[0] / 10


@given(hnp.arrays("float64", 4, elements=st.floats(1e-3, 1e6)), st.floats(1e-4, 1))
def test_the_first_step_of_adam_has_the_length_lr_whatever_the_gradient(size, lr):
    signs = np.array([1, -1, 1, -1])
    p = leaf(np.zeros(4), signs * size)
    Adam([p], lr).step()
    np.testing.assert_allclose(p.numpy(), -lr * signs, rtol=2e-5)


@given(st.floats(0.5, 0.99), st.floats(0.5, 0.999), st.integers(1, 40))
def test_adam_under_a_steady_gradient_moves_by_lr_in_every_step(beta1, beta2, count):
    """Both corrected averages of a constant are that constant."""
    x, m, v = np.zeros(1), np.zeros(1), np.zeros(1)
    for step in range(1, count + 1):
        x, m, v = adam_rule(x, np.full(1, 3.0), m, v, step, lr=0.1, betas=(beta1, beta2), eps=0.0)
    assert x[0] == pytest.approx(-0.1 * count, rel=1e-6)


def test_corrected_averages_are_weighted_means():
    rng = np.random.default_rng(0)
    grads, beta1, beta2 = rng.normal(size=12), 0.7, 0.9
    x, m, v = np.zeros(1), np.zeros(1), np.zeros(1)
    for step, grad in enumerate(grads, 1):
        before = x
        x, m, v = adam_rule(x, np.full(1, grad), m, v, step, lr=1.0, betas=(beta1, beta2), eps=1e-8)
        seen = grads[:step]
        means = [np.average(values, weights=beta ** np.arange(step)[::-1]) for values, beta in ((seen, beta1), (seen**2, beta2))]
        assert (before - x)[0] == pytest.approx(means[0] / (math.sqrt(means[1]) + 1e-8), rel=1e-9)


def test_decoupled_decay_shrinks_all_weights_alike_and_coupled_decay_does_not():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(5000, 2)) * [10, 0.01]
    noise -= noise.mean(0)
    left = {}
    for make in (Adam, AdamW):
        p = leaf([2.0, 2.0])
        optimizer = make([p], 0.001, weight_decay=0.5)
        steps(optimizer, [p], [[grad] for grad in noise])
        left[make] = p.numpy()
    shrunk = 2 * (1 - 0.001 * 0.5) ** 5000
    np.testing.assert_allclose(left[AdamW], shrunk, atol=0.1)
    assert left[Adam][0] > 1.3 and abs(left[Adam][1]) < 0.05


def test_a_centered_variance_never_becomes_nan():
    tried = np.random.default_rng(2).uniform(0.1, 9, 1000)
    x, square, mean = np.zeros(1000), np.zeros(1000), np.zeros(1000)
    for _ in range(300):
        x, square, mean, _ = rmsprop_rule(x, tried, square, mean, None, lr=1e-9, alpha=0.5, eps=1e-8)
    assert np.isfinite(x).all()


# Steps


@every
@given(data=st.data())
@settings(max_examples=15)
def test_any_strides_give_the_same_numbers(make, data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=4))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    start, grads = rng.normal(size=shape), some_gradients(rng, 3, [shape])
    whole = leaf(start)
    base = np.zeros((*reversed(shape), 2))
    base[..., 0] = start.T
    strided = Tensor(base)[..., 0].T
    strided.requires_grad, strided.grad_fn = True, None
    for p in (whole, strided):
        steps(make([p]), [p], grads)
    np.testing.assert_array_equal(strided.numpy(), whole.numpy())
    hole = Tensor.from_storage(strided.storage, strided.layout._replace(offset=1))
    assert not hole.numpy().any()           # what lies between the elements was left alone


@every
def test_gradients_on_other_strides_are_read_right(make):
    rng = np.random.default_rng(3)
    p, q = leaf(np.ones((3, 4))), leaf(np.ones((3, 4)))
    grad = rng.normal(size=(4, 3))
    p.grad, q.grad = Tensor(grad).T, Tensor(grad.T.copy())
    make([p]).step()
    make([q]).step()
    np.testing.assert_array_equal(p.numpy(), q.numpy())


@every
def test_blocks_change_nothing(make, monkeypatch):
    rng = np.random.default_rng(4)
    start, grads = rng.normal(size=1003), some_gradients(rng, 4, [1003])
    p = leaf(start)
    steps(make([p]), [p], grads)
    q = leaf(start)
    monkeypatch.setattr("tinytorch.optimizers.in_blocks", lambda rule, arrays: in_blocks(rule, arrays, 100))
    steps(make([q]), [q], grads)
    np.testing.assert_array_equal(q.numpy(), p.numpy())


@every
def test_no_elements_no_axes(make):
    empty, scalar = leaf(np.zeros((0, 3)), np.zeros((0, 3))), leaf(1.0, 2.0)
    make([empty, scalar]).step()
    assert empty.shape == (0, 3) and scalar.shape == () and scalar.item() < 1


@every
def test_a_parameter_without_gradient_is_skipped_and_its_steps_do_not_count(make):
    rng = np.random.default_rng(5)
    grads = some_gradients(rng, 6, [(3,)])
    p, late = leaf(np.ones(3)), leaf(np.ones(3))
    optimizer = make([p, late])
    steps(optimizer, [p, late], [[grad, None] for (grad,) in grads[:3]])
    np.testing.assert_array_equal(late.numpy(), 1)
    assert late not in optimizer.state
    steps(optimizer, [p, late], [[None, grad] for (grad,) in grads[:3]])
    np.testing.assert_array_equal(late.numpy(), p.numpy())
    assert optimizer.state[p]["step"] == optimizer.state[late]["step"] == 3


@every
def test_an_update_is_in_place_and_counted_as_a_write(make):
    p = leaf(np.ones(3), np.ones(3))
    memory, version, grad = p.numpy(), p.storage.version, p.grad
    make([p]).step()
    assert np.shares_memory(memory, p.numpy()) and (memory != 1).all()
    assert p.storage.version == version + 1
    assert p.grad is grad and grad.tolist() == [1, 1, 1] and p.is_leaf and p.requires_grad


@every
@pytest.mark.parametrize("dtype", FLOATS)
def test_state_has_the_dtype_of_the_parameter(make, dtype):
    p = leaf(np.ones((2, 3)), np.ones((2, 3)), dtype)
    optimizer = make([p])
    optimizer.step()
    kept = [v for v in optimizer.state[p].values() if isinstance(v, Tensor)]
    assert p.dtype == dtype and all(t.dtype == dtype and t.shape == p.shape for t in kept)


def test_float16_is_computed_in_float32_and_rounded_once():
    rng = np.random.default_rng(6)
    start, grad = rng.normal(size=50).astype("float16"), rng.normal(size=50).astype("float16")
    half, single = leaf(start, grad, "float16"), leaf(start, grad, "float32")
    for p in (half, single):
        Adam([p], 0.01).step()
    np.testing.assert_array_equal(half.numpy(), single.numpy().astype("float16"))
    zero = leaf([1.0], [0.0], "float16")
    Adam([zero]).step()                     # in float16 eps is 0 and 0 / 0 would be NaN
    assert zero.item() == 1.0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_takes_as_many_copies_of_the_parameter_as_there_are_slots(name):
    p = leaf(np.ones(1000), np.ones(1000), "float32")
    optimizer = OPTIMIZERS[name]([p])
    gc.collect()
    before = Storage.live_bytes
    optimizer.step()
    optimizer.step()
    assert Storage.live_bytes - before == SLOTS[name] * p.nbytes


@every
def test_a_step_allocates_little_beside_the_parameter(make):
    p = leaf(np.ones(500_000), np.ones(500_000), "float32")
    optimizer = make([p])
    optimizer.step()
    Storage.peak_bytes = held = Storage.live_bytes
    tracemalloc.start()
    optimizer.step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < p.nbytes and Storage.peak_bytes == held


def test_nan_reaches_only_its_own_element():
    p = leaf([1.0, 1.0], [math.nan, 1.0])
    Adam([p]).step()
    assert math.isnan(p.numpy()[0]) and math.isfinite(p.numpy()[1])


def test_zero_grad_forgets_all_gradients():
    p, q = leaf([1.0], [1.0]), leaf([1.0])
    SGD([p, q], 0.1).zero_grad()
    assert p.grad is None and q.grad is None


def test_a_rule_of_ones_own_needs_two_methods():
    class SignDescent(Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr, "weight_decay": 0.0})

        def rule(self, x, grad, slots, step, group):
            return (x - group["lr"] * np.sign(grad),)

    p = leaf([1.0, 1.0], [5.0, -0.1])
    SignDescent([p], 0.25).step()
    assert p.tolist() == [0.75, 1.25]
    with pytest.raises(NotImplementedError, match="Optimizer has no rule"):
        Optimizer([p], {"lr": 0.1, "weight_decay": 0.0}).step()


# Groups


def test_groups_have_their_own_hyperparameters():
    p, q = leaf([1.0], [1.0]), leaf([1.0], [1.0])
    optimizer = SGD([{"params": [p]}, {"params": q, "lr": 0.5}], lr=0.1)
    optimizer.step()
    assert (p.item(), q.item()) == (0.9, 0.5)
    r = leaf([1.0], [1.0])
    optimizer.add_param_group({"params": (x for x in [r]), "lr": 0.25})
    optimizer.step()
    assert r.item() == 0.75
    assert "group 1: 1 elements in 1 tensors, lr=0.5" in repr(optimizer)


def test_parameters_with_equal_values_are_two():
    p, q = leaf([1.0]), leaf([1.0])
    assert len(SGD([p, q], 0.1).param_groups[0]["params"]) == 2


REFUSED = [
    (lambda p: SGD([], 0.1), ValueError, "empty"),
    (lambda p: SGD(iter(()), 0.1), ValueError, "empty"),
    (lambda p: SGD([{"params": []}], 0.1), ValueError, "empty"),
    (lambda p: SGD(p, 0.1), TypeError, "one Tensor"),
    (lambda p: SGD({"params": [p]}, 0.1), TypeError, "one dict"),
    (lambda p: SGD([p, np.ones(2)], 0.1), TypeError, "parameter 1 is a ndarray"),
    (lambda p: SGD([("w", p)], 0.1), TypeError, "parameter 0 is a tuple"),
    (lambda p: SGD([{"params": p}, p], 0.1), TypeError, "a parameter group is a dict, got Tensor"),
    (lambda p: SGD([Tensor([1.0])], 0.1), ValueError, "parameter 0, of shape .1,., does not require"),
    (lambda p: SGD([p * 2], 0.1), ValueError, "parameter 0.*result of an operation"),
    (lambda p: SGD([Tensor([1])], 0.1), DTypeError, "parameter 0 has dtype int64"),
    (lambda p: SGD([p, p], 0.1), ValueError, "parameter 1.*twice"),
    (lambda p: SGD([{"params": p}, {"params": p}], 0.1), ValueError, "parameter 0.*twice"),
    (lambda p: SGD([{"params": p, "momentun": 0.9}], 0.1), ValueError, "'momentun'.*nearest is 'momentum'"),
    (lambda p: SGD([p], "0.1"), TypeError, "lr is a number, got '0.1' of type str"),
    (lambda p: SGD([p], True), TypeError, "lr"),
    (lambda p: SGD([p], Tensor([0.1])), TypeError, "lr.*Tensor"),
    (lambda p: SGD([p], -0.1), ValueError, r"lr must be in \[0, inf\), got -0.1"),
    (lambda p: SGD([p], math.nan), ValueError, "lr"),
    (lambda p: SGD([p], math.inf), ValueError, "lr"),
    (lambda p: SGD([{"params": p, "lr": -1}], 0.1), ValueError, "lr"),
    (lambda p: SGD([p], 0.1, momentum=-0.1), ValueError, "momentum"),
    (lambda p: SGD([p], 0.1, weight_decay=-0.1), ValueError, "weight_decay"),
    (lambda p: SGD([p], 0.1, nesterov=True), ValueError, "nesterov wants momentum"),
    (lambda p: SGD([p], 0.1, momentum=0.9, dampening=0.1, nesterov=True), ValueError, "nesterov"),
    (lambda p: RMSProp([p], alpha=1.0), ValueError, "alpha"),
    (lambda p: RMSProp([p], eps=-1e-8), ValueError, "eps"),
    (lambda p: Adam([p], betas=(0.9, 1.0)), ValueError, r"betas\[1\] must be in \[0, 1\), got 1.0"),
    (lambda p: Adam([p], betas=(-0.1, 0.9)), ValueError, r"betas\[0\]"),
    (lambda p: Adam([p], betas=0.9), TypeError, "betas is a pair"),
    (lambda p: AdamW([p], betas=(0.9, 0.9, 0.9)), TypeError, "betas is a pair"),
    (lambda p: Adam([p], betas=("a", 0.9)), TypeError, r"betas\[0\]"),
    (lambda p: StepLR(p, 3), TypeError, "Optimizer, got Tensor"),
    (lambda p: StepLR(SGD([p], 0.1), 0), ValueError, "step_size must be at least 1, got 0"),
    (lambda p: StepLR(SGD([p], 0.1), 2.0), TypeError, "step_size"),
    (lambda p: StepLR(SGD([p], 0.1), 2, gamma=-1), ValueError, "gamma"),
    (lambda p: CosineWithWarmup(SGD([p], 0.1), 5, 5), ValueError, "total_steps must be at least 6"),
    (lambda p: CosineWithWarmup(SGD([p], 0.1), -1, 5), ValueError, "warmup_steps"),
    (lambda p: CosineWithWarmup(SGD([p], 0.1), 1, 5, min_lr=-1), ValueError, "min_lr"),
    (lambda p: OneCycleLR(SGD([p], 0.1), 1.0, 3), ValueError, "pct_start"),
    (lambda p: OneCycleLR(SGD([p], 0.1), [1.0, 2.0], 30), ValueError, "max_lr has 2 rates for 1"),
    (lambda p: OneCycleLR(SGD([p], 0.1), -1.0, 30), ValueError, "max_lr"),
    (lambda p: OneCycleLR(SGD([p], 0.1), 1.0, 30, anneal="cosine"), ValueError, "'cosine'"),
    (lambda p: OneCycleLR(SGD([p], 0.1), 1.0, 30, div_factor=0.5), ValueError, "div_factor"),
    (lambda p: clip_grad_norm_([p], -1.0), ValueError, "max_norm"),
    (lambda p: clip_grad_value_([p], math.nan), ValueError, "clip_value"),
]


@pytest.mark.parametrize("attempt, error, message", REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused_says_why(attempt, error, message):
    with pytest.raises(error, match=message) as caught:
        attempt(leaf([1.0]))
    assert "\n" not in str(caught.value)


@every
def test_a_gradient_of_another_shape_changes_nothing(make):
    p, q = leaf([1.0], [1.0]), leaf([1.0])
    q.grad = Tensor(np.ones(2))
    with pytest.raises(ShapeError, match=r"\(2,\).*\(1,\)"):
        make([p, q]).step()
    assert p.item() == 1.0


def test_a_parameter_whose_elements_share_a_place_is_refused():
    p = Tensor(np.ones(1)).expand(3)
    p.requires_grad, p.grad_fn, p.grad = True, None, Tensor(np.ones(3))
    with pytest.raises(OverlapError, match="share a place"):
        SGD([p], 0.1).step()


# State


@every
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_resumed_run_is_the_same_run(make, dtype):
    rng = np.random.default_rng(7)
    shapes = [(3, 2), (4,), (0,)]
    grads = some_gradients(rng, 10, shapes)

    def fresh():
        return [leaf(np.full(shape, 0.5), dtype=dtype) for shape in shapes]

    straight = fresh()
    steps(make([{"params": straight[:1]}, {"params": straight[1:], "lr": 0.01}]), straight, grads)
    first = fresh()
    optimizer = make([{"params": first[:1]}, {"params": first[1:], "lr": 0.01}])
    steps(optimizer, first, grads[:4])
    saved = copy.deepcopy(optimizer.state_dict())
    second = [leaf(p.numpy(), dtype=dtype) for p in first]
    steps(optimizer, first, grads[4:5])                  # what was saved does not see it
    resumed = make([{"params": second[:1]}, {"params": second[1:]}])
    resumed.load_state_dict(saved)
    steps(resumed, second, grads[4:])
    for p, q in zip(straight, second, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_state_is_plain_data_and_arrays():
    p, q = leaf(np.ones(2), np.ones(2)), leaf(np.ones(3))
    optimizer = AdamW([p, q], 0.01)
    optimizer.step()
    saved = optimizer.state_dict()
    assert list(saved["state"]) == [0] and saved["param_groups"][0]["params"] == [0, 1]
    assert {n: type(v) for n, v in saved["state"][0].items()} == {"step": int, "exp_avg": np.ndarray, "exp_avg_sq": np.ndarray}
    before = saved["state"][0]["exp_avg"].copy()
    optimizer.step()
    np.testing.assert_array_equal(saved["state"][0]["exp_avg"], before)
    json.dumps(saved["param_groups"])


def test_state_survives_json_whose_keys_are_text_and_whose_pairs_are_lists():
    p = leaf(np.ones(2), np.ones(2))
    optimizer = Adam([p], 0.01)
    optimizer.step()
    saved = optimizer.state_dict()
    groups = json.loads(json.dumps(saved["param_groups"]))
    other = Adam([p], 0.5)
    other.load_state_dict({"state": {str(k): v for k, v in saved["state"].items()}, "param_groups": groups})
    assert other.param_groups[0]["betas"] == (0.9, 0.999) and other.param_groups[0]["lr"] == 0.01
    assert other.state[p]["step"] == 1


MISFITS = [
    (lambda s: s["param_groups"].append({"params": []}), ValueError, "2 parameter groups.*1"),
    (lambda s: s["param_groups"][0]["params"].append(2), ValueError, "3 parameters.*2"),
    (lambda s: s["param_groups"][0].update(centered=True), ValueError, "centered"),
    (lambda s: s["param_groups"][0].pop("eps"), ValueError, "eps"),
    (lambda s: s["param_groups"][0].update(lr=-1.0), ValueError, "lr"),
    (lambda s: s["state"].update({7: {"step": 1}}), ValueError, "7"),
    (lambda s: s["state"][0].update(exp_avg=np.ones((2, 1))), ShapeError, r"exp_avg of parameter 0.*\(2, 1\).*\(2,\)"),
]


@pytest.mark.parametrize("spoil, error, message", MISFITS, ids=range(len(MISFITS)))
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(spoil, error, message):
    p, q = leaf(np.ones(2), np.ones(2)), leaf(np.ones(3))
    optimizer = Adam([p, q], 0.01)
    optimizer.step()
    saved = optimizer.state_dict()
    spoil(saved)
    groups, state = optimizer.param_groups, optimizer.state
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(saved)
    assert optimizer.param_groups is groups and optimizer.state is state and groups[0]["lr"] == 0.01


# Schedules

SCHEDULES = {
    "step": lambda o: StepLR(o, 4, 0.5),
    "cosine": lambda o: CosineWithWarmup(o, 5, 20, 0.001),
    "cycle": lambda o: OneCycleLR(o, [0.4, 0.8], 20),
    "cycle-linear": lambda o: OneCycleLR(o, 0.4, 20, pct_start=0.37, anneal="linear"),
}
each = pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)


def two_groups():
    return SGD([{"params": leaf([1.0])}, {"params": leaf([1.0]), "lr": 0.01}], 0.1)


@each
def test_the_closed_form_and_the_steps_agree(make):
    optimizer = two_groups()
    schedule = make(optimizer)
    for n in range(30):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == schedule.get_lr() == schedule.get_lr(n) and schedule.steps == n
        assert all(type(rate) is float and rate >= 0 for rate in rates)
        schedule.step()


@each
def test_a_schedule_resumes_exactly(make):
    optimizer = two_groups()
    schedule = make(optimizer)
    for _ in range(7):
        schedule.step()
    saved, kept = json.loads(json.dumps(schedule.state_dict())), optimizer.state_dict()
    again = two_groups()
    again.load_state_dict(kept)
    resumed = make(again)
    resumed.load_state_dict(saved)
    for _ in range(20):
        assert [g["lr"] for g in again.param_groups] == [g["lr"] for g in optimizer.param_groups]
        schedule.step()
        resumed.step()


@each
def test_a_schedule_made_on_a_loaded_optimizer_starts_from_the_base_rate(make):
    optimizer = two_groups()
    schedule = make(optimizer)
    wanted = schedule.get_lr(0)
    for _ in range(9):
        schedule.step()
    again = two_groups()
    again.load_state_dict(optimizer.state_dict())
    assert make(again).get_lr(0) == wanted


def test_shapes_of_the_schedules():
    cosine = CosineWithWarmup(two_groups(), 5, 25, 0.001)
    rates = [cosine.get_lr(n)[0] for n in range(40)]
    assert all(a < b for a, b in zip(rates[:5], rates[1:6], strict=True)) and max(rates) == rates[5] == 0.1
    assert all(a > b for a, b in zip(rates[5:25], rates[6:26], strict=True)) and set(rates[25:]) == {0.001}
    assert rates[0] == pytest.approx(0.1 / 6) and rates[15] == pytest.approx((0.1 + 0.001) / 2)
    cycle = OneCycleLR(two_groups(), 2.0, 100, pct_start=0.25)
    rates = [cycle.get_lr(n)[0] for n in range(110)]
    assert rates[0] == pytest.approx(0.08) and rates.index(max(rates)) == 24 and rates[24] == pytest.approx(2.0)
    assert rates[99] == rates[109] == pytest.approx(0.08 / 1e4)


def test_a_schedule_of_another_kind_or_for_other_groups_is_refused():
    optimizer = two_groups()
    schedule = StepLR(optimizer, 3)
    with pytest.raises(ValueError, match="warmup_steps"):
        schedule.load_state_dict(CosineWithWarmup(two_groups(), 1, 5).state_dict())
    optimizer.add_param_group({"params": leaf([1.0])})
    with pytest.raises(ValueError, match="3 groups.*2"):
        schedule.step()
    with pytest.raises(NotImplementedError, match="Scheduler has no rate"):
        Scheduler(two_groups(), {})


# Clipping

grads = st.lists(hnp.arrays("float64", hnp.array_shapes(max_dims=2, min_side=0, max_side=4), elements=finite), max_size=4)


@given(grads, st.floats(0.01, 1000))
def test_clipped_gradients_keep_their_direction_and_never_grow(arrays, max_norm):
    params = [leaf(np.zeros(a.shape), a) for a in arrays]
    norm = clip_grad_norm_((p for p in params), max_norm)
    flat = np.concatenate([np.zeros(0), *(a.reshape(-1) for a in arrays)])
    after = np.concatenate([np.zeros(0), *(p.grad.numpy().reshape(-1) for p in params)])
    assert type(norm) is float and norm == pytest.approx(np.linalg.norm(flat), rel=1e-12)
    assert np.linalg.norm(after) <= min(max_norm, norm) * (1 + 1e-12)
    np.testing.assert_allclose(after * norm, flat * np.linalg.norm(after), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype, size", [("float16", 4e4), ("float32", 1e30)])
def test_norms_beyond_the_dtype_are_clipped_right(dtype, size):
    p = leaf(np.zeros(100), np.full(100, size), dtype)
    norm = clip_grad_norm_(p, 1.0)
    assert norm == pytest.approx(10 * float(np.array(size, dtype)), rel=1e-7)
    np.testing.assert_allclose(p.grad.numpy(), 0.1, rtol=1e-3)


def test_clipping_without_gradients_is_zero():
    assert clip_grad_norm_([leaf([1.0])], 1.0) == 0.0
    clip_grad_value_([leaf([1.0])], 1.0)


def test_clipping_counts_as_a_write():
    p = leaf(np.zeros(2), [3.0, 4.0])
    grad, version = p.grad, p.grad.storage.version
    clip_grad_norm_([p], 1.0)
    clip_grad_value_([p], 0.7)
    assert p.grad is grad and grad.storage.version == version + 2
    np.testing.assert_allclose(grad.numpy(), [0.6, 0.7], rtol=1e-6)


def test_clipping_reaches_through_strides():
    base = Tensor(np.ones((2, 4)))
    p = leaf(np.zeros((4, 2)))
    p.grad = base.T
    clip_grad_norm_([p], 1.0)
    np.testing.assert_allclose(base.numpy(), 1 / math.sqrt(8), rtol=1e-5)
