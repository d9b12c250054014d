"""Where activations live: offsets in one block of memory, so that tensors that exist at the same time do not overlap.

No plan can be smaller than the most bytes that exist at one step, the lower bound. In a chain, where each tensor lives
with its neighbours only, laying them in turn at the two ends of the block reaches it. In general the problem is
NP-hard; the largest first, each into the smallest gap that takes it, is close in practice.
Source: Pisarchyk and Lee 2020, Efficient Memory Management for Deep Neural Net Inference, arXiv 2001.03288, greedy by size.
"""

from dataclasses import dataclass
from math import prod

from .errors import KitError


class ArenaError(KitError, ValueError):
    """Buffers that cannot be planned."""


@dataclass(frozen=True)
class Buffer:
    """A tensor: its size in bytes, and the first and the last step, counted from 0, at which it must exist."""

    name: str
    size: int
    first: int
    last: int

    def meets(self, other):
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """offsets {name: bytes from the start}, size and lower_bound in bytes, method "chain" or "greedy by size"."""

    buffers: tuple
    offsets: dict
    size: int
    lower_bound: int
    method: str

    def __str__(self):
        """A line for each buffer: its place, when it exists, and the block drawn to scale."""
        width, most = 40, max(self.size, 1)
        name = max((len(b.name) for b in self.buffers), default=0)
        lines = []
        for b in self.buffers:
            start = self.offsets[b.name]
            left, right = start * width // most, max((start + b.size) * width // most, start * width // most + 1)
            drawn = f"{' ' * left}{'#' * (right - left)}{' ' * (width - right)}"
            lines.append(f"{b.name:<{name}} {start:>6} + {b.size:<6} steps {b.first}-{b.last}  |{drawn}|")
        apart = sum(b.size for b in self.buffers)
        lines.append(f"arena {self.size} B, lower bound {self.lower_bound} B, all apart {apart} B ({self.method})")
        return "\n".join(lines)

    def plot(self, axes=None):
        """Buffers as rectangles, steps across and bytes upwards -> matplotlib Axes."""
        import matplotlib.pyplot as plt

        axes = axes or plt.subplots(figsize=(6, 3))[1]
        for i, b in enumerate(self.buffers):
            axes.bar(b.first - 0.5, b.size, b.last - b.first + 1, self.offsets[b.name], align="edge", color=f"C{i % 10}", alpha=0.7)
            middle = (b.first + b.last) / 2, self.offsets[b.name] + b.size / 2
            axes.text(*middle, f"{b.name}\n{b.size} B", ha="center", va="center", fontsize=8)
        axes.axhline(self.lower_bound, color="black", linestyle=":", label=f"lower bound {self.lower_bound} B")
        axes.set(xlabel="step", ylabel="bytes", title=f"arena: {self.size} B, {self.method}")
        axes.legend(loc="upper right")
        return axes


def plan(buffers, *, align=1):
    """Places for buffers -> Plan: optimal for chains, greedy by size otherwise. Offsets are multiples of align.

    Raises ArenaError for two buffers of a name, a negative size, a life that ends before it begins, or align < 1.
    """
    buffers = tuple(buffers)
    if len({b.name for b in buffers}) != len(buffers):
        raise ArenaError(f"buffers: names must differ, got {', '.join(b.name for b in buffers)}")
    bad = next((b for b in buffers if b.size < 0 or b.last < b.first), None)
    if bad or align < 1:
        raise ArenaError(f"align: got {align}; wanted 1 or more" if not bad else f"{bad}: wanted a size of 0 or more, and first <= last")
    sizes = {b.name: -(-b.size // align) * align for b in buffers}
    steps = {b.first for b in buffers}
    bound = max((sum(sizes[b.name] for b in buffers if b.first <= step <= b.last) for step in steps), default=0)
    ordered = sorted(buffers, key=lambda b: (b.first, b.last))
    chain = not any(a.meets(b) for i, a in enumerate(ordered) for b in ordered[i + 2 :])
    if chain:
        offsets = {b.name: bound - sizes[b.name] if i % 2 else 0 for i, b in enumerate(ordered)}
    else:
        offsets = _greedy(buffers, sizes)
    size = max((offsets[b.name] + sizes[b.name] for b in buffers), default=0)
    return Plan(buffers, {b.name: offsets[b.name] for b in buffers}, size, bound, "chain" if chain else "greedy by size")


def _greedy(buffers, sizes):
    offsets, placed = {}, []
    for b in sorted(buffers, key=lambda b: (-sizes[b.name], b.first, b.name)):
        at, best, end = None, None, 0
        for start, stop in sorted((offsets[o.name], offsets[o.name] + sizes[o.name]) for o in placed if o.meets(b)):
            gap = start - end
            if gap >= sizes[b.name] and (best is None or gap < best):
                at, best = end, gap
            end = max(end, stop)
        offsets[b.name] = end if at is None else at
        placed.append(b)
    return offsets


def plan_model(model):
    """The arena of a QuantModel: its input and what each layer makes, one buffer a tensor -> Plan.

    Tensor "t0" is the input, "t1" what the first layer makes. Layer i runs at step i, reads its input and writes its
    output; the last output stays. A softmax writes over its input.
    """
    tensors = [["t0", prod(model.in_shape), 0, 0]]
    for i, layer in enumerate(model.layers):
        tensors[-1][3] = i
        if layer.kind != "softmax":
            tensors.append([f"t{len(tensors)}", prod(layer.out_shape), i, i])
    return plan(Buffer(*t) for t in tensors)
