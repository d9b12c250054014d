# Exported from modules/tinytorch/06_autograd by `mlsys build`; edit the module's source, not this file.

"""Reverse-mode differentiation: the graph that operations leave behind, and the walk back through it.

    y = f(x)                 leaves a Node for each operation on a tensor that requires grad
    y.backward()             adds to the .grad of each leaf that y was computed from
    with no_grad(): ...      records nothing
    checkpoint(f, x)         keeps x, and computes f again when its gradient is wanted
    gradcheck(f, x)          holds backward against central differences

Importing this module installs it: Function.record, a backward for each operation of modules 01, 02 and 04, and methods of
Tensor. A backward works on NumPy arrays, so that compiled kernels can run in it; gradients are therefore not recorded, and
there are no second derivatives.

Errors, each one line that says what it got and what to do:

    RuntimeError   <- GraphError      backward without a graph, or through one that was released or overwritten
    RuntimeError   <- InPlaceError    a write in place that would make a gradient wrong
    AssertionError <- GradcheckError  a backward that disagrees with central differences
    ValueError     <- ShapeError      a gradient of another shape than its tensor
    TypeError      <- DTypeError      integers and bools have no gradient
"""

import functools
import itertools
import math
import sys
import threading
import weakref
from contextvars import ContextVar

import numpy as np

from tinytorch import activations, losses, tensor
from tinytorch.backend import native_backward, reused_memory
from tinytorch.tensor import (
    DTypeError,
    Function,
    ShapeError,
    Storage,
    Tensor,
    View,
    float32,
    float64,
    full_key,
    normal_axis,
    slice_layout,
)


class GraphError(RuntimeError):
    """A backward without a graph, or through a graph that was released or whose saved arrays were overwritten."""


class InPlaceError(RuntimeError):
    """A write in place that would make a gradient wrong."""


class GradcheckError(AssertionError):
    """A backward that disagrees with central differences."""


def numerical_gradient(f, *tensors, gradient=1.0, eps=1e-6):
    """Central differences of the sum of gradient * f(*tensors) -> a float64 array of its shape for each tensor.

    f maps tensors to a tensor; tensors are float64 and stay as they are. gradient broadcasts to the result of f.
    Costs two calls of f for each element. The error is about eps² from the curvature of f and 1e-16 / eps from rounding.
    """
    copies = [Tensor(t) for t in tensors]
    results = []
    for copy in copies:
        values, slopes = copy.storage.data, np.zeros(copy.numel())
        for i, value in enumerate(values.copy()):
            sides = []
            for values[i] in (value + eps, value - eps):
                sides.append(float(np.sum(gradient * f(*copies).numpy())))
            values[i] = value
            slopes[i] = (sides[0] - sides[1]) / (2 * eps)
        results.append(slopes.reshape(copy.shape))
    return results


RULES = {}  # Function class -> (its backward, what that needs)


def backward_of(operation, needs=None):
    """Decorator: the function is the backward of an operation.

    needs[k] lists what the gradient for operand k is computed from: numbers of operands, or "output". Without it all
    operands are kept.
    """

    def register(rule):
        RULES[operation] = rule, needs
        return rule

    return register


def keep(function, tensors, output):
    """Drop from function what its backward does not need -> (what, storage, version) of each array that stays.

    function.wants says which operands require grad. From now on function.shapes has the shapes of all operands as forward
    saw them, function.saved None for what is not kept, and function.output the result if that is needed. A view keeps
    layouts, which cost nothing.
    """
    function.shapes = tuple(a.shape for a in function.saved)
    if isinstance(function, View):
        return ()
    needs = getattr(function, "needs", None)
    if needs is None:
        needed = set(range(len(tensors)))
    else:
        needed = {what for wanted, names in zip(function.wants, needs, strict=True) if wanted for what in names}
    kept = []
    for what in sorted(needed, key=str):
        if what == "output":
            storage, function.output = output.storage, output.numpy()
        else:
            array, storage = function.saved[what], tensors[what].storage
            if array.dtype != storage.data.dtype:
                storage = Storage(array)  # a converted copy: memory of its own, and counted
        kept.append((what, storage, storage.version))
    function.saved = tuple(array if k in needed else None for k, array in enumerate(function.saved))
    return tuple(kept)


@backward_of(tensor.Add, needs=((), ()))
def add_backward(self, grad):
    return grad, grad


@backward_of(tensor.Sub, needs=((), ()))
def sub_backward(self, grad):
    return grad, -grad


@backward_of(tensor.Neg, needs=((),))
def neg_backward(self, grad):
    return (-grad,)


@backward_of(tensor.Pow, needs=((0, 1), (0, 1, "output")))
def pow_backward(self, grad):
    """A constant power 0 has slope 0 also at a = 0, and 0 to a positive power does not change with the power."""
    a, b = self.saved
    for_a = np.where(b == 0, 0, grad * b * a ** (b - 1)) if self.wants[0] else None
    for_b = np.where((a == 0) & (b >= 0), 0, grad * self.output * np.log(a)) if self.wants[1] else None
    return for_a, for_b


@backward_of(tensor.Cast, needs=((),))
@backward_of(tensor.Contiguous, needs=((),))
def same_backward(self, grad):
    return (grad,)


@backward_of(tensor.Mul, needs=((1,), (0,)))
def mul_backward(self, grad):
    """The gradients for both factors, or None for one that is not wanted."""
    a, b = self.saved
    return grad * b if self.wants[0] else None, grad * a if self.wants[1] else None


@backward_of(tensor.Div, needs=((1,), (0, 1)))
def div_backward(self, grad):
    """The gradients for dividend and divisor, or None for one that is not wanted."""
    a, b = self.saved
    return grad / b if self.wants[0] else None, -grad * a / (b * b) if self.wants[1] else None


def unbroadcast(grad, shape):
    """Sum grad down to shape: the transpose of stretching shape to grad.shape. float16 is added up in float32.

    Raises ShapeError, with both shapes in its message, if shape does not stretch to grad.shape.
    """
    added = grad.ndim - len(shape)
    if added < 0 or any(n not in (1, wide) for n, wide in zip(shape, grad.shape[max(added, 0):], strict=True)):
        raise ShapeError(f"a gradient of shape {grad.shape} does not sum down to shape {tuple(shape)}")
    axes = tuple(axis for axis in range(grad.ndim) if axis < added or shape[axis - added] == 1)
    accumulator = float32 if grad.dtype == np.float16 else grad.dtype
    return grad.sum(axes, dtype=accumulator).reshape(shape).astype(grad.dtype, copy=False)


def restore_axes(array, axes, keepdims):
    """The result of a reduction over axes with the axes that it lost, as axes of length 1."""
    return array if keepdims else np.expand_dims(array, axes)


@backward_of(tensor.Sum, needs=((),))
def sum_backward(self, grad):
    """The gradient for the summed array, of shape self.shapes[0]."""
    return (np.broadcast_to(restore_axes(grad, **self.params), self.shapes[0]),)


@backward_of(tensor.Max, needs=((0, "output"),))
def max_backward(self, grad):
    """The gradient goes to the element that is the maximum, in equal parts if several are."""
    (a,) = self.saved
    top, grad = (restore_axes(array, **self.params) for array in (self.output, grad))
    chosen = (a == top) | (np.isnan(a) & np.isnan(top))
    axes = self.params["axes"]
    return (np.where(chosen, grad / chosen.sum(axes, keepdims=True, dtype=grad.dtype), 0),)


@backward_of(tensor.Mean, needs=((),))
def mean_backward(self, grad):
    count = math.prod(self.shapes[0][axis] for axis in self.params["axes"])
    return sum_backward(self, grad / count)


@backward_of(tensor.MatMul, needs=((1,), (0,)))
def matmul_backward(self, grad):
    """The gradients for both factors, or None for one that is not wanted.

    Batch axes that were stretched may stay: the engine sums them. A batch of rows against one matrix is a single
    product, so that no batch of weight gradients is ever held.
    """
    a, b = self.saved
    row, column = len(self.shapes[0]) == 1, len(self.shapes[1]) == 1
    if row:
        grad = np.expand_dims(grad, -1 if column else -2)
    if column:
        grad = np.expand_dims(grad, -1)
    for_a = for_b = None
    if self.wants[0]:
        for_a = grad @ (b[:, None] if column else b).swapaxes(-1, -2)
        for_a = for_a[..., 0, :] if row else for_a
    if self.wants[1]:
        a = a[None] if row else a
        if a.ndim > 2 and len(self.shapes[1]) <= 2:
            a, grad = a.reshape(-1, a.shape[-1]), grad.reshape(-1, grad.shape[-1])
        for_b = a.swapaxes(-1, -2) @ grad
        for_b = for_b[..., 0] if column else for_b
    return for_a, for_b


@backward_of(tensor.Reshape)
def reshape_backward(self, grad):
    return (grad.reshape(self.shapes[0]),)


@backward_of(tensor.Expand)
def expand_backward(self, grad):
    """Broadcasting as an operation: the engine sums a gradient down to its operand's shape."""
    return (grad,)


@backward_of(tensor.Permute)
def permute_backward(self, grad):
    """Axis k of the result was axis axes[k] of the source."""
    return (grad.transpose(np.argsort([normal_axis(axis, grad.ndim) for axis in self.params["axes"]])),)


@backward_of(tensor.Slice)
def slice_backward(self, grad):
    """The gradient for the source, of shape self.shapes[0]."""
    result = np.zeros(self.shapes[0], grad.dtype)
    result[self.params["key"]] = grad
    return (result,)


_recording = ContextVar("tinytorch.recording", default=True)  # a new thread starts with the default


def is_grad_enabled():
    """Whether operations are recorded in this thread."""
    return _recording.get()


def set_recording(flag):
    """Turn recording on or off in this thread -> what it was before."""
    before = _recording.get()
    _recording.set(flag)
    return before


class Node:
    """One recorded operation: what its backward needs, and where the gradients for its operands go.

    inputs holds, for each operand, the Node that computed it, the leaf tensor that it is, or None if it does not require
    grad. shape and dtype are those of the output, shapes those of the operands. A Node holds no tensor but leaves, so that
    what nobody needs any more is freed while the graph lives on.
    """

    __slots__ = ("function", "name", "number", "inputs", "shapes", "shape", "dtype", "kept", "hooks", "owner", "__weakref__")
    _numbers = itertools.count()

    def __init__(self, function, inputs, tensors, output):
        self.function, self.inputs = function, inputs
        self.name, self.number = type(function).__name__, next(Node._numbers)
        self.shapes = tuple(t.shape for t in tensors)
        self.shape, self.dtype = output.shape, output.dtype
        function.wants = tuple(x is not None for x in inputs)
        self.kept = keep(function, tensors, output)
        self.hooks = self.owner = None

    def __repr__(self):
        return f"<{self.name} -> {self.shape} {self.dtype}{', released' if self.function is None else ''}>"

    def settle(self, grad):
        """The complete gradient of the output: rounded to its dtype, shown to the hooks, kept where retain_grad asks."""
        grad = grad.astype(self.dtype, copy=False)
        if self.hooks:
            grad = run_hooks(list(self.hooks.values()), grad)
        owner = self.owner and self.owner()
        if owner is not None:
            accumulate(owner, grad)
        return grad

    def pull(self, grad):
        """Take the complete gradient of the output -> for each operand a gradient of its shape, or None.

        The results of float16 operations are float32 here: they are rounded once, when they are complete.
        """
        if self.function is None:
            raise GraphError(f"the graph of {self.name} was released by an earlier backward(): "
                             "call that one with retain_graph=True, or compute the result again")
        if self.kept:
            check_versions(self)
        if not hasattr(self.function, "backward"):
            raise GraphError(f"{self.name} has no backward: define backward(self, grad) in its class")
        grad = self.settle(grad)
        grad = grad.astype(float32) if grad.dtype == np.float16 else grad
        parts = native_backward(self.function, grad)  # by a compiled kernel, as in Function.run
        if parts is NotImplemented:
            parts = self.function.backward(grad)
        if len(parts) != len(self.inputs):
            raise GraphError(f"{self.name}.backward returned {len(parts)} gradients for {len(self.inputs)} operands")
        return [self._fit(k, part) if wanted and part is not None else None
                for k, (part, wanted) in enumerate(zip(parts, self.function.wants, strict=True))]

    def _fit(self, k, part):
        try:
            return part if part.shape == self.shapes[k] else unbroadcast(part, self.shapes[k])
        except ShapeError:
            raise ShapeError(f"{self.name}.backward returned shape {part.shape} "
                             f"for operand {k} of shape {self.shapes[k]}") from None

    def release(self):
        """Forget the operation and its inputs; what they alone held is freed."""
        self.function, self.inputs, self.kept = None, (), ()


def record(function, tensors, output):
    """Make output a part of the graph, if recording is on, output is of floats, and an operand requires grad."""
    if not is_grad_enabled() or output.dtype.kind != "f" or not any(t.requires_grad for t in tensors):
        return
    inputs = tuple((t if t.grad_fn is None else t.grad_fn) if t.requires_grad else None for t in tensors)
    output.requires_grad = True
    output.grad_fn = Node(function, inputs, tensors, output)


class no_grad:
    """Record nothing: as a context manager until the end of the block, as a decorator during each call.

    Concerns the current thread alone, and ends with an exception too. Blocks may nest, also of one and the same object.
    """

    def __init__(self):
        self._here = threading.local()

    def __enter__(self):
        before = self._here.__dict__.setdefault("before", [])
        before.append(set_recording(False))
        return self

    def __exit__(self, *exception):
        set_recording(self._here.before.pop())

    def __call__(self, function):
        """The function, which records nothing while it runs."""
        @functools.wraps(function)
        def quiet(*args, **kwargs):
            with no_grad():
                return function(*args, **kwargs)

        return quiet


def topological_order(root):
    """The nodes from which root is reached by inputs, root first, each once and before all nodes among its inputs."""
    finished, seen, stack = [], {root}, [(root, iter(root.inputs))]
    while stack:
        node, inputs = stack[-1]
        for x in inputs:
            if isinstance(x, Node) and x not in seen:
                seen.add(x)
                stack.append((x, iter(x.inputs)))
                break
        else:
            finished.append(node)
            stack.pop()
    return finished[::-1]


def propagate(order, gradient, retain_graph=False):
    """Pass gradient, that of the output of order[0], back through nodes in topological order -> {leaf: its gradient}.

    Each node is pulled once, with its complete gradient, and released at once unless retain_graph.
    """
    sums = {order[0]: gradient}
    for node in order:
        grad = sums.pop(node, None)
        if grad is not None:
            parts = node.pull(grad)
            for x, part in zip(node.inputs, parts, strict=True):
                if x is not None and part is not None:
                    sums[x] = sums[x] + part if x in sums else part
        if not retain_graph:
            node.release()
    return sums


def accumulate(leaf, grad):
    """Add the array grad to leaf.grad: a tensor of leaf's dtype, on memory of its own, that stays the same tensor."""
    if leaf.grad is None:
        leaf.grad = Tensor(grad, leaf.dtype)
    else:
        leaf.grad.add_(Tensor(grad))


def first_gradient(output, gradient):
    """The gradient with which backward starts: an array of output's shape and dtype.

    gradient is a tensor, an array, or None, which stands for 1 and is only for an output of one element.
    Raises GraphError for None with another number of elements, ShapeError for a gradient of another shape, each with the
    shapes in its message.
    """
    if gradient is None:
        if output.numel() != 1:
            raise GraphError(f"backward() of shape {output.shape}: only one element has a gradient of its own; "
                             "sum() it, or pass a gradient of that shape")
        return np.ones(output.shape, output.dtype)
    array = gradient.numpy() if isinstance(gradient, Tensor) else np.asarray(gradient)
    if array.shape != output.shape:
        raise ShapeError(f"backward() of shape {output.shape} got a gradient of shape {array.shape}")
    return array.astype(output.dtype, copy=False)


def check_versions(node):
    """Raise GraphError, with the operation's name in its message, if a storage that node keeps was written to since.

    node.kept holds for each array (what, storage, version): the number of the operand or "output", and the version then.
    """
    for what, storage, version in node.kept:
        if storage.version != version:
            name = "its output" if what == "output" else f"operand {what} of shape {node.shapes[what]}"
            raise GraphError(f"{node.name} needs {name} as it was, but it was changed in place since (version "
                             f"{version}, now {storage.version}): change a copy, or change it after backward()")


def guard_write(target, values):
    """Raise InPlaceError, with target's shape in its message, if target or values requires grad.

    Called before each write in place while recording is on. values is a tensor, an array or a number.
    """
    if target.requires_grad:
        what = "a leaf" if target.grad_fn is None else f"the result of {target.grad_fn.name}"
        raise InPlaceError(f"write in place to {what} of shape {target.shape} that requires grad: "
                           "wrap it in `with no_grad():`, or compute a new tensor")
    if isinstance(values, Tensor) and values.requires_grad:
        raise InPlaceError(f"write in place of values that require grad to shape {target.shape}, which would lose their "
                           "graph: write values.detach()")


def run_hooks(hooks, grad):
    """Show the array grad to each hook in turn -> the array that they leave.

    A hook gets a tensor on memory of its own. What it returns, unless that is None, replaces the gradient, in grad's dtype.
    Raises ShapeError, with both shapes in its message, if that has another shape.
    """
    for hook in hooks:
        result = hook(Tensor(grad))
        if result is None:
            continue
        array = result.numpy() if isinstance(result, Tensor) else np.asarray(result)
        if array.shape != grad.shape:
            raise ShapeError(f"a hook returned shape {array.shape} for a gradient of shape {grad.shape}")
        grad = array.astype(grad.dtype, copy=False)
    return grad


class HookHandle:
    """What register_hook returns: remove() ends the hook, once or more often."""

    def __init__(self, hooks):
        self._hooks, self._key = hooks, next(Node._numbers)

    def remove(self):
        self._hooks.pop(self._key, None)


def register_hook(self, hook):
    """Call hook(gradient) in each backward when this tensor's gradient is complete, after hooks registered before.

    If it returns a tensor, of the same shape, that becomes the gradient. -> handle with remove().
    """
    if not self.requires_grad:
        raise GraphError("a hook on a tensor that does not require grad would never be called")
    if self.grad_fn is None:
        hooks = self.__dict__.setdefault("hooks", {})
    else:
        hooks = self.grad_fn.hooks = self.grad_fn.hooks or {}
    handle = HookHandle(hooks)
    hooks[handle._key] = hook
    return handle


def retain_grad(self):
    """Keep the gradient of a computed tensor in its .grad; leaves have theirs anyway."""
    if not self.requires_grad:
        raise GraphError("retain_grad() of a tensor that does not require grad: it gets no gradient")
    if self.grad_fn is not None:
        self.grad_fn.owner = weakref.ref(self)


def backward(output, gradient=None, retain_graph=False):
    """Add to the .grad of each leaf the derivative of output, weighted with gradient, by that leaf.

    gradient has output's shape and may be left out for one element. The graph is released on the way, unless retain_graph.
    Raises GraphError if there is no graph or it was released or overwritten, ShapeError for a gradient of another shape.
    """
    if not output.requires_grad:
        raise GraphError("backward() of a tensor without graph: nothing that it was computed from requires grad, or "
                         "recording was off; gradients have no graph either, so there are no second derivatives")
    start = first_gradient(output, gradient)
    before = set_recording(False)
    try:
        with np.errstate(all="ignore"), reused_memory():  # infinity and NaN travel as in the forward pass
            if output.grad_fn is None:
                deliver(output, start)
            else:
                for leaf, grad in propagate(topological_order(output.grad_fn), start, retain_graph).items():
                    deliver(leaf, grad)
    finally:
        set_recording(before)


def deliver(leaf, grad):
    """Give a leaf its complete gradient: rounded to its dtype and shown to its hooks."""
    grad = grad.astype(leaf.dtype, copy=False)
    hooks = leaf.__dict__.get("hooks")
    accumulate(leaf, run_hooks(list(hooks.values()), grad) if hooks else grad)


def detach(self):
    """The same elements, on the same storage, outside the graph."""
    return Tensor.from_storage(self.storage, self.layout)


def requires_grad_(self, flag=True):
    """Set requires_grad -> this tensor."""
    self.requires_grad = flag
    return self


def zero_grad(self):
    """Forget the gradient."""
    self.grad = None


def _get_requires_grad(self):
    return self.__dict__.get("requires_grad", False)


def _set_requires_grad(self, flag):
    if flag and self.dtype.kind != "f":
        raise DTypeError(f"{self.dtype} cannot require grad: only floats have slopes")
    if not flag and self.grad_fn is not None:
        raise GraphError(f"requires_grad of the result of {self.grad_fn.name} cannot be turned off: detach() gives a tensor "
                         "outside the graph")
    self.__dict__["requires_grad"] = bool(flag)


def _write(self, values):
    if is_grad_enabled():
        guard_write(self, values)
    tensor.write(self.storage.data, self.layout, values.numpy())
    self.storage.version += 1
    return self


def _setitem(self, key, value):
    if is_grad_enabled():
        guard_write(self, value)
    Tensor.from_storage(self.storage, slice_layout(self.layout, full_key(key, self.ndim))).copy_(value)


METHODS = {
    "backward": backward, "detach": detach, "requires_grad_": requires_grad_, "zero_grad": zero_grad,
    "register_hook": register_hook, "retain_grad": retain_grad, "_write": _write, "__setitem__": _setitem,
    "requires_grad": property(_get_requires_grad, _set_requires_grad, doc="Whether backward gives this tensor a gradient."),
    "is_leaf": property(lambda self: self.grad_fn is None, doc="Whether no recorded operation made this tensor."),
}


def install():
    """Give Function its record, each operation its backward, and Tensor the methods of this module."""
    Function.record = record
    for operation, (rule, needs) in RULES.items():
        operation.backward, operation.needs = rule, needs
    for name, method in METHODS.items():
        setattr(Tensor, name, method)


@backward_of(activations.ReLU, needs=(("output",),))
def relu_backward(self, grad):
    """np.where and no product: a gradient of infinity behind a closed gate is 0, not NaN."""
    return (np.where(self.output <= 0, 0, grad),)


@backward_of(activations.LeakyReLU, needs=((0,),))
def leaky_relu_backward(self, grad):
    return (np.where(self.saved[0] > 0, grad, grad * self.params["slope"]),)


@backward_of(activations.Tanh, needs=(("output",),))
def tanh_backward(self, grad):
    return (grad * (1 - self.output * self.output),)


@backward_of(activations.SiLU, needs=((0,),))
def silu_backward(self, grad):
    x = self.saved[0]
    s = activations.Sigmoid().forward(x)
    return (grad * s * (1 + x * (1 - s)),)


@backward_of(activations.GELU, needs=((0,),))
def gelu_backward(self, grad):
    """The distribution function of x plus x times its density, or the slope of GPT-2's formula."""
    x = self.saved[0].astype(grad.dtype, copy=False)
    if self.params["approximate"] == "tanh":
        root = np.sqrt(2 / np.pi).astype(x.dtype)
        t = np.tanh(root * (x + 0.044715 * x * x * x))
        return (grad * 0.5 * (1 + t + x * (1 - t * t) * root * (1 + 3 * 0.044715 * x * x)),)
    share = 0.5 * activations.erfc(np.ascontiguousarray(x).ravel() * -np.sqrt(0.5).astype(x.dtype)).reshape(x.shape)
    return (grad * (share + x * np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi).astype(x.dtype)),)


@backward_of(activations.LogSoftmax, needs=(("output",),))
def log_softmax_backward(self, grad):
    return (grad - np.exp(self.output) * grad.sum(self.params["axis"], keepdims=True),)


@backward_of(activations.Sigmoid, needs=(("output",),))
def sigmoid_backward(self, grad):
    """The gradient from the output alone: the input is not kept."""
    return (grad * self.output * (1 - self.output),)


@backward_of(activations.Softmax, needs=(("output",),))
def softmax_backward(self, grad):
    """The gradient from the output alone, along self.params["axis"]."""
    pulled = grad * self.output
    return (pulled - self.output * pulled.sum(self.params["axis"], keepdims=True),)


def unreduced(self, grad):
    """The gradient for each term of a loss that took their mean, their sum or none."""
    return grad / self.saved[0].size if self.params["reduction"] == "mean" else grad


@backward_of(losses.MSELoss)
def mse_backward(self, grad):
    prediction, target = self.saved
    grad = unreduced(self, grad) * 2 * (prediction - target)
    return grad, -grad


@backward_of(losses.MAELoss)
def mae_backward(self, grad):
    prediction, target = self.saved
    grad = unreduced(self, grad) * np.sign(prediction - target)
    return grad, -grad


@backward_of(losses.HuberLoss)
def huber_backward(self, grad):
    prediction, target = self.saved
    delta = self.params["delta"]
    grad = unreduced(self, grad) * np.clip(prediction - target, -delta, delta)
    return grad, -grad


@backward_of(losses.BCEWithLogitsLoss)
def bce_with_logits_backward(self, grad):
    logits, targets = self.saved
    weight, pos_weight = (1 if self.params[name] is None else self.params[name] for name in ("weight", "pos_weight"))
    grad = unreduced(self, grad) * weight
    p, q = activations.Sigmoid().forward(logits), activations.Sigmoid().forward(-logits)
    tail = np.log1p(np.exp(-np.abs(logits)))
    for_targets = grad * (pos_weight * (np.maximum(-logits, 0) + tail) - (np.maximum(logits, 0) + tail))
    return grad * ((1 - targets) * p - targets * pos_weight * q), for_targets


@backward_of(losses.CrossEntropyLoss, needs=((0, 1), ()))
def cross_entropy_backward(self, grad):
    """The gradient for the logits (N, C, ...), and None for the labels.

    self.params has weight (an array (C,) or None), ignore_index, label_smoothing and reduction. grad has the shape of the
    loss: () for "mean" and "sum", (N, ...) for "none".
    """
    logits, labels = self.saved
    weight, smoothing, classes = self.params["weight"], self.params["label_smoothing"], logits.shape[1]
    kept = labels != self.params["ignore_index"]
    labels = np.where(kept, labels, 0)
    weights = losses.label_weights(labels, kept, weight, logits.dtype)
    if self.params["reduction"] == "mean":
        grad = grad / weights.sum()
    shares = np.full(classes, smoothing / classes, logits.dtype) if weight is None else weight * (smoothing / classes)
    pull = (1 - smoothing) * weights + shares.sum()
    largest, rest = losses.log_sum_exp(logits)
    slopes = np.exp(logits - np.expand_dims(largest + rest, 1)) * np.expand_dims(pull, 1)
    slopes -= shares.reshape(-1, *[1] * (logits.ndim - 2))
    target = np.expand_dims(labels, 1)
    at_label = np.take_along_axis(slopes, target, 1) - np.expand_dims((1 - smoothing) * weights, 1)
    np.put_along_axis(slopes, target, at_label, 1)
    return np.where(np.expand_dims(kept, 1), slopes * np.expand_dims(grad, 1 if grad.ndim else ()), 0), None


def gradcheck(f, *tensors, eps=1e-6, rtol=1e-5, atol=1e-7):
    """True if backward of f agrees with central differences for each tensor that requires grad.

    f maps tensors to a tensor and is deterministic; what requires grad is float64. .grad of the tensors is not touched.
    Raises GradcheckError, which names the operand and the element that differs most; DTypeError for another dtype.
    """
    checked = [k for k, t in enumerate(tensors) if t.requires_grad]
    for k in checked:
        if tensors[k].dtype != float64:
            raise DTypeError(f"gradcheck wants float64, operand {k} is {tensors[k].dtype}: its rounding would hide the slope")
    operands = [detach(t).requires_grad_(t.requires_grad) for t in tensors]
    output = f(*operands)
    weights = np.random.default_rng(0).normal(size=output.shape)  # all outputs at once, none with the weight of another
    backward(output, weights)

    def of_checked(*values):
        before = set_recording(False)
        try:
            mixed = list(operands)
            for k, value in zip(checked, values, strict=True):
                mixed[k] = value
            return f(*mixed)
        finally:
            set_recording(before)

    wanted = numerical_gradient(of_checked, *(detach(tensors[k]) for k in checked), gradient=weights, eps=eps)
    for k, want in zip(checked, wanted, strict=True):
        got = np.zeros_like(want) if operands[k].grad is None else operands[k].grad.numpy()
        error = np.abs(got - want) - (atol + rtol * np.abs(want))
        if not (error <= 0).all():
            at = np.unravel_index(np.nanargmax(np.where(np.isnan(error), np.inf, error)), error.shape)
            raise GradcheckError(f"operand {k}, element {tuple(int(i) for i in at)}: backward gives {got[at]:.8g}, "
                                 f"central differences {want[at]:.8g}")
    return True


class Checkpoint(Function):
    """function(*tensors) as one node, which keeps the operands and the state of the random generators, and nothing else."""

    def __init__(self, function, tensors, rng):
        super().__init__()
        self.called, self.tensors, self.rng = function, tuple(detach(t) for t in tensors), rng
        self.states = [g.bit_generator.state for g in self.generators]
        self.saved = tuple(t.numpy() for t in tensors)

    @property
    def generators(self):
        """The generators that the function draws from now: manual_seed may have made another one the default."""
        return generators_of(self.called, self.rng)

    def backward(self, grad):
        return recompute(self, grad)


def checkpoint(function, *tensors, rng=()):
    """function(*tensors), with only its operands kept for backward, which runs function a second time.

    function maps tensors to one tensor. It may use parameters that are leaves; a tensor that is part of the graph has to
    be an operand. Draws of tinytorch.layers.default_rng(), of the generators that layers of function hold, and of rng
    (one or more NumPy generators) are repeated; any other side effect of function happens twice.
    """
    call = Checkpoint(function, tensors, rng)
    first = next(Node._numbers)
    output = function(*(detach(t).requires_grad_(t.requires_grad) for t in tensors))
    result = detach(output)
    if is_grad_enabled() and output.requires_grad:
        if output.grad_fn is not None:
            outside = [x for node in topological_order(output.grad_fn) for x in (node, *node.inputs)
                       if isinstance(x, Node) and x.number < first]
            if outside:
                raise GraphError(f"checkpoint: the function uses the result of {outside[0].name} from outside: "
                                 "pass it as an operand")
        inputs = tuple((t if t.grad_fn is None else t.grad_fn) if t.requires_grad else None for t in tensors)
        result.requires_grad = True
        result.grad_fn = Node(call, inputs, tensors, result)
    return result


def generators_of(function, rng=()):
    """The NumPy generators that a function may draw from, as far as they are known, in a fixed order."""
    found = [rng] if isinstance(rng, np.random.Generator) else list(rng)
    if "tinytorch.layers" in sys.modules:
        found.append(sys.modules["tinytorch.layers"].default_rng())
    for module in function.modules() if hasattr(function, "modules") else ():
        found += [v for v in vars(module).values() if isinstance(v, np.random.Generator)]
    return found


def recompute(call, grad):
    """The gradients for the operands of a checkpointed call, from the array grad, that of its output.

    call.called is the function, call.tensors its operands, call.wants which of them require grad; call.generators are NumPy
    generators, call.states their states when the function ran. After this they are as if nothing had been drawn, and
    recording is as it was.
    """
    operands = [detach(t).requires_grad_(wanted) for t, wanted in zip(call.tensors, call.wants, strict=True)]
    generators = call.generators
    now = [g.bit_generator.state for g in generators]
    before = set_recording(True)
    try:
        for generator, state in zip(generators, call.states, strict=True):
            generator.bit_generator.state = state
        output = call.called(*operands)
    finally:
        set_recording(before)
        for generator, state in zip(generators, now, strict=True):
            generator.bit_generator.state = state
    backward(output, grad)
    return tuple(None if x.grad is None else x.grad.numpy() for x in operands)


if __name__ != "__main__":  # a notebook calls install() itself
    install()
