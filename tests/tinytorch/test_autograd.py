"""The autograd engine, held against central differences, closed forms and what it promises about memory and threads."""

import gc
import math
import sys
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinytorch as tt
from tinytorch import Function, ShapeError, Storage, Tensor, losses
from tinytorch.autograd import (
    GradcheckError,
    GraphError,
    InPlaceError,
    checkpoint,
    gradcheck,
    no_grad,
    numerical_gradient,
    topological_order,
    unbroadcast,
)
from tinytorch.layers import Dropout, Linear, Sequential, manual_seed
from tinytorch.tensor import DTypeError


def leaf(*shape, dtype="float64", seed=1, low=-2.0):
    return Tensor(np.random.default_rng(seed).uniform(low, 2, shape), dtype, requires_grad=True)


def chain(x, n):
    for _ in range(n):
        x = x + 1.0
    return x


# Rules against central differences.

OPERATIONS = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / (b * b + 1.0),
    "pow": lambda a, b: (a * a + 0.5) ** b, "rsub": lambda a, b: 3.0 - a * b, "rdiv": lambda a, b: 2.0 / (a * a + b * b + 1.0),
}
STRETCHED = [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (3,)), ((2, 1, 3), (4, 1)), ((1,), (2, 1)), ((0, 3), (3,))]


@pytest.mark.parametrize("shapes", STRETCHED, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic_agrees_with_central_differences(name, shapes):
    assert gradcheck(OPERATIONS[name], leaf(*shapes[0]), leaf(*shapes[1], seed=2))


VIEWS = {
    "permute": lambda x: x.permute(-1, 0, 1), "transpose": lambda x: x.transpose(0, 1), "slice": lambda x: x[1:, ::-2, None, 0],
    "expand": lambda x: x[:, :1].expand(2, 3, 4, 2), "reshape": lambda x: x.transpose().reshape(-1, 3), "view": lambda x: x.view(-1),
    "contiguous": lambda x: x.T.contiguous(), "of views": lambda x: x[::2].permute(2, 1, 0)[1:].expand(2, 1, 4, 2)[0, ..., -1],
    "overlapping": lambda x: x[:2] * x[1:] + x[1:2],
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_agree_with_central_differences(name):
    assert gradcheck(VIEWS[name], leaf(3, 4, 2))


REDUCTIONS = {
    "sum": lambda x: x.sum(axis=(0, -1)), "sum all": lambda x: x.sum(), "mean": lambda x: x.mean(axis=1, keepdims=True),
    "max": lambda x: x.max(axis=1), "max all": lambda x: x.max(), "variance": lambda x: ((x - x.mean(0, True)) ** 2.0).mean(axis=0),
}
ACTIVATIONS = {
    "relu": tt.relu, "leaky": tt.leaky_relu, "sigmoid": tt.sigmoid, "tanh": tt.tanh, "gelu": tt.gelu, "silu": tt.silu,
    "gelu tanh": lambda x: tt.gelu(x, "tanh"), "softmax": lambda x: tt.softmax(x, 1), "log_softmax": lambda x: tt.log_softmax(x, 0),
}


@pytest.mark.parametrize("f", (REDUCTIONS | ACTIVATIONS).values(), ids=(REDUCTIONS | ACTIVATIONS).keys())
def test_reductions_and_activations_agree_with_central_differences(f):
    assert gradcheck(f, leaf(3, 4, 2))


@pytest.mark.parametrize("shapes", [((3, 4), (4, 2)), ((4,), (4, 2)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 2)),
                                    ((2, 1, 3, 4), (3, 4, 2)), ((4,), (2, 4, 3)), ((2, 3, 4), (4,))], ids=str)
def test_matrix_products_agree_with_central_differences(shapes):
    assert gradcheck(lambda a, b: a @ b, leaf(*shapes[0]), leaf(*shapes[1], seed=2))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_agree_with_central_differences(reduction):
    a, b = leaf(3, 4), leaf(3, 4, seed=2)
    for loss in (losses.mse_loss, losses.mae_loss, losses.huber_loss):
        assert gradcheck(lambda a, b, loss=loss: loss(a, b, reduction=reduction), a, b)
    p = leaf(3, 4, seed=3, low=0.2) * 0.4
    assert gradcheck(lambda a, p: losses.binary_cross_entropy_with_logits(a, p, reduction=reduction, pos_weight=[1.0, 2, 3, 4]),
                     a, p.detach().requires_grad_())
    labels = Tensor([0, 3, -100])
    for options in ({}, {"weight": [1.0, 2, 3, 4]}, {"label_smoothing": 0.3}, {"weight": [1.0, 2, 3, 4], "label_smoothing": 0.3}):
        assert gradcheck(lambda a, o=options: losses.cross_entropy(a, labels, reduction=reduction, **o), a)


def test_ties_of_a_maximum_share_its_gradient():
    x = Tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]], requires_grad=True)
    x.max(axis=1).backward(Tensor([1.0, 6.0]))
    assert x.grad.tolist() == [[0, 0.5, 0.5], [2, 2, 2]]


def test_infinity_and_nan_travel_as_in_arithmetic():
    x = Tensor([np.inf, np.nan, 2.0], "float64", requires_grad=True)
    (x * x + 1.0 / x).sum().backward()
    assert x.grad.tolist()[0] == np.inf and math.isnan(x.grad.tolist()[1]) and x.grad.tolist()[2] == 3.75


# The graph.

@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "sub", "mul", "div"]), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=10))
def test_graphs_that_use_tensors_again_agree_with_central_differences(lines):
    def f(*leaves):
        values = list(leaves)
        for name, i, j in lines:
            y = OPERATIONS[name](values[i % len(values)], values[j % len(values)])
            values.append(tt.tanh(y))
        return sum(values[1:], values[0])

    assert gradcheck(f, leaf(2, 3), leaf(3, seed=2), leaf(2, 1, seed=3))


def test_the_example_of_the_notebook():
    a, b, c = (Tensor(v, requires_grad=True) for v in (2.0, 3.0, 4.0))
    ((a * b + c) * b).backward()
    assert [t.grad.item() for t in (a, b, c)] == [9, 16, 3]


def test_a_tensor_used_twice_by_one_operation_gets_both_gradients():
    x = Tensor(3.0, requires_grad=True)
    (x * x).backward()
    assert x.grad.item() == 6


def test_shared_arrays_are_not_added_to_in_place():
    x, y = leaf(3), leaf(3, seed=2)
    z = x + y
    (z + x).sum().backward()
    assert x.grad.tolist() == [2, 2, 2] and y.grad.tolist() == [1, 1, 1]
    x.grad.fill_(9.0)
    assert y.grad.tolist() == [1, 1, 1]


def test_a_ladder_with_more_ways_than_atoms_is_walked_once_a_node():
    x = y = Tensor(1.0, "float64", requires_grad=True)
    for _ in range(300):
        y = (y + y) * 0.5
    assert len(topological_order(y.grad_fn)) == 600
    y.backward()
    assert x.grad.item() == 1


def test_a_chain_of_100_000_additions_is_walked_and_freed_without_recursion():
    x = Tensor(0.0, requires_grad=True)
    y = chain(x, 100_000)
    y.backward(retain_graph=True)
    assert y.item() == 100_000 and x.grad.item() == 1
    last = weakref.ref(y.grad_fn)
    del y  # frees a hundred thousand nodes, each of which held the next
    gc.collect()
    assert last() is None


def test_a_deep_graph_is_freed_in_a_thread_with_a_small_stack():
    done = []

    def work():
        y = x = Tensor(1.0, requires_grad=True)
        for _ in range(20_000):
            y = y * x
        del y
        done.append(True)

    # 3.13 goes thousands of calls deep into what it frees before it defers the rest; other versions 50, or what the stack allows.
    size = threading.stack_size((2048 if sys.version_info[:2] == (3, 13) else 256) * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
    assert done


def test_only_what_requires_grad_is_recorded():
    x, data = leaf(3), tt.ones(3, "float64")
    assert (data * 2.0).grad_fn is None and (x * data).grad_fn is not None and (x < 0).grad_fn is None
    assert x.astype("int64").grad_fn is None and x.is_leaf and not (x * 2.0).is_leaf
    (x * data).sum().backward()
    assert data.grad is None


def test_integers_cannot_require_grad():
    for make in (lambda: Tensor([1, 2], requires_grad=True), lambda: Tensor([1, 2]).requires_grad_(), lambda: tt.ones(2, "bool").requires_grad_()):
        with pytest.raises(DTypeError, match="cannot require grad"):
            make()
    x = Tensor([1, 2])
    with pytest.raises(DTypeError, match="int64"):
        x.requires_grad = True


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_gradient_has_the_dtype_of_its_tensor(dtype):
    x, wide = leaf(3, dtype=dtype), leaf(3, seed=2)
    (x * wide).sum().backward()
    assert x.grad.dtype == dtype and wide.grad.dtype == "float64" and type(x.grad) is Tensor and not x.grad.requires_grad


def test_gradients_of_float16_are_added_up_in_float32():
    x = Tensor(1.0, "float16", requires_grad=True)
    y = sum((x * 1.0 for _ in range(3000)), Tensor(0.0, "float16"))
    y.backward()
    assert x.grad.item() == 3000
    b = Tensor(np.zeros(1), "float16", requires_grad=True)
    (tt.ones((5000, 1), "float16") + b).astype("float32").sum().backward()
    assert b.grad.item() == 5000


def test_gradients_accumulate_until_zero_grad():
    x = leaf(3)
    (x * 2.0).sum().backward()
    first = x.grad
    (x * 3.0).sum().backward()
    assert x.grad is first and x.grad.tolist() == [5, 5, 5]
    x.zero_grad()
    assert x.grad is None


def test_zero_size_tensors_have_gradients_of_zero_size():
    x, w = leaf(0, 3), leaf(3, 2)
    (x @ w).sum().backward()
    assert x.grad.shape == (0, 3) and w.grad.tolist() == [[0, 0]] * 3


# Calls of backward.

def test_several_elements_want_a_gradient():
    with pytest.raises(GraphError, match=r"\(3,\)"):
        leaf(3).backward()
    x = leaf(1, 1)
    x.backward()
    assert x.grad.tolist() == [[1]]


def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"\(3,\).*\(1, 3\)"):
        (leaf(3) * 2.0).backward(np.ones((1, 3)))


def test_a_tensor_without_graph_is_refused():
    x = leaf(3)
    with pytest.raises(GraphError, match="requires grad"):
        tt.ones(1).backward()
    x.sum().backward()
    with pytest.raises(GraphError, match="second derivatives"):
        x.grad.sum().backward()


def test_a_graph_is_walked_once_unless_it_is_retained():
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 4 * x.detach().numpy())
    with pytest.raises(GraphError, match="Sum was released"):
        y.backward()


def test_two_losses_on_one_trunk_need_it_retained():
    x = leaf(3)
    trunk = x * x
    one, two = trunk.sum(), (trunk * 2.0).sum()
    one.backward()
    with pytest.raises(GraphError, match="Mul was released"):
        two.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy())


def test_a_function_without_backward_is_named():
    class Odd(Function):
        def forward(self, a):
            return a + 1

    with pytest.raises(GraphError, match="Odd has no backward"):
        Odd.apply(leaf(1)).backward()


def test_a_backward_of_another_shape_is_named():
    class Wrong(Function):
        def forward(self, a):
            return a * 2

        def backward(self, grad):
            return (grad[:, :2],)

    with pytest.raises(ShapeError, match=r"Wrong.backward returned shape \(2, 2\) for operand 0 of shape \(2, 3\)"):
        Wrong.apply(leaf(2, 3)).sum().backward()


def test_a_function_defines_backward_beside_forward():
    class Cube(Function):
        def forward(self, a):
            return a**3

        def backward(self, grad):
            (a,) = self.saved
            return (grad * 3 * a * a,)

    assert gradcheck(Cube(), leaf(3)) and gradcheck(lambda x: Cube.apply(x[::2].T) * x[0, 0], leaf(4, 3))


# Without recording.

def test_no_grad_records_nothing_and_restores_what_was():
    x = leaf(3)
    with no_grad():
        assert not (x * 2.0).requires_grad and not tt.is_grad_enabled()
        with no_grad():
            pass
        assert not tt.is_grad_enabled()
    with pytest.raises(KeyError):
        with no_grad():
            raise KeyError
    assert tt.is_grad_enabled() and (x * 2.0).requires_grad


def test_a_decorated_function_records_nothing_also_when_it_calls_itself():
    @no_grad()
    def count(n, x):
        """Counts."""
        return [bool((x * 1.0).requires_grad)] + (count(n - 1, x) if n else [])

    assert count(3, leaf(1)) == [False] * 4 and tt.is_grad_enabled() and count.__name__ == "count" and count.__doc__ == "Counts."


def test_no_grad_concerns_its_own_thread():
    shared, barrier, seen = no_grad(), threading.Barrier(8), {}

    def work(k):
        for step in range(50):
            barrier.wait(60)
            if k % 2:
                with shared:
                    seen[k, step] = tt.is_grad_enabled() is False
            else:
                seen[k, step] = tt.is_grad_enabled() is True
        seen[k, "after"] = tt.is_grad_enabled()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 8 * 51 and all(seen.values()) and tt.is_grad_enabled()


def test_threads_walk_their_own_graphs():
    w, results = leaf(50, 50), []

    def work(seed):
        x = leaf(50, 50, seed=seed)
        for _ in range(10):
            x.zero_grad()
            (tt.tanh(x @ w.detach()) * x).sum().backward()
        results.append((seed, x.grad.numpy()))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed, grad in results:
        x = leaf(50, 50, seed=seed)
        (tt.tanh(x @ w.detach()) * x).sum().backward()
        np.testing.assert_array_equal(grad, x.grad.numpy())


def test_detach_shares_memory_and_ends_the_graph():
    x = leaf(3)
    y = (x * 2.0).detach()
    assert not y.requires_grad and x.detach().shares_storage(x)
    (y * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


def test_requires_grad_of_a_result_cannot_be_turned_off():
    with pytest.raises(GraphError, match="detach"):
        (leaf(1) * 2.0).requires_grad_(False)
    assert not leaf(1).requires_grad_(False).requires_grad


# Hooks.

def test_hooks_run_in_order_and_may_replace_the_gradient():
    x, seen = leaf(2), []
    y = x * 3.0
    first = y.register_hook(lambda g: seen.append(("first", g.tolist())))
    y.register_hook(lambda g: g * 10.0)
    y.register_hook(lambda g: seen.append(("last", g.tolist())))
    y.sum().backward(retain_graph=True)
    assert seen == [("first", [1, 1]), ("last", [10, 10])] and x.grad.tolist() == [30, 30]
    first.remove()
    first.remove()
    seen.clear()
    y.sum().backward()
    assert seen == [("last", [10, 10])]


def test_a_hook_of_a_leaf_sees_the_complete_gradient_once():
    x, seen = leaf(2), []
    x.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: g.numpy() * 0.5)
    (x + x + x).sum().backward()
    assert seen == [[3, 3]] and x.grad.tolist() == [1.5, 1.5]


def test_hooks_that_make_no_sense_are_refused():
    with pytest.raises(GraphError):
        tt.ones(2).register_hook(print)
    x = leaf(2)
    x.register_hook(lambda g: tt.ones(3))
    with pytest.raises(ShapeError, match=r"\(3,\).*\(2,\)"):
        x.sum().backward()


def test_retain_grad_keeps_the_gradient_of_a_result_and_not_the_result():
    x = leaf(2)
    y = x * 3.0
    y.retain_grad()
    (y * y).sum().backward()
    np.testing.assert_allclose(y.grad.numpy(), 2 * y.detach().numpy())
    before = Storage.live_bytes
    z = y.detach() + x
    z.retain_grad()
    w = z + 1.0
    del z
    gc.collect()
    assert Storage.live_bytes == before + w.nbytes
    w.sum().backward()


# Writes in place.

@pytest.mark.parametrize("write", [lambda t: t.add_(1.0), lambda t: t[0].fill_(1.0), lambda t: t.__setitem__(0, 5.0),
                                   lambda t: t.detach().T.mul_(2.0)], ids=["add_", "view", "setitem", "detached view"])
def test_a_write_to_what_backward_needs_is_noticed(write):
    w, data = leaf(2, 2), tt.ones((2, 2), "float64")
    y = (w * data).sum()
    write(data)
    with pytest.raises(GraphError, match="Mul needs operand 1"):
        y.backward()
    assert w.grad is None


def test_a_write_to_what_backward_does_not_need_is_free():
    w, data = leaf(2), tt.ones(2, "float64")
    y = (w + data).sum()
    data.fill_(7.0)
    y.backward()
    assert w.grad.tolist() == [1, 1]


def test_a_write_to_a_kept_output_is_noticed():
    x = leaf(2)
    y = tt.sigmoid(x)
    y.detach().fill_(0.0)
    with pytest.raises(GraphError, match="Sigmoid needs its output"):
        y.sum().backward()


def test_tensors_that_require_grad_are_written_only_without_recording():
    x = leaf(2)
    for attempt in (lambda: x.add_(1.0), lambda: x.__setitem__(0, 1.0), lambda: x[0].fill_(1.0), lambda: (x * 2.0).mul_(2.0),
                    lambda: tt.zeros(2, "float64").copy_(x), lambda: tt.zeros(2, "float64").__setitem__(slice(None), x)):
        with pytest.raises(InPlaceError):
            attempt()
    with no_grad():
        x.fill_(3.0)
        x[0] = 4.0
    assert x.tolist() == [4, 3]


# Memory.

def held(f):
    gc.collect()
    before = Storage.live_bytes
    result = f()
    return Storage.live_bytes - before, result


def test_a_graph_keeps_what_its_rules_need_and_no_more():
    w, x = leaf(64, 64), tt.ones((32, 64), "float64")
    activation = 32 * 64 * 8
    assert held(lambda: x + w[0] + w[1])[0] == activation  # the result alone: sums need nothing
    assert held(lambda: tt.relu(x @ w))[0] == activation  # and ReLU its own output
    assert held(lambda: tt.sigmoid(x @ w).sum())[0] == activation + 8
    assert held(lambda: (w * 2.0).sum())[0] == 16  # the constant, and the sum
    y = tt.relu(x @ w)
    assert held(lambda: (y * x).sum())[0] == 8
    assert held(lambda: (y * 2.0).sum())[0] == 16


def test_backward_frees_the_graph_and_leaves_the_gradients():
    w, x = leaf(64, 64), tt.ones((32, 64), "float64")
    size, loss = held(lambda: tt.tanh(tt.tanh(x @ w) @ w).sum())
    assert size == 2 * 32 * 64 * 8 + 8
    before = Storage.live_bytes
    loss.backward()
    assert Storage.live_bytes - before == w.grad.nbytes - 2 * 32 * 64 * 8


def test_a_graph_that_is_never_walked_is_freed_with_its_result():
    w = leaf(64, 64)
    before = Storage.live_bytes
    for _ in range(20):
        (w @ w).sum()
    gc.collect()
    assert Storage.live_bytes == before


def test_no_cycles_need_the_garbage_collector():
    w = leaf(8, 8)
    w.register_hook(lambda g: None)
    gc.collect()
    gc.disable()
    try:
        before = Storage.live_bytes
        loss = tt.softmax(w @ w).sum()
        loss.retain_grad()
        loss.backward()
        del loss
        assert Storage.live_bytes == before + w.grad.nbytes
    finally:
        gc.enable()


def test_a_converted_copy_that_is_kept_is_counted():
    narrow, wide = leaf(100, dtype="float32"), leaf(100, seed=2)
    size, y = held(lambda: narrow * wide)
    assert size == 800 + 800  # the result, and narrow in float64


# Checking.

def test_numerical_gradients_of_known_functions():
    x = leaf(2, 3)
    (g,) = numerical_gradient(lambda x: x**3.0, x.detach())
    np.testing.assert_allclose(g, 3 * x.detach().numpy() ** 2, rtol=1e-8, atol=1e-8)


def test_gradcheck_finds_a_wrong_rule_and_says_where():
    class Wrong(Function):
        def forward(self, a, b):
            return a * b

        def backward(self, grad):
            a, b = self.saved
            return grad * b, np.where(np.arange(3) == 1, grad, grad * a)

    x, y = leaf(3), leaf(3, seed=2)
    with pytest.raises(GradcheckError, match=r"operand 1, element \(1,\)"):
        gradcheck(Wrong(), x, y)
    assert x.grad is None


def test_gradcheck_wants_float64():
    with pytest.raises(DTypeError, match="operand 0 is float32"):
        gradcheck(tt.tanh, leaf(3, dtype="float32"))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=4), st.data())
def test_unbroadcast_is_the_transpose_of_stretching(shape, data):
    narrow = [data.draw(st.sampled_from([1, n])) for n in shape[data.draw(st.integers(0, len(shape))):]]
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=narrow), rng.normal(size=shape)
    back = unbroadcast(g, tuple(narrow))
    assert back.shape == tuple(narrow)
    assert np.sum(np.broadcast_to(x, shape) * g) == pytest.approx(np.sum(x * back), abs=1e-12)


# Checkpoints.

def test_a_checkpoint_gives_the_same_gradients_and_holds_less():
    weights = [leaf(32, 32, seed=k, dtype="float32") for k in range(16)]
    x = tt.ones((64, 32))

    def segment(h, part):
        for w in part:
            h = tt.tanh(h @ w * 0.2)
        return h

    def plain():
        return segment(x, weights).sum()

    def cut():
        h = x
        for k in range(0, 16, 4):
            h = checkpoint(lambda h, k=k: segment(h, weights[k:k + 4]), h)
        return h.sum()

    found, peaks = [], []
    for f in (plain, cut):
        for w in weights:
            w.zero_grad()
        f().backward()
        found.append([w.grad.numpy().copy() for w in weights])
        Storage.peak_bytes = before = Storage.live_bytes
        f().backward()
        peaks.append(Storage.peak_bytes - before)
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert peaks[1] < 0.65 * peaks[0]


def test_a_checkpoint_repeats_dropout_and_leaves_the_generator_alone():
    manual_seed(3)
    model = Sequential(Linear(8, 8), Dropout(0.5), tt.tanh, Linear(8, 8), Dropout(0.5, rng=np.random.default_rng(5)))
    x = leaf(4, 8, dtype="float32")

    def run(f):
        manual_seed(4)
        model[4].rng = np.random.default_rng(5)
        x.zero_grad()
        model.zero_grad()
        f().sum().backward()
        after = tt.layers.default_rng().random(3)
        return [x.grad.numpy().copy(), *(p.grad.numpy().copy() for p in model.parameters()), after, model[4].rng.random(3)]

    for a, b in zip(run(lambda: model(x)), run(lambda: checkpoint(model, x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_a_checkpoint_survives_a_new_seed_before_backward():
    drop, x = Dropout(0.5), leaf(1000, dtype="float32")
    y = checkpoint(drop, x)
    manual_seed(99)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy() == 0, y.detach().numpy() == 0)


def test_a_checkpoint_of_data_still_trains_the_parameters_inside():
    w = leaf(3)
    checkpoint(lambda x: x * w, tt.ones(3, "float64")).sum().backward()
    assert w.grad.tolist() == [1, 1, 1]
    with no_grad():
        assert not checkpoint(lambda x: x * w, tt.ones(3, "float64")).requires_grad


def test_a_checkpoint_refuses_results_from_outside():
    x = leaf(3)
    h = x * 2.0
    with pytest.raises(GraphError, match="Mul from outside"):
        checkpoint(lambda x: x * h, x)


def test_a_checkpoint_in_a_checkpoint_and_of_several_tensors():
    x, y = leaf(3), leaf(3, seed=2)
    assert gradcheck(lambda x, y: checkpoint(lambda a, b: checkpoint(tt.tanh, a * b) + a, x, y) * x, x, y)


def test_a_checkpoint_notices_that_its_operand_was_overwritten():
    x, data = leaf(3), tt.ones(3, "float64")
    y = checkpoint(lambda x, d: x * d, x, data)
    data.fill_(2.0)
    with pytest.raises(GraphError, match="Checkpoint needs operand 1"):
        y.sum().backward()
