"""Feed-forward networks layer by layer: parameters, MACs, activations and the graph follow from the layers alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np

from .._check import amount
from ..errors import unknown
from ..graph import EXECUTIONS, Graph, Op
from .operators import casts, refuse

WINOGRAD = 2.25  # 16 multiplications instead of 36 for four outputs of a 3 x 3 window of stride 1; Lavin and Gray 2015, section 4


@dataclass(frozen=True)
class Layer:
    """One layer on one input. m, n, k and groups are the GEMM that it is computed as; reads and writes are elements.

    norms and acts are elements that a normalisation and an activation pass over when they are not folded into the layer;
    live counts what it reads and writes and all that later layers still need.
    fast and window: as in graph.Op. smooth: the
    activation has an exponential in it.
    """

    name: str
    kind: str
    m: int = 1
    n: int = 1
    k: int = 1
    groups: int = 1
    flop: float | None = None
    params: int = 0
    weights: int = 0
    reads: int = 0
    writes: int = 0
    norms: int = 0
    acts: int = 0
    fast: float = 1.0
    window: int = 1
    smooth: bool = False
    live: int = 0

    @property
    def work(self):
        return 2 * self.m * self.n * self.k * self.groups if self.flop is None else self.flop


@dataclass(frozen=True)
class Net:
    """A network of layers on inputs of one size; build() gives the layers when they are first needed."""

    name: str
    title: str
    build: Callable[[], tuple]
    input_bytes: int
    source: str
    date: str
    kind: str = "vision"
    unit: str = "image"

    @cached_property
    def layers(self):
        return tuple(self.build())

    @cached_property
    def params(self):
        return sum(layer.params for layer in self.layers)

    @property
    def active_params(self):
        return self.params

    @cached_property
    def macs(self):
        """Multiply-adds of convolutions and matrix products, those of attention too, for one input."""
        return sum(layer.work for layer in self.layers if layer.kind in ("gemm", "depthwise", "attention")) / 2

    @property
    def flop(self):
        """FLOP of convolutions and matrix products for one input: two a MAC."""
        return 2.0 * self.macs

    @cached_property
    def activations(self):
        """Outputs of convolutions and matrix products for one input."""
        return sum(layer.writes for layer in self.layers if layer.kind in ("gemm", "depthwise"))

    @cached_property
    def live(self):
        """Elements that exist at a time for one input: the largest sum of what an operator reads and writes and what
        later ones still need, such as the input of a residual block.
        """
        return max(layer.live for layer in self.layers)

    def working(self, *, batch=1, execution="fused", training=False, widen=1.0, flash=True, **other):
        """Elements of activations that exist at a time for `batch` inputs: in bytes at int8, the arena."""
        refuse(self, other, "batch, execution, training, widen, flash")
        return (self.live * amount("batch", batch, "", least=1, whole=True))[()]

    def traffic(self, bytes_per=2):
        """Bytes to and from memory for one input: each weight read once, each activation written and read once."""
        return bytes_per * (self.params + 2.0 * self.activations)

    def cached(self, **_):
        return 0

    def graph(self, *, batch=1, execution="fused", training=False, widen=1.0, flash=True, **other):
        """The operators of one forward pass -> Graph.

        execution: engines for inference fold normalisation, activation and the addition of a residual into the product
        before them ("fused"), but no activation with an exponential in it (TensorRT Developer Guide, types of fusions);
        frameworks run each as a pass of its own ("eager") or compile what lies between two products into one ("compiled").
        training: a batch normalisation reads its input twice, for the moments first. flash=False: the scores of attention go
        to memory. widen: elements that a number takes which mixed precision keeps in 32 bits: those of layer norms, softmax
        and residuals between layer norms (PyTorch, operators that autocast to float32).
        """
        refuse(self, other, "batch, execution, training, widen, flash")
        if execution not in EXECUTIONS:
            raise unknown("execution", execution, list(EXECUTIONS))
        fused = execution == "fused"
        batch = amount("batch", batch, "", least=1, whole=True)
        layered = any(x.name == "norm" for x in self.layers)
        ops = casts(self.params, widen)
        for x in self.layers:
            if fused and x.name == "add" and ops:  # of the two tensors it reads one is in the registers
                ops[-1] = replace(ops[-1], reads=ops[-1].reads + x.reads * batch / 2, live=np.maximum(ops[-1].live, x.live * batch))
                continue
            if execution == "compiled" and x.name == "add" and ops[-1].kind == "vector":  # rides on the norm before it
                ops[-1] = replace(ops[-1], reads=ops[-1].reads + x.reads * batch / 2, flop=ops[-1].flop + x.flop * batch)
                continue
            rows, groups = (x.m, x.groups * batch) if x.kind == "attention" else (x.m * batch, x.groups)
            size = widen if x.name == "norm" or x.name == "add" and layered else 1 + (x.name == "batch norm" and training)
            wide = size if x.name in ("norm", "add") else 1
            ops.append(Op(x.name, x.kind, rows, x.n, x.k, groups, x.work * batch, x.weights, x.reads * size * batch,
                          x.writes * wide * batch, live=x.live * batch, fast=x.fast, back=self.back(x, batch * wide, execution),
                          window=x.window, inner=x is not self.layers[0]))  # fmt: skip
            if fused and x.smooth and x.acts:
                ops.append(Op(f"{x.name} activation", "vector", flop=4 * x.acts * batch, reads=x.acts * batch, writes=x.acts * batch,
                              live=x.live * batch))  # fmt: skip
            if not fused:
                ops += self.passes(x, batch, execution, training, widen, flash)
        return Graph(ops, self.title, execution)

    @staticmethod
    def back(x, each, execution):
        """Elements that the backward pass of a layer reads and writes, where the forward pass does not tell; each: elements an output.

        An addition hands its gradient on to both, and where the branches part two gradients are added. A scale by squeeze and
        excitation has a product for each factor; eager frameworks write the second before they sum it, and add up what the
        pooling and the product hand back.
        """
        if x.name == "add":
            return 2 * x.writes * each, x.writes * each, x.writes * each
        if x.name == "scale":
            reads, writes = (6, 3) if execution == "eager" else (3, 1)
            return reads * x.writes * each, writes * x.writes * each, 4 * x.writes * each
        return None

    @staticmethod
    def passes(x, batch, execution, training, widen, flash):
        """What follows a layer as a pass, or as several, over memory."""
        scores = x.m * x.k * x.groups if x.kind == "attention" and not flash else 0
        if scores:
            yield Op("scores in memory", "vector", flop=5 * scores * batch, reads=(1 + widen) * scores * batch,
                     writes=(1 + widen) * scores * batch)  # fmt: skip
        act = x.acts if execution == "eager" or not x.norms else 0
        if x.norms:
            yield Op(f"{x.name} norm", "vector", flop=(8.0 * x.norms + x.acts - act) * batch, reads=(1 + training) * x.norms * batch,
                     writes=x.norms * batch)  # fmt: skip
        if act:
            yield Op(f"{x.name} activation", "vector", flop=act * batch, reads=act * batch, writes=act * batch)


class Stack:
    """Builds the layers of a net, keeping track of the shape (channels, *sides) that flows through and of what is kept.

    net = Stack((3, 224, 224)).conv(64, 7, 2).pool(3, 2) ... .layers

    norm numbers a channel count as parameters of a convolution (2, or 4 with running statistics, 0 for none), bias one. smooth:
    activations are x sigmoid(x) and the like.
    """

    def __init__(self, shape, norm=2, bias=False, smooth=False):
        self.shape, self.norm, self.bias, self.smooth = shape, norm, bias, smooth
        self.layers, self.kept = [], []  # kept: (which tensor, its shape)
        self.tensor = 0

    @property
    def elements(self):
        return prod(self.shape)

    def _besides(self, *but):
        """Elements of the kept tensors, each once, but for some: of the one that flows, what is kept and does not flow."""
        sizes = {}
        for tensor, shape in self.kept:
            flows = self.elements if tensor == self.tensor else 0
            sizes[tensor] = max(sizes.get(tensor, 0), prod(shape) - flows)
        return sum(size for tensor, size in sizes.items() if tensor not in but)

    def layer(self, name, shape, *, reads=None, **numbers):
        """A layer that makes a tensor of `shape` of the one that flows."""
        reads = self.elements if reads is None else reads
        live = reads + prod(shape) + self._besides()
        self.layers.append(Layer(name, reads=reads, writes=prod(shape), live=live, **numbers))
        self.shape, self.tensor = shape, len(self.layers)
        return self

    def beside(self, name, m, n, k, bias=True):
        """A product of something small that does not flow: (m, k) times (k, n)."""
        live = m * (k + n) + self.elements + self._besides()
        self.layers.append(Layer(name, "gemm", m, n, k, params=(k + bias) * n, weights=k * n, reads=m * k, writes=m * n, live=live))
        return self

    def view(self, *shape):
        self.shape = shape
        return self

    def _sides(self, kernel, stride, pad):
        if pad is None:
            return tuple(-(-n // stride) for n in self.shape[1:])
        return tuple((n + 2 * pad - k) // stride + 1 for n, k in zip(self.shape[1:], kernel, strict=True))

    def conv(self, out, kernel=3, stride=1, *, groups=1, norm=None, bias=None, pad=None, name="conv", act=None):
        """A convolution, its normalisation and an activation (behind a normalisation if act does not say); padded to
        ceil(side / stride) if no pad is given.
        """
        norm, bias = self.norm if norm is None else norm, self.bias if bias is None else bias
        inner = self.shape[0] // groups
        kernel = kernel if isinstance(kernel, tuple) else (kernel,) * (len(self.shape) - 1)
        window, sides = prod(kernel), self._sides(kernel, stride, pad)
        weights = out * inner * window
        depthwise = groups > 1 and inner == 1
        return self.layer(
            "depthwise" if depthwise else name, (out, *sides), kind="depthwise" if depthwise else "gemm",
            m=prod(sides), n=out // groups, k=inner * window, groups=groups, weights=weights,
            params=weights + out * (norm + bias), norms=out * prod(sides) if norm else 0,
            smooth=self.smooth, window=window, fast=WINOGRAD if kernel == (3, 3) and stride == groups == 1 else 1.0,
            acts=out * prod(sides) if (bool(norm) if act is None else act) else 0,
        )  # fmt: skip

    def depthwise(self, kernel=3, stride=1, **options):
        return self.conv(self.shape[0], kernel, stride, groups=self.shape[0], **options)

    def linear(self, out, *, bias=True, rows=1, norm=0, act=False, name="linear"):
        """A matrix product on all elements, or on each of `rows` rows of them."""
        inner = self.elements // rows
        return self.layer(name, (out,) if rows == 1 else (rows, out), kind="gemm", m=rows, n=out, k=inner,
                          weights=inner * out, params=(inner + bias + norm) * out, acts=rows * out if act else 0)  # fmt: skip

    def pool(self, kernel=2, stride=2, pad=None):
        kernel = (kernel,) * (len(self.shape) - 1)
        shape = (self.shape[0], *self._sides(kernel, stride, pad))
        return self.layer("pool", shape, kind="vector", flop=prod(shape) * prod(kernel))

    def global_pool(self):
        return self.layer("pool", (self.shape[0],), kind="vector", flop=self.elements)

    def enlarge(self, times=2):
        """Each element `times` along every side."""
        return self.layer("enlarge", (self.shape[0], *(times * n for n in self.shape[1:])), kind="vector", flop=0)

    def normalise(self, channels=None, batch=False):
        """A normalisation that no product absorbs: layer or group, or batch normalisation and its activation ahead of a product."""
        size = 2 * (channels or self.shape[0])
        return self.layer("batch norm" if batch else "norm", self.shape, kind="vector", flop=8 * self.elements, params=size, weights=size,
                          acts=self.elements if batch else 0)  # fmt: skip

    # What flows past: kept until it is added, joined, or scaled.

    def keep(self):
        self.kept.append((self.tensor, self.shape))
        return self

    def project(self, out, stride=1, **options):
        """A 1 x 1 convolution of what is kept, while what flows waits."""
        tensor, shape = self.kept.pop()
        waiting = prod(self.shape) + self._besides(tensor, self.tensor)
        side = Stack(shape, self.norm, self.bias).conv(out, 1, stride, name="shortcut", act=False, **options)
        made = side.layers[0]
        self.layers.append(replace(made, live=made.live + waiting))
        self.kept.append((-len(self.layers), side.shape))
        return self

    def back(self):
        """What was kept last flows again, and what flowed is kept in its place."""
        (tensor, shape), self.kept[-1] = self.kept[-1], (self.tensor, self.shape)
        self.tensor, self.shape = tensor, shape
        return self

    def _join(self, name, shape, reads, flop, at=(-1,)):
        for i in sorted((i % len(self.kept) for i in at), reverse=True):
            del self.kept[i]
        return self.layer(name, shape, reads=reads, kind="vector", flop=flop)

    def add(self):
        """A residual connection: reads two tensors, writes one."""
        return self._join("add", self.shape, 2 * self.elements, self.elements)

    def cat(self, *at):
        """Joins what is kept to what flows, along channels: the last tensor, or those at the places given."""
        at = at or (-1,)
        shape = (self.shape[0] + sum(self.kept[i][1][0] for i in at), *self.shape[1:])
        return self._join("concatenate", shape, prod(shape), 0, at)

    def excite(self, squeeze):
        """Squeeze-and-excitation: each channel times a number that a small network makes of the means of all."""
        self.keep()
        channels, shape = self.shape[0], self.shape
        self.global_pool().linear(squeeze, name="squeeze").linear(channels, name="excite")
        return self._join("scale", shape, prod(shape) + channels, prod(shape))

    def attention(self, heads, *, keys=None, bias=True, out_bias=True, kv=None):
        """Attention of rows (rows, width) to each other, or to `keys` rows of length kv from outside."""
        rows, width = self.shape
        if keys is None:
            self.linear(3 * width, bias=bias, rows=rows, name="query, key, value")
        else:
            self.linear(width, bias=bias, rows=rows, name="query").beside("key, value", keys, 2 * width, kv, bias)
        n = rows if keys is None else keys
        reads = self.elements + (2 * keys * width if keys else 0)
        self.layer("attention", (rows, width), reads=reads, kind="attention", m=rows, n=width // heads, k=n, groups=heads,
                   flop=4.0 * rows * n * width)  # fmt: skip
        return self.linear(width, bias=out_bias, rows=rows, name="attention output")
