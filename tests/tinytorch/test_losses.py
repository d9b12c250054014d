"""The exported losses against closed forms and exact arithmetic: values, divisors of means, dtypes, refusals, memory."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinytorch import DTypeError, Function, ShapeError, Storage, Tensor
from tinytorch.losses import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    MAELoss,
    MSELoss,
    accuracy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    mae_loss,
    mse_loss,
)

PAIRS = {"mse": mse_loss, "mae": mae_loss, "huber": huber_loss, "bce": binary_cross_entropy_with_logits}
pairs = pytest.mark.parametrize("loss", PAIRS.values(), ids=PAIRS)
floats = st.floats(-1e4, 1e4)


def exact_log_loss(logits, label):
    """ln of the sum of e^(z - z_label), one logit after the other, in Python's floats."""
    top = max(logits)
    return math.log(math.fsum(math.exp(z - top) for z in logits)) + (top - logits[label])


@st.composite
def batches(draw):
    """Logits (N, C, ...) and labels (N, ...), some of them ignored."""
    n, c, *more = draw(hnp.array_shapes(min_dims=2, max_dims=4, max_side=4))
    logits = draw(hnp.arrays("float64", (n, c, *more), elements=floats))
    labels = draw(hnp.arrays("int64", (n, *more), elements=st.sampled_from([-100, *range(c)])))
    return logits, labels


# Numbers against numbers


@given(st.lists(st.tuples(floats, floats), min_size=1, max_size=9), st.floats(0.01, 100))
def test_numbers_against_their_definitions(values, delta):
    p, t = np.array(values).T
    residuals = [a - b for a, b in values]
    huber = [r * r / 2 if abs(r) <= delta else delta * (abs(r) - delta / 2) for r in residuals]
    for loss, each in ((mse_loss, [r * r for r in residuals]), (mae_loss, [abs(r) for r in residuals]),
                       (lambda *a, **k: huber_loss(*a, delta=delta, **k), huber)):
        assert loss(p, t, reduction="none").tolist() == pytest.approx(each, rel=1e-12)
        assert loss(p, t, reduction="sum").item() == pytest.approx(math.fsum(each), rel=1e-12)
        assert loss(p, t).item() == pytest.approx(math.fsum(each) / len(each), rel=1e-12)


@given(st.floats(0.1, 10))
def test_hubers_line_continues_value_and_slope(delta):
    step = 1e-6 * delta
    inside, edge, outside = huber_loss(np.array([delta - step, delta, delta + step]), np.zeros(3), "none", delta).tolist()
    assert outside - edge == pytest.approx(edge - inside, rel=1e-5)
    assert (outside - edge) / step == pytest.approx(delta, rel=1e-5)


def test_the_best_constant_is_the_mean_of_squares_and_the_median_of_absolute_values():
    values, grid = np.array([1.0, 2.0, 3.0, 4.0, 100.0]), np.arange(0, 101, 0.5)
    by_loss = {f: min(grid, key=lambda c, f=f: f(np.full(5, c), values).item()) for f in (mse_loss, mae_loss)}
    assert by_loss == {mse_loss: values.mean(), mae_loss: np.median(values)}


@pairs
def test_shapes_that_broadcast_are_refused_with_the_reason(loss):
    with pytest.raises(ShapeError, match=r"\(4, 1\).*\(4,\).*broadcast to \(4, 4\)"):
        loss(np.zeros((4, 1)), np.zeros(4))
    with pytest.raises(ShapeError, match=r"\(4,\).*\(3,\)"):
        loss(np.zeros(4), np.zeros(3))


@pairs
def test_the_mean_over_nothing_is_nan_and_the_sum_0(loss):
    nothing = np.zeros((0, 3), "float32")
    assert math.isnan(loss(nothing, nothing).item())
    assert loss(nothing, nothing, reduction="sum").item() == 0
    assert loss(nothing, nothing, reduction="none").shape == (0, 3)


@pairs
@pytest.mark.parametrize("dtype, wanted", [("float64", "float64"), ("float32", "float32"), ("float16", "float32"), ("int8", "float32")])
def test_narrow_dtypes_are_computed_in_float32(loss, dtype, wanted):
    x, t = np.array([0, 1, 1], dtype), np.array([1, 0, 1], dtype)
    result = loss(x, t)
    assert result.dtype == wanted and result.shape == ()
    assert result.item() == pytest.approx(loss(x.astype("float64"), t.astype("float64")).item(), rel=1e-6)


def test_float16_neither_overflows_nor_is_rounded():
    x = np.array([300.0, 60000.0], "float16")
    assert mse_loss(x, np.zeros(2, "float16"), reduction="sum").item() == pytest.approx(300.0**2 + float(x[1]) ** 2, rel=1e-6)


# Two outcomes


@given(st.floats(-30, 30), st.floats(0, 1), st.floats(0.1, 9))
def test_bce_is_the_log_loss_of_the_sigmoid(x, t, pos_weight):
    wanted = pos_weight * t * math.log1p(math.exp(-x)) + (1 - t) * math.log1p(math.exp(x))
    got = binary_cross_entropy_with_logits(np.array([x]), np.array([t]), pos_weight=pos_weight).item()
    assert got == pytest.approx(wanted, rel=1e-12)


def test_bce_of_large_logits_is_their_distance_and_small_losses_are_not_0():
    x = np.array([1e4, -1e4, 1e4, -1e4])
    assert binary_cross_entropy_with_logits(x, np.array([0.0, 1, 1, 0]), reduction="none").tolist() == [1e4, 1e4, 0, 0]
    x = np.array([-40.0, 40.0])
    assert binary_cross_entropy_with_logits(x, np.array([0.0, 1]), reduction="none").tolist() == pytest.approx([math.exp(-40)] * 2)


@given(hnp.arrays("float64", 4, elements=floats), st.integers(0, 1))
def test_bce_is_the_cross_entropy_of_two_classes(x, label):
    two = np.stack([np.zeros(4), x], axis=1)
    ours = binary_cross_entropy_with_logits(x, np.full(4, float(label)), reduction="none")
    np.testing.assert_allclose(ours.numpy(), cross_entropy(two, np.full(4, label), reduction="none").numpy(), rtol=1e-9, atol=1e-15)


def test_bce_weights_multiply_and_the_mean_divides_by_the_number_of_elements():
    x, t, w = np.array([[2.0, -1.0], [0.5, 3.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1.0, 10.0])
    each = binary_cross_entropy_with_logits(x, t, reduction="none").numpy()
    assert binary_cross_entropy_with_logits(x, t, weight=w).item() == pytest.approx((each * w).sum() / 4)
    assert binary_cross_entropy_with_logits(x, t, pos_weight=[1.0, 10.0]).item() == pytest.approx((each * [[1, 1], [1, 10]]).sum() / 4)


def test_bce_refuses_what_is_no_probability_and_weights_that_do_not_fit():
    with pytest.raises(ValueError, match=r"target 2 at position \(1,\)"):
        binary_cross_entropy_with_logits(np.zeros(3), np.array([0, 2, 1]))
    for name in ("weight", "pos_weight"):
        for shape in ((2,), (4, 4, 3), (1, 4, 3)):
            with pytest.raises(ShapeError, match=rf"{name} of shape"):
                binary_cross_entropy_with_logits(np.zeros((4, 3)), np.zeros((4, 3)), **{name: np.ones(shape)})


# Many classes


@given(batches())
def test_cross_entropy_of_each_position_against_pythons_floats(batch):
    logits, labels = batch
    losses = cross_entropy(logits, labels, reduction="none").numpy()
    assert losses.shape == labels.shape
    for at in np.ndindex(labels.shape):
        wanted = 0 if labels[at] == -100 else exact_log_loss(logits[(at[0], slice(None), *at[1:])].tolist(), labels[at])
        assert losses[at] == pytest.approx(wanted, rel=1e-12, abs=1e-12)


@given(batches(), st.integers(0, 2**32 - 1))
def test_the_mean_divides_by_the_weights_of_the_labels_that_count(batch, seed):
    logits, labels = batch
    weight = np.random.default_rng(seed).uniform(0.1, 9, logits.shape[1])
    kept = labels != -100
    each = cross_entropy(logits, labels, reduction="none").numpy()[kept]
    mean = cross_entropy(logits, labels, weight=weight).item()
    if not kept.any():
        assert math.isnan(mean) and cross_entropy(logits, labels, reduction="sum").item() == 0
        return
    assert mean == pytest.approx(np.average(each, weights=weight[labels[kept]]), rel=1e-9)
    assert cross_entropy(logits, labels, weight=10 * weight).item() == pytest.approx(mean, rel=1e-9)
    assert cross_entropy(logits, labels).item() == pytest.approx(each.mean(), rel=1e-9)


@given(batches(), st.floats(0, 1))
def test_smoothing_is_a_mixture_of_labels(batch, share):
    logits, labels = batch
    kept, classes = labels != -100, logits.shape[1]
    weight = np.arange(1.0, classes + 1)
    own = cross_entropy(logits, labels, weight=weight, reduction="none").numpy()
    every = sum(cross_entropy(logits, np.where(kept, c, -100), weight=weight, reduction="none").numpy() for c in range(classes))
    wanted = (1 - share) * own + share * every / classes
    got = cross_entropy(logits, labels, weight=weight, label_smoothing=share, reduction="none").numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    if kept.any():
        mean = cross_entropy(logits, labels, weight=weight, label_smoothing=share).item()
        assert mean == pytest.approx(wanted.sum() / weight[labels[kept]].sum(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 50_257])
def test_equal_logits_cost_the_logarithm_of_the_number_of_classes(classes):
    logits = np.full((2, classes), 7.0)
    for share in (0.0, 0.1):
        assert cross_entropy(logits, np.array([0, classes - 1]), label_smoothing=share).item() == pytest.approx(math.log(classes))


@given(batches(), floats)
def test_a_constant_added_to_all_logits_changes_nothing(batch, constant):
    logits, labels = batch
    np.testing.assert_allclose(cross_entropy(logits + constant, labels, reduction="none").numpy(),
                               cross_entropy(logits, labels, reduction="none").numpy(), rtol=1e-9, atol=1e-9)


def test_float32_keeps_the_digits_of_close_large_logits():
    loss = cross_entropy(np.array([[1e4, 9999.0]], "float32"), np.array([0]))
    assert loss.dtype == "float32" and loss.item() == pytest.approx(math.log1p(math.exp(-1)), rel=1e-6)


def test_masked_classes_have_no_part_in_the_loss():
    logits = np.array([[1.0, -np.inf, 1.0]])
    assert cross_entropy(logits, np.array([0])).item() == pytest.approx(math.log(2))
    assert cross_entropy(logits, np.array([1])).item() == math.inf


def test_nothing_leaks_from_ignored_positions():
    logits = np.array([[1.0, 2.0], [np.nan, np.inf], [0.0, 0.0]])
    labels = np.array([1, -100, 0])
    rest = np.array([0, 2])
    for share in (0.0, 0.2):
        for reduction in ("mean", "sum"):
            whole, kept = (cross_entropy(logits[i], labels[i], label_smoothing=share, reduction=reduction).item() for i in (slice(None), rest))
            assert whole == pytest.approx(kept)


def test_a_class_may_be_the_ignored_label():
    logits = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0]])
    assert cross_entropy(logits, np.array([0, 1]), ignore_index=0).item() == cross_entropy(logits[1:], np.array([1])).item()
    assert cross_entropy(logits, np.array([0, 255], "int32"), ignore_index=255).item() == cross_entropy(logits[:1], np.array([0])).item()


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_labels_stay_the_integers_that_they_are(dtype):
    recorded = []
    Function.record, before = staticmethod(lambda function, tensors, output: recorded.append(function)), Function.record
    try:
        cross_entropy(Tensor(np.zeros((2, 3)), "float16"), Tensor(np.array([0, 2], dtype)), weight=[1, 2, 3])
    finally:
        Function.record = before
    (function,) = recorded
    logits, labels = function.saved
    assert (logits.dtype, labels.dtype) == ("float32", dtype)
    assert function.params["weight"].dtype == "float32" and function.params["weight"].tolist() == [1, 2, 3]
    assert function.params["reduction"] == "mean" and function.params["ignore_index"] == -100


def test_operands_are_left_as_they_were():
    logits, labels = Tensor(np.random.default_rng(0).normal(size=(4, 3))), Tensor([0, -100, 2, 1])
    before = logits.numpy().copy(), labels.numpy().copy()
    cross_entropy(logits, labels, label_smoothing=0.1, weight=[1, 2, 3])
    binary_cross_entropy_with_logits(logits, Tensor(np.ones((4, 3))), pos_weight=2.0)
    assert (logits.numpy() == before[0]).all() and (labels.numpy() == before[1]).all() and logits.storage.version == 0


def test_views_give_what_their_copies_give():
    base = np.random.default_rng(0).normal(size=(3, 4, 6))
    view = Tensor(base).permute(1, 0, 2)[:, :, ::-2]
    labels = Tensor(np.array([[0, 1, 2], [2, 1, 0], [1, 1, -100], [0, 0, 0]]))
    copied = cross_entropy(np.ascontiguousarray(view.numpy()), labels, reduction="none")
    np.testing.assert_array_equal(cross_entropy(view, labels, reduction="none").numpy(), copied.numpy())


@pytest.mark.parametrize("labels, error, message", [
    (np.array([0, 1, 3]), IndexError, r"label 3 at position \(2,\).*3 classes"),
    (np.array([0, -1, 7]), IndexError, r"label -1 at position \(1,\).*3 classes"),
    (np.array([0.0, 1.0, 2.0]), DTypeError, "integers.*float64"),
    (np.array([True, False, True]), DTypeError, "integers.*bool"),
    (np.array([[0], [1], [2]]), ShapeError, r"\(3, 1\).*\(3, 3\).*\(3,\)"),
    (np.array([0, 1]), ShapeError, r"\(2,\).*\(3, 3\).*\(3,\)"),
])
def test_wrong_labels_are_named(labels, error, message):
    with pytest.raises(error, match=message):
        cross_entropy(np.zeros((3, 3)), labels)


def test_a_wrong_label_of_an_image_is_named_with_its_place():
    labels = np.zeros((2, 4, 5), "int8")
    labels[1, 2, 3] = 21
    with pytest.raises(IndexError, match=r"label 21 at position \(1, 2, 3\).*4 classes"):
        cross_entropy(np.zeros((2, 4, 4, 5)), labels)


def test_wrong_parameters_are_refused_when_a_loss_is_made():
    with pytest.raises(ValueError, match="'avg'.*nearest is 'mean'"):
        MSELoss(reduction="avg")
    with pytest.raises(ValueError, match="'Sum'.*nearest is 'sum'"):
        mae_loss(np.zeros(2), np.zeros(2), reduction="Sum")
    with pytest.raises(TypeError, match="HuberLoss.*'detla'.*nearest is 'delta'"):
        HuberLoss(detla=2.0)
    with pytest.raises(TypeError, match="CrossEntropyLoss.*'ignore_idx'.*nearest is 'ignore_index'"):
        CrossEntropyLoss(ignore_idx=0)
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="label_smoothing.*0 to 1"):
            CrossEntropyLoss(label_smoothing=share)
    for delta in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="delta.*positive"):
            HuberLoss(delta=delta)
    with pytest.raises(ShapeError, match=r"weight has shape \(2,\).*3 classes"):
        cross_entropy(np.zeros((4, 3)), np.zeros(4, "int64"), weight=[1.0, 2.0])
    for shape in ((3,), (), (3, 0)):
        with pytest.raises(ShapeError, match=r"\(N, C, \.\.\.\)"):
            cross_entropy(np.zeros(shape), np.zeros(shape[:1], "int64"))


@pytest.mark.parametrize("cls, function, params", [
    (MSELoss, mse_loss, {"reduction": "sum"}), (MAELoss, mae_loss, {}), (HuberLoss, huber_loss, {"delta": 0.5}),
    (BCEWithLogitsLoss, binary_cross_entropy_with_logits, {"pos_weight": 2.0}),
])
def test_an_instance_is_the_function_with_its_parameters(cls, function, params):
    p, t = np.array([0.25, 2.0, -1.0]), np.array([0.0, 1.0, 0.5])
    assert cls(**params)(p, t).item() == function(p, t, **params).item() == cls(**params)(p, t).item()


def test_a_cross_entropy_instance_serves_batches_of_different_dtypes():
    loss = CrossEntropyLoss(weight=Tensor([1.0, 2.0, 3.0]), label_smoothing=0.1)
    x, y = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 1, 2, 2, -100])
    first, second = loss(x, y), loss(x.astype("float32"), y)
    assert (first.dtype, second.dtype) == ("float64", "float32") and second.item() == pytest.approx(first.item(), rel=1e-5)


# Accuracy, memory


@given(batches())
def test_accuracy_counts_the_labels_with_the_largest_logit(batch):
    logits, labels = batch
    right = [np.argmax(logits[(at[0], slice(None), *at[1:])]) == labels[at] for at in np.ndindex(labels.shape) if labels[at] != -100]
    got = accuracy(logits, labels)
    assert isinstance(got, float) and (got == sum(right) / len(right) if right else math.isnan(got))


def test_accuracy_refuses_labels_that_do_not_fit():
    with pytest.raises(ShapeError):
        accuracy(np.zeros((4, 3)), np.zeros((4, 1), "int64"))
    with pytest.raises(DTypeError):
        accuracy(np.zeros((4, 3)), np.zeros(4))


def test_cross_entropy_needs_one_array_like_the_logits_and_keeps_none():
    logits, labels = Tensor(np.zeros((64, 5000)), "float32"), Tensor(np.zeros(64, "int64"))
    Storage.peak_bytes = held = Storage.live_bytes
    tracemalloc.start()
    try:
        loss = cross_entropy(logits, labels)
        traced = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert Storage.peak_bytes - held == loss.nbytes == 4
    assert traced < 1.2 * logits.nbytes
