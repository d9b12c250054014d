"""The exported losses against PyTorch, in float64 to 1e-9 and in float32 to 1e-5."""

import numpy as np
import pytest

from tinytorch.losses import binary_cross_entropy_with_logits, cross_entropy, huber_loss, mae_loss, mse_loss

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")
F = torch.nn.functional

REDUCTIONS = ("mean", "sum", "none")
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)
dtypes = pytest.mark.parametrize("dtype", TOLERANCE)
scales = pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
SHAPES = [(7, 5), (4, 4), (3, 5, 6), (2, 3, 4, 5), (5, 1), (1, 2)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def agree(ours, theirs, dtype, scale=1.0):
    tolerance = TOLERANCE[dtype]
    theirs = theirs.numpy()
    assert ours.dtype == theirs.dtype == dtype
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=tolerance, atol=tolerance * min(scale, 100), equal_nan=True)


def both(*arrays):
    return arrays, tuple(torch.tensor(a) for a in arrays)



@pytest.mark.parametrize("seed", range(3))
@reductions
@dtypes
@pytest.mark.parametrize("shape", [(), (6,), (3, 4), (2, 3, 4), (0, 3)], ids=str)
def test_numbers(shape, dtype, reduction, seed):
    rng = np.random.default_rng(seed)
    (p, t), (tp, tt) = both(*(np.asarray(rng.normal(0, 3, shape), dtype) for _ in range(2)))
    agree(mse_loss(p, t, reduction), F.mse_loss(tp, tt, reduction=reduction), dtype)
    agree(mae_loss(p, t, reduction), F.l1_loss(tp, tt, reduction=reduction), dtype)
    for delta in (0.3, 1.0, 4.0):
        agree(huber_loss(p, t, reduction, delta), F.huber_loss(tp, tt, reduction=reduction, delta=delta), dtype)


@reductions
@dtypes
@scales
@pytest.mark.parametrize("weighted", ["", "weight", "pos_weight", "weight pos_weight"])
def test_binary_cross_entropy(weighted, scale, dtype, reduction):
    rng = np.random.default_rng(1)
    (x, t), (tx, tt) = both(rng.normal(0, scale, (6, 4)).astype(dtype), rng.uniform(0, 1, (6, 4)).astype(dtype))
    weights = {name: rng.uniform(0.1, 9, 4).astype(dtype) for name in weighted.split()}
    theirs = F.binary_cross_entropy_with_logits(tx, tt, reduction=reduction, **{k: torch.tensor(w) for k, w in weights.items()})
    agree(binary_cross_entropy_with_logits(x, t, reduction=reduction, **weights), theirs, dtype, scale)


@reductions
@dtypes
@scales
@shapes
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("ignore_index", [None, -100, 0])
def test_cross_entropy(shape, ignore_index, weighted, smoothing, scale, dtype, reduction):
    rng = np.random.default_rng(sum(shape))
    x = rng.normal(0, scale, shape).astype(dtype)
    labels = rng.integers(0, shape[1], shape[:1] + shape[2:])
    options = {"label_smoothing": smoothing, "reduction": reduction}
    if ignore_index is not None:
        options["ignore_index"] = ignore_index
        labels[rng.random(labels.shape) < 0.4] = ignore_index
    weight = rng.uniform(0.1, 9, shape[1]).astype(dtype) if weighted else None
    theirs = F.cross_entropy(torch.tensor(x), torch.tensor(labels), weight=None if weight is None else torch.tensor(weight), **options)
    agree(cross_entropy(x, labels, weight=weight, **options), theirs, dtype, scale)


@reductions
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, [1.0, 0.0, 2.0]])
@pytest.mark.parametrize("labels", [[], [-100, -100], [1, 1], [1, -100]], ids=str)
def test_cross_entropy_of_nothing(labels, weight, smoothing, reduction):
    labels = np.array(labels, "int64")
    x = np.random.default_rng(0).normal(size=(len(labels), 3))
    theirs = F.cross_entropy(torch.tensor(x), torch.tensor(labels), weight=None if weight is None else torch.tensor(weight).double(),
                             label_smoothing=smoothing, reduction=reduction)
    agree(cross_entropy(x, labels, weight=weight, label_smoothing=smoothing, reduction=reduction), theirs, "float64")


@reductions
def test_masked_classes(reduction):
    x = np.array([[1.0, -np.inf, 2.0], [-np.inf, 0.0, 0.0], [0.0, np.nan, 1.0], [np.inf, 0.0, 0.0]])
    for rows in ([0, 1], [0, 1, 2], [0, 3]):
        for label in (0, 2):
            labels = np.full(len(rows), label)
            theirs = F.cross_entropy(torch.tensor(x[rows]), torch.tensor(labels), reduction=reduction)
            agree(cross_entropy(x[rows], labels, reduction=reduction), theirs, "float64")
