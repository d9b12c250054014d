"""A workload as a list of operators, each with the numbers that decide its time: arithmetic, shape and traffic.

Counts are elements, not bytes, so that one graph serves every precision. A GEMM is (m, k) times (k, n), `groups` times;
a convolution is the GEMM it is computed as. Any number may be an array, and all arrays of a graph broadcast together.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce

import numpy as np

KINDS = ("gemm", "attention", "depthwise", "vector", "gather")
EXECUTIONS = ("fused", "compiled", "eager")  # what becomes of the passes between two products
NUMBERS = ("flop", "m", "n", "k", "groups", "weights", "reads", "writes", "cache", "count", "live")


@dataclass(slots=True)  # to freeze it would make it take six times as long to make, and a graph is dozens
class Op:
    """One operator of a graph, done `count` times (layers, for instance).

    kind: "gemm" (convolutions too), "attention" (both products and the softmax in one kernel), "depthwise", "vector"
    (elementwise, norms, pooling, softmax) or "gather" (embedding rows). weights, reads, writes and cache are elements
    of one occurrence: parameters read, activations read and written, cached keys and values read. flop of a product is
    2 m n k groups where it is not given; live is the activations that exist while it runs, reads + writes if not given.
    fast: how many times fewer multiply-adds vector units need by a fast algorithm for convolutions.
    window: places of a convolution's filter, each with k / window inputs. inner: whether its input has a gradient: images have none.
    back: elements that the backward pass of a vector operator reads and writes, and its flop; reads + writes, reads and twice the
    flop if not given.
    """

    name: str
    kind: str
    m: object = 1
    n: object = 1
    k: object = 1
    groups: object = 1
    flop: object = None
    weights: object = 0
    reads: object = 0
    writes: object = 0
    cache: object = 0
    count: object = 1
    live: object = None
    fast: float = 1.0
    back: object = None
    window: int = 1
    inner: bool = True

    def slim(self):
        """Whether it is a product in groups that are narrower than the eight columns of the smallest matrix instruction."""
        if type(self.groups) is int and self.groups == 1:  # most are, and NumPy takes its time
            return False
        return bool(np.any((np.asarray(self.groups) > 1) & (np.minimum(self.n, self.k) < 8)))

    def numbers(self):
        product = 2.0 * self.m * self.n * self.k * self.groups if self.kind in ("gemm", "attention", "depthwise") else 0.0
        flop = product if self.flop is None else self.flop
        live = self.reads + self.writes if self.live is None else self.live
        return (flop, self.m, self.n, self.k, self.groups, self.weights, self.reads, self.writes, self.cache, self.count,
                live)  # fmt: skip


@lru_cache(maxsize=256)
def _kinds(kinds):
    """Kinds of operators as numbers, which of them are products on matrix units, and where attention is."""
    numbers = np.array([KINDS.index(kind) for kind in kinds], dtype=int)
    return numbers, np.flatnonzero(numbers <= KINDS.index("attention")), np.flatnonzero(numbers == KINDS.index("attention"))


class Graph:
    """Operators of one workload as arrays: graph.flop[i] is one occurrence of operator i, of the workload's shape."""

    def __init__(self, ops, title="", execution="fused"):
        self.title, self.execution = title, execution
        self.ops = tuple(ops)
        self.names = tuple(op.name for op in self.ops)
        self.kinds, self.products, self.attention = _kinds(tuple([op.kind for op in self.ops]))
        table = [op.numbers() for op in self.ops]
        try:
            stacked = np.array(table, dtype=float)
        except ValueError:  # arrays of several shapes among them
            shape = np.broadcast_shapes(*(np.shape(x) for row in table for x in row))
            stacked = np.array([[np.broadcast_to(x, shape) for x in row] for row in table], dtype=float)
        self.table = stacked.swapaxes(0, 1)
        (self.flop, self.m, self.n, self.k, self.groups, self.weights, self.reads, self.writes, self.cache, self.count,
         self.live) = self.table  # fmt: skip
        self.depthwise, self.vectors = self.kinds == KINDS.index("depthwise"), self.kinds == KINDS.index("vector")
        self.narrow = np.array([op.kind == "gemm" and op.slim() for op in self.ops], dtype=bool)
        # What frameworks leave in 16 bits where products take 8: attention, and the head, whose rounding decides on a token.
        self.wide = np.array([op.kind == "attention" or f"{op.name} ".startswith("head ") for op in self.ops], dtype=bool)
        fast = [op.fast for op in self.ops]
        self.fast = np.array(fast) if max(fast, default=1.0) > 1.0 else None
        self.shares = None, None  # efficiency.py keeps the last shares of the peak here, with what they were for

    @property
    def shape(self):
        """Shape of the batch of workloads: () for one."""
        return self.flop.shape[1:]

    def total(self, name):
        """Sum of one number over all occurrences: graph.total("flop")."""
        return self.over(getattr(self, name))

    def over(self, each):
        """Sum over all occurrences of a number that each operator has, such as its seconds."""
        return np.vecdot(each, self.count, axis=0)

    @property
    def macs(self):
        """Multiply-adds of matrix products and convolutions: half of their FLOP."""
        products = self.kinds <= KINDS.index("depthwise")
        return (self.flop * self.count)[products].sum(axis=0)[()] / 2

    @cached_property
    def working(self):
        """Elements of activations that exist at a time, at the operator where they are most."""
        return self.live.max(axis=0)[()]

    def traffic(self, weights, activations, cache=None):
        """Bytes to and from memory of each operator, given bytes of one weight, activation and cached element."""
        cache = activations if cache is None else cache
        return self.weights * weights + (self.reads + self.writes) * activations + self.cache * cache

    def backward(self):
        """The graph of the backward pass: every product becomes two of the same FLOP, all other work is done twice.

        For y = x w the gradients are dx = dy w' and dw = x' dy, with m, n, k in other places. Attention needs five
        products where the forward pass has two (the scores are recomputed). Source: Dao 2023, section 4.1. The gradient of
        a depthwise filter is k sums over a whole channel of x and dy, one for each place of the window, and frameworks read
        both again for each. Source: PyTorch, conv_depthwise2d_grad_weight_kernel, a block of threads for each weight.
        """
        ops = []
        for op in self.ops:
            if op.kind in ("gemm", "depthwise") and _any(op.weights):
                size = dict(groups=op.groups, count=op.count, fast=op.fast)
                if op.inner:
                    ops.append(Op(f"{op.name} dx", op.kind, op.m, op.k / op.window, op.n * op.window, flop=op.flop, weights=op.weights,
                                  reads=op.writes, writes=op.reads, **size))  # fmt: skip
                again = op.k if op.kind == "depthwise" and self.execution != "fused" else 1
                ops.append(Op(f"{op.name} dw", op.kind, op.k, op.n, op.m, flop=op.flop, weights=op.weights,
                              reads=again * (op.reads + op.writes), **size))  # fmt: skip
            else:
                factor = 2.5 if op.kind == "attention" else 2.0
                flop = factor * np.asarray(op.numbers()[0])
                reads, writes, flop = (op.reads + op.writes, op.reads, flop) if op.back is None else op.back
                ops.append(Op(f"{op.name} back", op.kind, op.m, op.n, op.k, op.groups, flop, op.weights,
                              reads, writes, op.cache, op.count))  # fmt: skip
        return Graph(ops, f"{self.title} backward", self.execution)

    def __add__(self, other):
        return Graph(self.ops + other.ops, self.title, self.execution)

    def __str__(self):
        rows = [("operator", "kind", "m", "n", "k", "groups", "MFLOP", "weights", "times")]
        for op in self.ops:
            flop = op.numbers()[0]
            cells = (op.m, op.n, op.k, op.groups, np.asarray(flop) / 1e6, op.weights, op.count)
            rows.append((op.name, op.kind, *map(_cell, cells)))
        wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(f"{c:<{w}}" if i < 2 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(row, wide, strict=True)))
                 for row in rows]  # fmt: skip
        return "\n".join(lines)


def _any(x):
    return bool(np.any(np.asarray(x)))


def _cell(x):
    return f"{float(x):,.6g}" if np.ndim(x) == 0 else f"{np.size(x)} values"


def concatenate(graphs, title=""):
    """One graph of several, in order."""
    return Graph(reduce(lambda a, b: a + b.ops, graphs, ()), title)
