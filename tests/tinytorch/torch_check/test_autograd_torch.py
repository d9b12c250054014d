"""Gradients of every operation, activation and loss, and of random graphs, against PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

import tinytorch as tt  # noqa: E402
import tinytorch.autograd  # noqa: E402, F401
from tinytorch import losses  # noqa: E402

TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


def close(got, want, dtype="float64"):
    """Relative to the largest finite value, or to 1; NaN and infinity in the same places."""
    got, want = got.numpy(), want.numpy()
    assert got.shape == want.shape and got.dtype == want.dtype
    size = np.abs(want[np.isfinite(want)]).max(initial=1.0)
    np.testing.assert_allclose(got, want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * size)


def same_gradients(f, g, arrays, dtype="float64", seed=0):
    """f on ours and g on PyTorch's tensors: the same result and the same gradients, under random weights of the outputs."""
    ours = [tt.Tensor(a, dtype if a.dtype.kind == "f" else None, requires_grad=a.dtype.kind == "f") for a in arrays]
    theirs = [torch.tensor(t.numpy(), requires_grad=t.requires_grad) for t in ours]
    y, z = f(*ours), g(*theirs)
    close(y.detach(), z.detach(), dtype)
    weights = np.random.default_rng(seed).normal(size=y.shape).astype(y.dtype)
    y.backward(weights)
    z.backward(torch.tensor(weights))
    for a, b in zip(ours, theirs, strict=True):
        if b.grad is not None:
            close(a.grad, b.grad, dtype)


def normal(*shapes, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=s) for s in shapes]


def positive(*shapes):
    return [np.abs(a) + 0.5 for a in normal(*shapes)]


BINARY = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
          "pow": lambda a, b: a**b}
SHAPES = [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 1, 3), (4, 1)), ((0, 3), (1, 3)), ((1,), (0,))]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_arithmetic_with_broadcasting(name, shapes, dtype):
    same_gradients(BINARY[name], BINARY[name], positive(*shapes), dtype)


@pytest.mark.parametrize("name", BINARY)
def test_an_operand_used_twice_gets_both_gradients(name):
    same_gradients(lambda a: BINARY[name](a, a), lambda a: BINARY[name](a, a), positive((3, 4)))


def test_powers_at_zero():
    base = [np.array([0.0, 0.0, 0.0, 2.0]), np.array([0.0, 1.0, 2.0, 0.0])]
    same_gradients(BINARY["pow"], BINARY["pow"], base)


MATMUL = [((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (4,)), ((4,), (2, 4, 5)),
          ((2, 3, 4), (2, 4, 5)), ((6, 1, 3, 4), (2, 4, 5)), ((3, 4), (2, 4, 5)), ((0, 4), (4, 5)), ((3, 0), (0, 5)),
          ((2, 0, 3, 4), (4, 5)), ((1, 3, 4), (2, 4, 5))]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shapes", MATMUL, ids=str)
def test_matrix_products(shapes, dtype):
    same_gradients(lambda a, b: a @ b, lambda a, b: a @ b, normal(*shapes), dtype)


REDUCTIONS = [(None, False), (0, False), (-1, True), ((0, 2), False), ((1, -1), True)]


@pytest.mark.parametrize("axis, keepdims", REDUCTIONS, ids=str)
def test_reductions(axis, keepdims):
    axes = tuple(range(3)) if axis is None else axis
    (x,) = normal((3, 4, 2))
    same_gradients(lambda a: a.sum(axis, keepdims), lambda a: a.sum(axes, keepdim=keepdims), [x])
    same_gradients(lambda a: a.mean(axis, keepdims), lambda a: a.mean(axes, keepdim=keepdims), [x])
    for values in (x, np.round(x), np.zeros_like(x)):  # no ties, some, nothing else
        same_gradients(lambda a: a.max(axis, keepdims), lambda a: a.amax(axes, keepdim=keepdims), [values])


def test_views_of_views():
    (x,) = normal((4, 5, 6))
    same_gradients(lambda a: a[1:, ::2].permute(-1, 0, 1)[::3, None, 1], lambda a: a[1:, ::2].permute(-1, 0, 1)[::3, None, 1], [x])
    same_gradients(lambda a: a.transpose(0, 2).reshape(5, 24)[:, 3:9].expand(2, 5, 6) * a[0],
                   lambda a: a.transpose(0, 2).reshape(5, 24)[:, 3:9].expand(2, 5, 6) * a[0], [x])
    same_gradients(lambda a: a[::-1, :, -1], lambda a: a.flip(0)[:, :, -1], [x])


def test_casts():
    (x,) = normal((3, 4))
    same_gradients(lambda a: a.astype("float64") * a.astype("float64"), lambda a: a.double() * a.double(), [x], "float32")


ACTIVATIONS = {
    "relu": (tt.relu, torch.relu), "sigmoid": (tt.sigmoid, torch.sigmoid), "tanh": (tt.tanh, torch.tanh),
    "silu": (tt.silu, torch.nn.functional.silu), "gelu": (tt.gelu, torch.nn.functional.gelu),
    "gelu_tanh": (lambda x: tt.gelu(x, "tanh"), lambda x: torch.nn.functional.gelu(x, approximate="tanh")),
    "leaky_relu": (lambda x: tt.leaky_relu(x, 0.1), lambda x: torch.nn.functional.leaky_relu(x, 0.1)),
    "softmax": (tt.softmax, lambda x: x.softmax(-1)), "log_softmax": (tt.log_softmax, lambda x: x.log_softmax(-1)),
    "softmax_0": (lambda x: tt.softmax(x, 0), lambda x: x.softmax(0)),
    "log_softmax_0": (lambda x: tt.log_softmax(x, 0), lambda x: x.log_softmax(0)),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name, dtype):
    (x,) = normal((5, 7))
    same_gradients(*ACTIVATIONS[name], [3 * x], dtype)
    same_gradients(lambda a: ACTIVATIONS[name][0](a.T[::2]), lambda a: ACTIVATIONS[name][1](a.T[::2]), [x], dtype)


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_gates_at_zero_infinity_and_nan(name):
    same_gradients(*ACTIVATIONS[name], [np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0])])


F = torch.nn.functional
LOSSES = {"mse": (losses.mse_loss, F.mse_loss), "mae": (losses.mae_loss, F.l1_loss), "huber": (losses.huber_loss, F.huber_loss)}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_numbers(name, reduction, dtype):
    ours, theirs = LOSSES[name]
    same_gradients(lambda a, b: ours(a, b, reduction=reduction), lambda a, b: theirs(a, b, reduction=reduction),
                   normal((4, 3), (4, 3)), dtype)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_cross_entropy(reduction, weighted):
    rng = np.random.default_rng(2)
    weight, pos_weight = (rng.uniform(0.5, 2, size=3) if weighted else None for _ in range(2))
    theirs = {"weight": None, "pos_weight": None} if not weighted else {
        "weight": torch.tensor(weight), "pos_weight": torch.tensor(pos_weight)}
    arrays = [rng.normal(size=(4, 3)) * 5, rng.uniform(0, 1, size=(4, 3))]
    same_gradients(lambda a, b: losses.binary_cross_entropy_with_logits(a, b, weight=weight, pos_weight=pos_weight,
                                                                             reduction=reduction),
                   lambda a, b: F.binary_cross_entropy_with_logits(a, b, reduction=reduction, **theirs), arrays)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(5, 4), (2, 4, 3), (2, 3, 2, 2)], ids=str)
def test_cross_entropy(shape, weighted, smoothing, reduction, dtype):
    rng = np.random.default_rng(3)
    logits = rng.normal(size=shape) * 4
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    labels[0] = 1
    labels.flat[-1] = 1
    weight = rng.uniform(0.5, 2, shape[1]).astype(dtype) if weighted else None
    options = {"label_smoothing": smoothing, "reduction": reduction, "ignore_index": 1}
    same_gradients(lambda a, b: losses.cross_entropy(a, b, weight=weight, **options),
                   lambda a, b: F.cross_entropy(a, b, weight=None if weight is None else torch.tensor(weight), **options),
                   [logits, labels], dtype)


def test_cross_entropy_of_certain_predictions():
    logits = np.array([[1e4, 0.0, -1e4], [-1e4, 0.0, 1e4]])
    same_gradients(losses.cross_entropy, F.cross_entropy, [logits, np.array([0, 0])])


UNARY = {
    "neg": lambda a: -a, "tanh": lambda a: a.tanh() if isinstance(a, torch.Tensor) else tt.tanh(a),
    "square": lambda a: a**2.0, "sum": lambda a: a.sum(-1, True) if isinstance(a, tt.Tensor) else a.sum(-1, keepdim=True),
    "turn": lambda a: a.transpose(-1, -2), "part": lambda a: a[..., 1:, :], "half": lambda a: a[..., ::2],
    "wide": lambda a: a.expand(2, *a.shape)[1], "softmax": lambda a: a.softmax(-1) if isinstance(a, torch.Tensor) else tt.softmax(a),
    "relu": lambda a: a.relu() if isinstance(a, torch.Tensor) else tt.relu(a),
    "flat": lambda a: a.reshape(-1, 1), "mean": lambda a: a.mean(),
}
PAIRS = {"add": BINARY["add"], "sub": BINARY["sub"], "mul": BINARY["mul"], "matmul": lambda a, b: a @ b,
         "div": lambda a, b: a / (b * b + 1.0)}


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_random_graphs_that_use_tensors_again_and_again(data):
    """Each step takes any tensors made so far, those that fit; the result is a weighted sum of several of them."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shapes = data.draw(st.lists(st.sampled_from([(3, 4), (4,), (1, 4), (3, 1), (2, 3, 4), ()]), min_size=1, max_size=3))
    arrays = [rng.normal(size=s) for s in shapes]
    ours = [tt.Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    leaves = list(zip(ours, theirs, strict=True))
    for _ in range(data.draw(st.integers(1, 12))):
        table, count = (UNARY, 1) if data.draw(st.booleans()) else (PAIRS, 2)
        f = table[data.draw(st.sampled_from(sorted(table)))]
        at = [data.draw(st.integers(0, len(ours) - 1)) for _ in range(count)]
        if count == 1 and theirs[at[0]].ndim == 0:  # PyTorch lets axis -1 pass there
            continue
        try:
            z = f(*(theirs[k] for k in at))
        except (RuntimeError, IndexError):  # shapes that do not fit
            continue
        if z.numel() and z.numel() < 500:
            ours.append(f(*(ours[k] for k in at)))
            theirs.append(z)
    total = sum(((y * (1.0 + k)).sum() for k, y in enumerate(ours[-4:])), tt.Tensor(0.0, "float64"))
    wanted = sum(((z * (1.0 + k)).sum() for k, z in enumerate(theirs[-4:])), torch.tensor(0.0, dtype=torch.float64))
    total.backward()
    wanted.backward()
    for a, b in leaves:
        if b.grad is None:
            assert a.grad is None
        elif np.isfinite(b.grad.numpy()).all() and np.abs(b.grad.numpy()).max(initial=0) < 1e100:
            size = max(np.abs(b.grad.numpy()).max(initial=0), np.abs(total.item()))
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-11 * size)


def test_a_training_run_stays_with_pytorch():
    rng = np.random.default_rng(5)
    x, labels = rng.normal(size=(32, 10)).astype("float32"), rng.integers(0, 4, 32)
    start = [rng.normal(size=s).astype("float32") * 0.3 for s in ((16, 10), (16,), (4, 16), (4,))]
    ours, theirs = [tt.Tensor(a, requires_grad=True) for a in start], [torch.tensor(a, requires_grad=True) for a in start]
    for _ in range(50):
        w1, b1, w2, b2 = ours
        loss = losses.cross_entropy(tt.gelu(tt.Tensor(x) @ w1.T + b1) @ w2.T + b2, tt.Tensor(labels))
        loss.backward()
        with tt.no_grad():
            for p in ours:
                p.sub_(p.grad * 0.5)
                p.zero_grad()
        v1, c1, v2, c2 = theirs
        other = F.cross_entropy(F.gelu(torch.tensor(x) @ v1.T + c1) @ v2.T + c2, torch.tensor(labels))
        other.backward()
        with torch.no_grad():
            for p in theirs:
                p -= p.grad * 0.5
                p.grad = None
    assert loss.item() == pytest.approx(other.item(), rel=1e-4) and loss.item() < 0.5
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-3, atol=1e-4)
