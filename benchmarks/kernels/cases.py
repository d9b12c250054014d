"""The rows of the table. Every contender makes its own outputs, and their agreement is checked before anything is timed."""

import numpy as np
import torch
import torch.nn.functional as F

from tinytorch._ext import _reference
from tinytorch._ext._reference.quant import pack_int4
from tinytorch.backend import kernel

from . import nets
from .harness import Case

ROWS_GOAL, GEMM_GOAL, ATTENTION_GOAL = (0.60, 0.60), (0.55, 1.1), (0.60, 0.90)


def normal(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


def new(*shapes):
    return tuple(np.empty(shape, np.float32) for shape in shapes)


def tensors(*arrays):
    return tuple(torch.from_numpy(a) for a in arrays)


def same(ours, theirs, rel=1e-4):
    """Raise AssertionError unless two results, or tuples of them, agree to `rel` of the largest element."""
    ours, theirs = (x if isinstance(x, tuple | list) else (x,) for x in (ours, theirs))
    for a, b in zip(ours, theirs, strict=True):
        b = np.asarray(b.detach() if isinstance(b, torch.Tensor) else b)
        np.testing.assert_allclose(np.asarray(a).reshape(b.shape), b, rtol=rel, atol=rel * float(np.abs(b).max()))


def case(group, name, runs, **options):
    """A Case whose contenders are held against PyTorch, or against NumPy where PyTorch has no such thing."""
    oracle = "torch" if "torch" in runs else "numpy"

    def check():
        for contender, run in runs.items():
            if contender != oracle:
                same(run(), runs[oracle]())

    return Case(group, name, runs, check=check, **options)


def twins(name):
    """(the kernel, its NumPy twin)."""
    return kernel(name), getattr(_reference, name)


def products():
    for sizes in ((16,) * 3, (64,) * 3, (128,) * 3, (256,) * 3, (512,) * 3, (1024,) * 3, (64, 784, 256), (64, 256, 10), (1024, 128, 512)):
        yield product(*sizes)


def product(m, k, n):
    a, b = normal(m, k), normal(k, n)
    ta, tb = tensors(a, b)

    def ours():
        (out,) = new((m, n))
        kernel("gemm")(a, b, out)
        return out

    large = min(m, k, n) >= 128
    return case("GEMM n ≥ 128" if large else "GEMM, small or thin", f"{m} × {k} × {n}",
                {"ours": ours, "torch": lambda: ta @ tb, "numpy": lambda: a @ b}, goal=GEMM_GOAL if large else (None, None),
                flop=2 * m * k * n, traffic=4 * (m * k + k * n + m * n), least=() if large else ("numpy", 1.0))  # fmt: skip


def rows():
    for r, d in ((64, 256), (1024, 512), (4096, 2048)):
        yield from row_operations(r, d)


def row_operations(r, d):
    x, bias, grad, weight = normal(r, d), normal(d), normal(r, d)[::-1].copy(), normal(d) + 1
    labels = np.random.default_rng(0).integers(0, d, r)
    tx, tbias, tgrad, tweight, tlabels = tensors(x, bias, grad, weight, labels)
    leaf = tx.clone().requires_grad_()

    def row(name, kernel_name, call, by_torch, arrays=2):
        """call(run) makes new outputs, fills them with run and returns them; arrays: how many of r x d are moved."""
        ours, numpy = twins(kernel_name)
        runs = {"ours": lambda: call(ours), "torch": by_torch, "numpy": lambda: call(numpy)}
        return case("fused row ops", f"{name}, {r} × {d}", runs, goal=ROWS_GOAL, traffic=4 * arrays * x.size)

    def filled(*arguments, **options):
        """A call that fills one new array."""
        def call(run):
            (out,) = new((r, d))
            run(*(out if a is ... else a for a in arguments), **options)
            return out
        return call

    def pulled(y, *leaves):
        """PyTorch's backward alone: the graph is made once and kept."""
        return lambda: torch.autograd.grad(y, leaves, tgrad, retain_graph=True)

    yield row("bias + ReLU", "activate", filled(x, ..., "relu", bias=bias), lambda: F.relu(tx + tbias))
    yield row("bias + GELU", "activate", filled(x, ..., "gelu_tanh", bias=bias), lambda: F.gelu(tx + tbias, approximate="tanh"))
    yield row("GELU backward", "activate_backward", filled(x, grad, ..., "gelu_tanh"),
              pulled(F.gelu(leaf, approximate="tanh"), leaf), arrays=3)  # fmt: skip
    yield row("softmax", "softmax", filled(x, ...), lambda: F.softmax(tx, -1))

    out, mean, rstd = new((r, d), (r,), (r,))
    kernel("layer_norm")(x, weight, bias, out, mean, rstd)
    of_norm = [t.clone().requires_grad_() for t in (tx, tweight, tbias)]

    def norm(run):
        out, mean, rstd = new((r, d), (r,), (r,))
        run(x, weight, bias, out, mean, rstd)
        return out

    def norm_back(run):
        dx, dweight, dbias = new((r, d), (d,), (d,))
        run(x, weight, mean, rstd, grad, dx, dweight, dbias)
        return dx, dweight, dbias

    yield row("layer norm", "layer_norm", norm, lambda: F.layer_norm(tx, (d,), tweight, tbias))
    yield row("layer norm backward", "layer_norm_backward", norm_back,
              pulled(F.layer_norm(of_norm[0], (d,), *of_norm[1:]), *of_norm), arrays=3)  # fmt: skip

    def entropy(run):
        losses, dx = new((r,), (r, d))
        return np.float32(run(x, labels, losses, dx)), dx

    def torch_entropy():
        loss = F.cross_entropy(leaf, tlabels)
        return loss, *torch.autograd.grad(loss, leaf)

    yield row("cross-entropy, forward and backward", "cross_entropy", entropy, torch_entropy)


def attention():
    for sizes in ((8, 128, 4, 32), (4, 256, 6, 64), (1, 512, 8, 64), (1, 2048, 8, 64)):
        yield from attention_of(*sizes)


def attention_of(batch, length, heads, width):
    x, grad = normal(batch, length, 3 * heads, width), normal(batch, length, heads, width)
    leaf, tgrad = tensors(x.reshape(batch, length, -1), grad.reshape(batch, length, -1))
    plain, _ = leaf.clone(), leaf.requires_grad_()
    (ours, numpy), (ours_back, numpy_back) = twins("attention_forward"), twins("attention_backward")

    def parts(packed):
        return packed[:, :, :heads], packed[:, :, heads:2 * heads], packed[:, :, 2 * heads:]

    def forward(run):
        out, lse = new(grad.shape, (batch, heads, length))
        run(*parts(x), out, lse)
        return out, lse

    def both(run, back):
        out, lse = forward(run)
        (dx,) = new(x.shape)
        back(*parts(x), out, lse, grad, *parts(dx))
        return out, dx

    def torch_forward(x):
        q, k, v = (z.view(batch, length, heads, width).transpose(1, 2) for z in x.split(heads * width, 2))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, length, heads * width)

    def torch_both():
        out = torch_forward(leaf)
        return out, *torch.autograd.grad(out, leaf, tgrad)

    flop, at = 2 * batch * heads * length**2 * width, f"B {batch} T {length} H {heads} D {width}"
    yield case("attention forward", at, {
        "ours": lambda: forward(ours)[0], "torch": lambda: torch_forward(plain), "numpy": lambda: forward(numpy)[0],
    }, flop=flop, traffic=16 * grad.size)  # fmt: skip
    yield case("attention fwd+bwd", at, {
        "ours": lambda: both(ours, ours_back), "torch": torch_both, "numpy": lambda: both(numpy, numpy_back),
    }, goal=ATTENTION_GOAL, flop=3.5 * flop, traffic=48 * grad.size)  # fmt: skip


def decoding():
    for length in (256, 2048):
        yield decoding_of(length)


def decoding_of(length):
    q, k, v = normal(1, 8, 64), normal(1, length, 8, 64), normal(1, length, 8, 64)[:, ::-1].copy()
    tq, tk, tv = (t.transpose(1, 2).contiguous() for t in tensors(q[:, None], k, v))
    lengths, (ours, numpy) = np.full(1, length), twins("attention_decode")

    def step(run):
        (out,) = new(q.shape)
        run(q, k, v, lengths, out)
        return out

    return case("decoding", f"8 heads of 64, {length} keys", {
        "ours": lambda: step(ours), "torch": lambda: F.scaled_dot_product_attention(tq, tk, tv), "numpy": lambda: step(numpy),
    }, flop=4 * k.size, traffic=8 * k.size)  # fmt: skip


def convolution():
    for sizes in ((64, 3, 16, 32), (64, 16, 32, 32), (64, 32, 32, 16), (64, 64, 64, 32), (64, 64, 128, 8)):
        yield from convolution_of(*sizes)
    yield from convolution_of(64, 64, 64, 32, window=1)
    yield from convolution_of(32, 32, 64, 32, stride=2)
    yield from convolution_of(64, 64, 64, 32, groups=64)


def convolution_of(n, c, o, side, window=3, stride=1, groups=1):
    p, after = window // 2, (side - 1) // stride + 1
    x, weight, bias, grad = normal(n, c, side, side), normal(o, c // groups, window, window), normal(o), normal(n, o, after, after)
    tx, tweight, tbias, tgrad = tensors(x, weight, bias, grad)
    leaves = [t.clone().requires_grad_() for t in (tx, tweight, tbias)]
    how = {"stride": stride, "padding": p, "groups": groups}
    y = F.conv2d(*leaves, **how)
    how |= {"stride": (stride, stride), "padding": (p, p)}
    (ours, numpy), to_input, to_weight = twins("conv2d"), twins("conv2d_input_grad"), twins("conv2d_weight_grad")

    def forward(run):
        (out,) = new(grad.shape)
        run(x, weight, out, bias, **how)
        return out

    def backward(k):
        dx, dweight, dbias = new(x.shape, weight.shape, bias.shape)
        to_input[k](grad, weight, dx, **how)
        to_weight[k](x, grad, dweight, dbias, **how)
        return dx, dweight, dbias

    forward_goal, backward_goal = ((1.2, 1.2), (1.5, 1.5)) if 16 <= c <= 64 and groups == 1 else ((None, None),) * 2
    flop, traffic = 2 * window * window * c // groups * grad.size, 4 * (x.size + grad.size)
    kind = "depthwise " * (groups > 1) + f"{window} × {window}" + f", stride {stride}" * (stride > 1)
    at = f"{kind}, {n} × {c} × {side} × {side} → {o}"
    yield case("conv forward", at, {
        "ours": lambda: forward(ours), "torch": lambda: F.conv2d(tx, tweight, tbias, stride, p, 1, groups), "numpy": lambda: forward(numpy),
    }, goal=forward_goal, flop=flop, traffic=traffic)  # fmt: skip
    yield case("conv backward", at, {
        "ours": lambda: backward(0), "torch": lambda: torch.autograd.grad(y, leaves, tgrad, retain_graph=True),
        "numpy": lambda: backward(1),
    }, goal=backward_goal, flop=2 * flop, traffic=2 * traffic)  # fmt: skip


def embedding():
    n, width, count = 256, 128, 1024
    index, grad, table = np.random.default_rng(0).integers(0, n, count), normal(count, width), normal(n, width)
    tindex, tgrad, ttable = tensors(index, grad, table)

    def add(run):
        out = np.zeros((n, width), np.float32)
        run(grad, index, out)
        return out

    def take(run):
        (out,) = new((count, width))
        run(table, index, out)
        return out

    ours, numpy = twins("scatter_add")
    yield case("scatter-add", f"{count} rows of {width} into {n}", {
        "ours": lambda: add(ours), "numpy": lambda: add(numpy), "torch": lambda: torch.zeros(n, width).index_add_(0, tindex, tgrad),
    }, traffic=12 * grad.size, least=("numpy", 25))  # fmt: skip
    gather, numpy_gather = twins("gather")
    yield case("gather", f"{count} rows of {width} of {n}", {
        "ours": lambda: take(gather), "numpy": lambda: take(numpy_gather), "torch": lambda: F.embedding(tindex, ttable),
    }, traffic=8 * grad.size)  # fmt: skip


def scalars():
    """A network of numbers: 8 inputs, 16 ReLU units, one output; forward and backward."""
    def step(value):
        inputs = [value(0.1 * i) for i in range(8)]
        units = [([(value(0.01 * (i * j % 7 - 3)), x) for i, x in enumerate(inputs)], value(0.05 * j)) for j in range(16)]

        def run():
            y = 0
            for unit, weight in units:
                total = 0
                for w, x in unit:
                    total = w * x + total
                y = total.relu() * weight + y
            y.backward()
            return y.data

        return run

    compiled, python = twins("Value")
    yield case("scalar engine", "304 operations, forward and backward", {"ours": step(compiled), "numpy": step(python)},
               least=("numpy", 12))  # fmt: skip


def images():
    """Pooling and batch norm of 64 x 64 x 32 x 32."""
    x = normal(64, 64, 32, 32)
    (tx,) = tensors(x)
    yield from pooling(x, tx, 2, 2, 0)
    yield from pooling(x, tx, 3, 2, 1)
    weight, bias, grad = normal(64), normal(64)[::-1].copy(), normal(*x.shape)[::-1].copy()
    tweight, tbias, tgrad = tensors(weight, bias, grad)
    mean, var = new(64, 64)
    kernel("batch_norm")(x, weight, bias, new(x.shape)[0], mean, var)
    tmean, trstd = torch.from_numpy(mean), 1 / torch.sqrt(torch.from_numpy(var) + 1e-5)
    (ours, numpy), (ours_back, numpy_back) = twins("batch_norm"), twins("batch_norm_backward")

    def forward(run):
        out, mean, var = new(x.shape, 64, 64)
        run(x, weight, bias, out, mean, var)
        return out

    def backward(run):
        made = new(x.shape, 64, 64)
        run(x, grad, weight, mean, var, *made)
        return made

    at = "64 × 64 × 32 × 32"
    yield case("batch norm", at, {
        "ours": lambda: forward(ours), "numpy": lambda: forward(numpy),
        "torch": lambda: torch.native_batch_norm(tx, tweight, tbias, None, None, True, 0.1, 1e-5)[0]}, traffic=8 * x.size)  # fmt: skip
    yield case("batch norm backward", at, {
        "ours": lambda: backward(ours_back), "numpy": lambda: backward(numpy_back),
        "torch": lambda: torch.ops.aten.native_batch_norm_backward(
            tgrad, tx, tweight, None, None, tmean, trstd, True, 1e-5, [True] * 3)}, traffic=12 * x.size)  # fmt: skip


def pooling(x, tx, window, stride, padding):
    sides = (window, window), (stride, stride), (padding, padding)
    maximum, index = F.max_pool2d(tx, window, stride, padding, return_indices=True)
    grad, places = normal(*maximum.shape), index.numpy().astype(np.int32)
    (tgrad,) = tensors(grad)
    (ours, numpy), (ours_back, numpy_back) = twins("max_pool2d"), twins("max_pool2d_backward")

    def forward(run):
        (out,), index = new(grad.shape), np.empty(grad.shape, np.int32)
        run(x, out, index, *sides)
        return out, index

    def backward(run):
        (dx,) = new(x.shape)
        run(grad, places, dx, *sides)
        return dx

    at, traffic = f"{window} × {window}, {stride} apart, 64 × 64 × 32 × 32", 4 * (x.size + 2 * grad.size)
    yield case("max pool", at, {
        "ours": lambda: forward(ours), "numpy": lambda: forward(numpy),
        "torch": lambda: F.max_pool2d(tx, window, stride, padding, return_indices=True)}, traffic=traffic)  # fmt: skip
    yield case("max pool backward", at, {
        "ours": lambda: backward(ours_back), "numpy": lambda: backward(numpy_back),
        "torch": lambda: torch.ops.aten.max_pool2d_with_indices_backward(
            tgrad, tx, *sides, (1, 1), False, index)}, traffic=traffic)  # fmt: skip


def quantised():
    """Products of int8 with PyTorch's own; of a 4-bit and an int8 matrix with a vector beside float32."""
    m, k, n = 256, 1024, 1024
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, shape, np.int8) for shape in ((m, k), (k, n)))
    ta, tb = tensors(a, b)

    def made(run):
        out = np.empty((m, n), np.int32)
        run(a, b, out)
        return out

    ours, numpy = twins("gemm_int8")
    yield case("int8 GEMM", f"{m} × {k} × {n}", {
        "ours": lambda: made(ours), "numpy": lambda: made(numpy), "torch": lambda: torch._int_mm(ta, tb)}, goal=(1 / 0.7, None),
        flop=2 * m * k * n)  # fmt: skip
    n = k = 4096
    weight, x, (out,) = normal(n, k), normal(k), new(n)
    tweight, tx = tensors(weight, x)
    packed, scales = pack_int4(weight)
    exact, small, numbers = np.empty(n, np.int32), rng.integers(-128, 128, (n, k), np.int8), rng.integers(-128, 128, k, np.int8)
    int4, int8 = kernel("gemv_int4"), kernel("gemv_int8")
    # PyTorch's float32 product stands for what the smaller weights replace: the results are others, so they are not compared.
    yield Case("4-bit GEMV beside float32", f"{n} × {k}", {
        "ours": lambda: int4(packed, scales, x, out), "torch": lambda: torch.mv(tweight, tx)},
        flop=2 * n * k, traffic=packed.nbytes)  # fmt: skip
    yield Case("int8 GEMV beside float32", f"{n} × {k}", {
        "ours": lambda: int8(small, numbers, exact), "torch": lambda: torch.mv(tweight, tx)}, flop=2 * n * k, traffic=n * k)  # fmt: skip


def training():
    dense = 6 * 64 * (784 * 256 + 256 * 10) - 2 * 64 * 784 * 256  # no gradient for the images
    image = 18 * 64 * (3 * 16 * 32 * 32 * 2 + 16 * 32 * 16 * 16 * 3) + 6 * 64 * 2048 * 10
    tokens = 8 * 128
    text = 6 * tokens * (4 * 12 * 128**2 + 128 * 256) + 4 * 7 * 2 * tokens * 128 * 128 / 2
    for name, build, goal, flop in (
        ("MLP 784-256-10, B 64, Adam step", nets.mlp, (0.30, 0.40), dense),
        ("MLP of the layers of modules 02 and 03", lambda: nets.mlp(fused=False), (None, None), dense),
        ("CNN 3→16→32, 64×32×32 step", nets.cnn, (0.70, 0.80), image),
        ("GPT L4 d128 H4 T128 B8 V256 step", nets.gpt, (0.50, 0.80), text),
    ):
        yield step_of(name, build(), goal, flop)


def step_of(name, steps, goal, flop):
    return Case("training step", name, steps, goal=goal, flop=flop, check=lambda: nets.agree(steps))


def two_threads():
    """How much a second thread helps: the same product on one and on two."""
    a, b = normal(1024, 1024), normal(1024, 1024)

    def on(threads):
        def run():
            (out,) = new((1024, 1024))
            kernel("gemm")(a, b, out, threads=threads)
            return out
        return run

    yield case("2 threads", "GEMM 1024, against 1 thread", {"ours": on(2), "numpy": on(1)}, least=("numpy", 1.6), flop=2 * 1024**3)


ALL = (training, products, rows, attention, decoding, convolution, images, embedding, quantised, scalars)
