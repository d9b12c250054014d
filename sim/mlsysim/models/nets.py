"""Feed-forward networks layer by layer: parameters, MACs, activations and the graph follow from the layers alone."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil, prod

from .._check import amount
from ..graph import Graph, Op


@dataclass(frozen=True)
class Layer:
    """One layer on one input. m, n, k and groups are the GEMM that it is computed as; reads and writes are elements.

    norms are elements that a normalisation and its activation pass over when they are not folded into the layer.
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
    times: int = 1

    @property
    def work(self):
        return 2 * self.m * self.n * self.k * self.groups if self.flop is None else self.flop


@dataclass(frozen=True)
class Net:
    """A network of layers on inputs of one size. `norm` numbers a channel count as parameters (2, or 4 with statistics)."""

    name: str
    title: str
    layers: tuple
    input_bytes: int
    source: str
    date: str
    kind: str = "vision"
    unit: str = "image"

    @cached_property
    def params(self):
        return sum(layer.params * layer.times for layer in self.layers)

    @property
    def active_params(self):
        return self.params

    @cached_property
    def macs(self):
        """Multiply-adds of convolutions and matrix products for one input."""
        return sum(layer.work * layer.times for layer in self.layers if layer.kind != "vector") / 2

    @property
    def flop(self):
        """FLOP of convolutions and matrix products for one input: two a MAC."""
        return 2.0 * self.macs

    @cached_property
    def activations(self):
        """Outputs of convolutions and matrix products for one input."""
        return sum(layer.writes * layer.times for layer in self.layers if layer.kind in ("gemm", "depthwise"))

    def traffic(self, bytes_per=2):
        """Bytes to and from memory for one input: each weight read once, each activation written and read once."""
        return bytes_per * (self.params + 2.0 * self.activations)

    def cached(self, **_):
        return 0

    def graph(self, *, batch=1, fused=True):
        """The operators of one forward pass -> Graph. fused=False leaves normalisation and activation to passes of their
        own, as training does.
        """
        batch = amount("batch", batch, "", least=1, whole=True)
        ops = []
        for x in self.layers:
            rows, groups = (x.m * batch, x.groups) if x.kind == "gemm" and x.groups == 1 else (x.m, x.groups * batch)
            ops.append(Op(x.name, x.kind, rows, x.n, x.k, groups, x.work * batch, x.weights, x.reads * batch,
                          x.writes * batch, count=x.times))  # fmt: skip
            if x.norms and not fused:
                ops.append(Op(f"{x.name} norm", "vector", flop=8.0 * x.norms * batch, reads=2 * x.norms * batch,
                              writes=x.norms * batch, count=x.times))  # fmt: skip
        return Graph(ops, self.title)


@dataclass
class Stack:
    """Builds the layers of a net, keeping track of the shape (channels, *sides) that flows through.

    net = Stack((3, 224, 224)).conv(64, 7, 2).pool(3, 2) ... .layers
    """

    shape: tuple
    norm: int = 2
    bias: bool = False
    layers: list = field(default_factory=list)

    @property
    def elements(self):
        return prod(self.shape)

    def _add(self, name, shape, **numbers):
        reads = numbers.pop("reads", self.elements)
        self.shape = shape
        self.layers.append(Layer(name, reads=reads, writes=self.elements, **numbers))
        return self

    def _sides(self, kernel, stride, valid):
        if valid:
            return tuple((n - k) // stride + 1 for n, k in zip(self.shape[1:], kernel, strict=True))
        return tuple(ceil(n / stride) for n in self.shape[1:])

    def conv(self, out, kernel=3, stride=1, *, groups=1, norm=None, bias=None, valid=False, name="conv"):
        """A convolution and its normalisation (norm=0 for none); padded to ceil(side / stride) unless valid."""
        norm, bias = self.norm if norm is None else norm, self.bias if bias is None else bias
        inner = self.shape[0] // groups
        kernel = kernel if isinstance(kernel, tuple) else (kernel,) * (len(self.shape) - 1)
        window, sides = prod(kernel), self._sides(kernel, stride, valid)
        weights = out * inner * window
        depthwise = groups > 1 and inner == 1
        return self._add(
            "depthwise" if depthwise else name, (out, *sides), kind="depthwise" if depthwise else "gemm",
            m=prod(sides), n=out // groups, k=inner * window, groups=groups, weights=weights,
            params=weights + out * (norm + bias), norms=out * prod(sides) if norm else 0,
        )  # fmt: skip

    def depthwise(self, kernel=3, stride=1, **options):
        return self.conv(self.shape[0], kernel, stride, groups=self.shape[0], **options)

    def linear(self, out, *, bias=True, rows=1, name="linear"):
        """A matrix product on all elements, or on each of `rows` rows of them."""
        inner = self.elements // rows
        return self._add(name, (out,) if rows == 1 else (rows, out), kind="gemm", m=rows, n=out, k=inner,
                         weights=inner * out, params=(inner + bias) * out)  # fmt: skip

    def pool(self, kernel=2, stride=2, valid=False):
        kernel = (kernel,) * (len(self.shape) - 1)
        shape = (self.shape[0], *self._sides(kernel, stride, valid))
        return self._add("pool", shape, kind="vector", flop=prod(shape) * prod(kernel))

    def global_pool(self):
        return self._add("pool", (self.shape[0],), kind="vector", flop=self.elements)

    def add(self):
        """A residual connection: reads two tensors, writes one."""
        return self._add("add", self.shape, kind="vector", flop=self.elements, reads=2 * self.elements)

    def repeat(self, times, *steps):
        """Each step, a function of the stack, `times` over; all rounds are layers of their own."""
        for _ in range(times):
            for step in steps:
                step(self)
        return self


def shortcut(stack, at, out, stride, **options):
    """A projection beside the main path: from the shape `at` to the shape that the stack has now."""
    side = Stack(at, stack.norm, stack.bias).conv(out, 1, stride, name="shortcut", **options)
    stack.layers.append(replace(side.layers[0]))
    return stack
