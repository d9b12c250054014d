"""What a kernel does in the place of an operation of the framework, and whether it may.

Each stand-in is registered for one class of the reference, or one backward, by its place in the package. It is taken only
while the code there is the package's own: a class or a rule that a student wrote, in a notebook or through tinytorch.use,
runs as it is written. A stand-in returns NotImplemented for arrays that its kernel does not take; then NumPy runs, and what
is wrong with an operand is told by the module's own error.
"""

import sys
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path

import numpy as np

PACKAGE = Path(__file__).parents[1]
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
FORWARD, BACKWARD, MODULE, STEP = {}, {}, {}, {}  # place in the package -> (kernel, stand-in)


def forward_of(place, kernel):
    """Decorator: stand_in(kernel, function, tensors) -> array replaces the forward of the class at this place."""
    return partial(_enter, FORWARD, place, kernel)


def backward_of(place, kernel):
    """Decorator: stand_in(kernel, function, grad) -> tuple of arrays replaces the backward at this place."""
    return partial(_enter, BACKWARD, place, kernel)


def module_of(place, kernel):
    """Decorator: stand_in(kernel, module, inputs, options) -> tensor replaces the forward of the layer at this place."""
    return partial(_enter, MODULE, place, kernel)


def step_of(place, kernel):
    """Decorator: stand_in(kernel, optimizer, group, step, known, arrays) -> bool replaces the rule at this place."""
    return partial(_enter, STEP, place, kernel)


def _enter(table, place, kernel, stand_in):
    table[place] = kernel, stand_in
    return stand_in


def choose_forward(cls, native):
    """The stand-in for a class of operations, with its kernel, or None. native: {name: compiled kernel}."""
    return _choose(FORWARD, cls, [cls.forward, getattr(cls, "compute", cls.forward)], native)


def choose_backward(rule, native):
    """The stand-in for a backward, with its kernel, or None."""
    return _choose(BACKWARD, rule, [rule], native)


def choose_module(cls, native):
    """The stand-in for a class of layers, with its kernel, or None."""
    return _choose(MODULE, cls, [cls.forward], native)


def choose_step(rule, native):
    """The stand-in for the rule of an optimizer, with its kernel, or None."""
    return _choose(STEP, rule, [rule], native)


def _choose(table, thing, functions, native):
    package, _, place = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}".partition(".")
    if package != PACKAGE.name or place not in table or not all(map(_ours, functions)):
        return None
    kernel, stand_in = table[place]
    return partial(stand_in, native[kernel]) if kernel in native else None


@lru_cache(maxsize=1024)
def _ours(function):
    """Whether a function was read from a file of this package."""
    code = getattr(function, "__code__", None)
    return code is not None and Path(code.co_filename).parent == PACKAGE


# Products


@forward_of("tensor.MatMul", "gemm")
def matmul(gemm, function, tensors):
    a, b = function.saved
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2] or a.dtype not in FLOATS:
        return NotImplemented
    function.turned = turned(a), turned(b)
    if a.ndim == b.ndim == 2:
        return product(gemm, a, b, ())
    try:
        return product(gemm, a, b, np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    except ValueError:
        return NotImplemented


def turned(x):
    """Whether a matrix is a transposed view of a row-major one."""
    return x.ndim == 2 and x.strides[0] < x.strides[1]


def product(gemm, a, b, leading):
    out = np.empty((*leading, a.shape[-2], b.shape[-1]), a.dtype)
    gemm(a, b, out)
    return out


@backward_of("autograd.matmul_backward", "gemm")
def matmul_backward(gemm, function, grad):
    a, b = function.saved
    (row, column), (wants_a, wants_b) = function.shapes, function.wants
    turned_a, turned_b = getattr(function, "turned", (False, False))
    if len(row) < 2 or len(column) < 2 or grad.dtype not in FLOATS:
        return NotImplemented
    for_a = for_b = None
    if wants_a:
        b = b.astype(grad.dtype, copy=False)
        for_a = product_like(turned_a and grad.ndim == 2, grad.shape[:-2], gemm, grad, b.swapaxes(-1, -2))
    if wants_b:
        a = a.astype(grad.dtype, copy=False)  # float16 operands come with a gradient in float32
        if len(row) > 2 and len(column) == 2:  # one product for all rows, and no batch of weight gradients
            a, grad = a.reshape(-1, row[-1]), grad.reshape(-1, column[-1])
        for_b = product_like(turned_b and a.ndim == 2, grad.shape[:-2], gemm, a.swapaxes(-1, -2), grad)
    return for_a, for_b


def product_like(is_turned, leading, gemm, a, b):
    """a @ b, transposed in memory if the operand is whose gradient it is: then the gradient of the matrix of which that is a
    view, the transpose once more, is row-major and need not be rearranged."""
    return product(gemm, b.T, a.T, ()).T if is_turned else product(gemm, a, b, leading)


def _products_are_ours(tensor):
    """Whether products, sums and what goes back through them are the package's own: a student's are to run, and to be judged."""
    autograd = sys.modules.get("tinytorch.autograd")
    rules = [getattr(autograd, name, None) for name in ("backward", "matmul_backward")] if autograd else []
    return all(map(_ours, (tensor.MatMul.forward, tensor.Add.forward, tensor.Permute.forward, *rules)))


@module_of("layers.Linear", "gemm")
def linear(gemm, layer, inputs, options):
    """One operation with the bias in it, in place of a view, a product and a sum."""
    fused, tensor = import_module("tinytorch.fused"), import_module("tinytorch.tensor")
    weight, bias = layer._parameters.get("weight"), layer._parameters.get("bias")
    operands = (*inputs, weight) if bias is None else (*inputs, weight, bias)
    if len(inputs) != 1 or options or not _products_are_ours(tensor):
        return NotImplemented
    if not all(isinstance(t, tensor.Tensor) and t.dtype == np.float32 for t in operands):
        return NotImplemented
    fits = weight.ndim == 2 and inputs[0].shape[-1:] == weight.shape[1:] and (bias is None or bias.shape == weight.shape[:1])
    return fused.Linear.apply(*operands) if fits else NotImplemented


# Layers on images: one operation each, with the errors of the layer's own forward where something does not fit


def of_images(layer, inputs, options):
    """The images and the parameters of a layer, all float32, or None."""
    tensor = import_module("tinytorch.tensor")
    operands = [*inputs, *(p for p in layer._parameters.values() if p is not None)]
    fits = len(inputs) == 1 and not options and all(isinstance(t, tensor.Tensor) and t.dtype == np.float32 for t in operands)
    return operands if fits and inputs[0].ndim == 4 else None


def reaches(x, kernel, padding, dilation=(1, 1)):
    """Whether a window fits images of this shape at all."""
    return all(n + 2 * p >= d * (k - 1) + 1 for n, k, p, d in zip(x.shape[2:], kernel, padding, dilation, strict=True))


@module_of("convolutions.Conv2d", "conv2d")
def conv2d(kernel, layer, inputs, options):
    operands, o = of_images(layer, inputs, options), layer.options
    if operands is None or operands[0].shape[1] != operands[1].shape[1] * o["groups"]:
        return NotImplemented
    if not reaches(operands[0], operands[1].shape[2:], o["padding"], o["dilation"]):
        return NotImplemented
    return import_module("tinytorch.fused").Conv2d.apply(*operands, **o)


def pooling(name):
    def pool(kernel, layer, inputs, options):
        operands, o = of_images(layer, inputs, options), layer.options
        if operands is None or not reaches(operands[0], o["kernel"], o["padding"]):
            return NotImplemented
        return getattr(import_module("tinytorch.fused"), name).apply(*operands, **o)
    return pool


module_of("convolutions.MaxPool2d", "max_pool2d")(pooling("MaxPool2d"))
module_of("convolutions.AvgPool2d", "avg_pool2d")(pooling("AvgPool2d"))


@module_of("convolutions.BatchNorm2d", "batch_norm")
def batch_norm(kernel, layer, inputs, options):
    operands, running = of_images(layer, inputs, options), (layer.running_mean, layer.running_var)
    if operands is None or operands[0].shape[1] != operands[1].numel() or any(r.dtype != np.float32 for r in running):
        return NotImplemented
    if layer.training and operands[0].numel() < 2 * operands[0].shape[1]:
        return NotImplemented
    output = import_module("tinytorch.fused").BatchNorm2d.apply(
        *operands, running=[r.numpy() for r in running], training=layer.training, momentum=layer.momentum, eps=layer.eps)
    for buffer in running if layer.training else ():
        buffer.storage.version += 1  # written in place
    return output


# Activations


def rows_of(x):
    """x as kernels take it: float32, row-major. float16, integers and bools are computed in float32 too."""
    return np.asarray(x, np.float32, order="C")


def dtype_of_result(x):
    return x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)


def activation(place, rule, kind, output=False):
    """Register both directions of an activation that has no parameters. output: its backward is from its result."""

    @forward_of(place, "activate")
    def forward(activate, function, tensors):
        return activated(activate, function.saved[0], kind)

    @backward_of(rule, "activate_backward")
    def backward(activate_backward, function, grad):
        return pulled(activate_backward, function.output if output else function.saved[0], grad, kind)


def activated(activate, x, kind):
    if x.dtype == np.float64:
        return NotImplemented
    out = np.empty(x.shape, np.float32)
    activate(rows_of(x), out, kind)
    return out.astype(dtype_of_result(x), copy=False)


def pulled(activate_backward, x, grad, kind):
    if grad.dtype != np.float32:
        return NotImplemented
    out = np.empty(x.shape, np.float32)
    activate_backward(rows_of(x), rows_of(grad), out, kind)
    return (out,)


activation("activations.ReLU", "autograd.relu_backward", "relu", output=True)
activation("activations.SiLU", "autograd.silu_backward", "silu")
GELUS = {"none": "gelu", "tanh": "gelu_tanh"}


@forward_of("activations.GELU", "activate")
def gelu(activate, function, tensors):
    return activated(activate, function.saved[0], GELUS[function.params["approximate"]])


@backward_of("autograd.gelu_backward", "activate_backward")
def gelu_backward(activate_backward, function, grad):
    return pulled(activate_backward, function.saved[0], grad, GELUS[function.params["approximate"]])


def along_rows(function, x):
    """Whether the axis of a softmax is the last one of x, an array with axes."""
    return x.ndim > 0 and function.params["axis"] in (-1, x.ndim - 1)


def softmaxed(kernel, function, tensors):
    x = function.saved[0]
    if x.dtype == np.float64 or not along_rows(function, x):
        return NotImplemented
    out = np.empty(x.shape, np.float32)
    kernel(rows_of(x), out)
    return out.astype(dtype_of_result(x), copy=False)


def softmax_pulled(kernel, function, grad):
    if grad.dtype != np.float32 or not along_rows(function, grad):
        return NotImplemented
    out = np.empty(grad.shape, np.float32)
    kernel(rows_of(function.output), rows_of(grad), out)
    return (out,)


for name, place in (("softmax", "activations.Softmax"), ("log_softmax", "activations.LogSoftmax")):
    forward_of(place, name)(softmaxed)
    backward_of(f"autograd.{name}_backward", f"{name}_backward")(softmax_pulled)


# Losses


@forward_of("losses.CrossEntropyLoss", "cross_entropy")
def cross_entropy(kernel, function, tensors):
    """The gradient costs little more beside the loss, and is made with it if the logits require one."""
    logits, labels = function.saved
    if logits.ndim != 2 or logits.dtype != np.float32:
        return NotImplemented
    losses = np.empty(len(labels), np.float32)
    grad = np.empty(logits.shape, np.float32) if tensors[0].requires_grad else None
    try:
        total = kernel(np.ascontiguousarray(logits), np.ascontiguousarray(labels, np.int64), losses, grad, **function.params)
    except ValueError:  # a label that is no class
        return NotImplemented
    function.slope = grad
    return losses if function.params["reduction"] == "none" else np.asarray(total, np.float32)


@backward_of("autograd.cross_entropy_backward", "cross_entropy")
def cross_entropy_backward(kernel, function, grad):
    slope = getattr(function, "slope", None)
    if slope is None or grad.dtype != np.float32:
        return NotImplemented
    if grad.ndim:
        return slope * grad[:, None], None
    return slope if grad == 1 else slope * grad, None


# Rows by number


@forward_of("embeddings.Lookup", "gather")
def lookup(gather, function, tensors):
    weight, indices = function.saved
    if weight.dtype not in FLOATS:
        return NotImplemented
    out = np.empty((indices.size, weight.shape[1]), weight.dtype)
    try:
        gather(np.ascontiguousarray(weight), numbers_of(indices), out)
    except IndexError:  # a number that is no row
        return NotImplemented
    return out.reshape(*indices.shape, weight.shape[1])


@backward_of("embeddings.Lookup.backward", "scatter_add")
def lookup_backward(scatter_add, function, grad):
    if any(function.params.get(name) is not None for name in ("padding", "into")) or grad.dtype not in FLOATS:
        return NotImplemented
    indices, out = numbers_of(function.saved[1]), np.zeros(function.shapes[0], grad.dtype)
    scatter_add(np.ascontiguousarray(grad).reshape(len(indices), out.shape[1]), indices, out)
    return out, None


def numbers_of(indices):
    """Integers as one row of int64."""
    return np.ascontiguousarray(indices, np.int64).reshape(-1)


# Attention


@forward_of("attention.TiledAttention", "attention_forward")
def tiled_attention(attention_forward, function, tensors):
    q, k, v = function.saved
    causal, wide = function.params.get("causal", False), np.float32 if q.dtype == np.float16 else q.dtype
    fits = q.ndim == 4 and q.dtype.kind == "f" and k.shape == v.shape == (q.shape[0], *k.shape[1:3], q.shape[3])
    if not fits or 0 in k.shape or q.shape[1] % k.shape[1] or causal and q.shape[2] > k.shape[2]:
        return NotImplemented
    out, function.lse = np.empty(q.shape, wide), np.empty(q.shape[:3], wide)
    if out.size:
        attention_forward(*(by_position(a, wide) for a in (q, k, v)), out.swapaxes(1, 2), function.lse, causal)
    return out.astype(q.dtype, copy=False)


@backward_of("attention.TiledAttention.backward", "attention_backward")
def tiled_attention_backward(attention_backward, function, grad):
    q, k, v, out, grad = (by_position(a, function.lse.dtype) for a in (*function.saved, function.output, grad))
    parts = [np.empty(shape, grad.dtype) for shape in function.shapes]
    if grad.size:
        lse, views = function.lse, [part.swapaxes(1, 2) for part in parts]
        attention_backward(q, k, v, out, lse, grad, *views, function.params.get("causal", False))
        return tuple(parts)
    return tuple(np.zeros_like(part) for part in parts)


def by_position(x, dtype):
    """(B, H, T, D) as (B, T, H, D), D contiguous: a view where that is possible."""
    x = x.astype(dtype, copy=False)
    return (x if x.strides[-1] == x.itemsize else np.ascontiguousarray(x)).swapaxes(1, 2)


@module_of("attention.MultiHeadAttention", "attention_forward")
def multi_head_attention(kernel, layer, inputs, options):
    """From the packed projection, which is not cut into heads, where positions are not turned and nothing is cached."""
    attention, tensor = import_module("tinytorch.attention"), import_module("tinytorch.tensor")
    theirs = (attention.attend, attention.split_heads, attention.merge_heads, attention.TiledAttention.forward, type(layer).project)
    plain = len(inputs) == 1 and not options.keys() - {"mask", "cache", "offset"} and options.get("mask") is options.get("cache") is None
    if not plain or not layer.causal or layer.rotary is not None or not all(map(_ours, theirs)):
        return NotImplemented
    x = inputs[0]
    if not isinstance(x, tensor.Tensor) or x.ndim != 3 or x.dtype.kind != "f" or 0 in x.shape:
        return NotImplemented
    packed = layer.qkv(x)
    return layer.out(import_module("tinytorch.fused").CausalAttention.apply(packed, heads=layer.heads, kv_heads=layer.kv_heads))


# Norms and MLPs


def rows_and_parameters(layer, inputs, options):
    """The tensor of rows and the parameters of a layer, all float32 and of its width, or None."""
    tensor = import_module("tinytorch.tensor")
    operands = (*inputs, *layer._parameters.values())
    if len(inputs) != 1 or options or not all(isinstance(t, tensor.Tensor) and t.dtype == np.float32 for t in operands):
        return None
    return operands if inputs[0].ndim and all(p.shape == inputs[0].shape[-1:] for p in operands[1:]) else None


@module_of("transformers.LayerNorm", "layer_norm")
def layer_norm(kernel, layer, inputs, options):
    operands = rows_and_parameters(layer, inputs, options)
    ours = operands and _ours(import_module("tinytorch.transformers").NormalizeRows.forward)
    return import_module("tinytorch.fused").LayerNorm.apply(*operands, eps=layer.eps) if ours else NotImplemented


@module_of("transformers.RMSNorm", "rms_norm")
def rms_norm(kernel, layer, inputs, options):
    operands = rows_and_parameters(layer, inputs, options)
    return import_module("tinytorch.fused").RMSNorm.apply(*operands, eps=layer.eps) if operands else NotImplemented


@module_of("transformers.MLP", "gemm")
def mlp(gemm, layer, inputs, options):
    """The activation as a part of the product before it. A gate's is multiplied by the other product afterwards."""
    activations, layers, tensor = (import_module(f"tinytorch.{name}") for name in ("activations", "layers", "tensor"))
    bent = layer.up if layer.gate is None else layer.gate
    if len(inputs) != 1 or options or bent._forward_hooks or type(bent) is not layers.Linear:
        return NotImplemented
    theirs = (layers.Linear.forward, activations.ReLU.compute, activations.GELU.compute, activations.SiLU.compute)
    weight, bias = bent._parameters.get("weight"), bent._parameters.get("bias")
    operands = (inputs[0], weight) if bias is None else (inputs[0], weight, bias)
    if not all(map(_ours, theirs)) or not _products_are_ours(tensor):
        return NotImplemented
    if not all(isinstance(t, tensor.Tensor) and t.dtype == np.float32 for t in operands) or inputs[0].shape[-1:] != weight.shape[1:]:
        return NotImplemented
    activation = "silu" if layer.activation == "swiglu" else layer.activation
    wide = import_module("tinytorch.fused").Linear.apply(*operands, activation=activation)
    return layer.down(wide if layer.gate is None else wide * layer.up(inputs[0]))


# Optimizers


def contiguous(arrays):
    """Whether all arrays are of float32 and row-major."""
    return all(a.dtype == np.float32 and a.flags.c_contiguous for a in arrays)


@step_of("optimizers.Adam.rule", "adam_step")
def adam(kernel, optimizer, group, step, known, arrays):
    if not contiguous(arrays):
        return False
    kernel(*arrays, step, group["lr"], *group["betas"], group["eps"], group["weight_decay"], optimizer.decoupled)
    return True


@step_of("optimizers.SGD.rule", "sgd_step")
def sgd(kernel, optimizer, group, step, known, arrays):
    if not contiguous(arrays):
        return False
    x, grad, *buffer = arrays
    kernel(x, grad, *(buffer or [None]), group["lr"], group["momentum"], group["dampening"], group["nesterov"],
           group["weight_decay"], fresh=not all(known))
    return True
