"""Tiles of a matrix product in a scratchpad: their side, the traffic that is left, its time, and the side that would be enough."""
import math

from mlsysim import bounds, devices
from staffml import Misconception, Part, Template


def work(p):
    return 2 * p.width**2 * p.width


def longest(p):
    """Side of the largest tile: two of factors and one of sums share the scratchpad."""
    return math.sqrt(p.size / (2 * p.each + p.sums))


def enough(p):
    return bounds.ridge(p.board, precision="int8")


def traffic(p, side):
    """Bytes of both factors: each entry is read once for every tile along the other side."""
    return 2 * p.width**2 * p.each * p.width / side


template = Template(
    title="How large a scratchpad?", area="memory", topic="memory-hierarchy-design", track="edge", level="L4", chapter="V1-11",
    minutes=12, requires=("compute/roofline",),
    space={"size": tuple(k * 2.0**10 for k in (32, 48, 64, 96, 128, 192, 256, 384, 512)), "width": (1024, 1536, 2048, 3072, 4096),
           "board": ("jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "jetson-xavier-nx", "jetson-agx-xavier", "hailo-10h")},
    derive={"title": lambda p: devices.device(p.board).title, "peak": lambda p: devices.device(p.board).rate("int8"),
            "bandwidth": lambda p: devices.device(p.board).bandwidth.value, "each": lambda p: 1, "sums": lambda p: 4},
    prompt="""
        An engine for matrix products keeps its operands in a scratchpad of {size:KiB}. It multiplies two int8 matrices of {width} by
        {width} tile by tile: a square tile of either factor ({each:B} an entry) and one of sums ({sums:B} an entry) lie in the
        scratchpad, and a tile of sums is finished before the next one begins. Leave out tiles at the border and writing the result.
        The engine is to be built into a chip like the {title} ({board}), with {peak:TOP/s} and {bandwidth:GB/s} of memory bandwidth.""",
    parts=(
        Part("side", "How many entries long is the side of the largest tile that fits?", "", longest, ("20", "1000"), (
            Misconception("sums as int8", lambda p: longest(p.but(sums=p.each)), 0.5, "Sums of int8 products need four bytes."),
            Misconception("one tile", lambda p: math.sqrt(p.size), 0.25, "Three tiles have to fit at the same time."),
            Misconception("no root", lambda p: p.size / (2 * p.each + p.sums), 0.0, "A tile has two sides."))),
        Part("traffic", "How many bytes of both factors are read from memory?", "B", traffic, ("1 MB", "100 GB"), (
            Misconception("one factor", lambda p, side: traffic(p, side) / 2, 0.5, "Both factors are read again and again."),
            Misconception("once", lambda p: 2 * p.width**2 * p.each, 0.25, "A row of tiles is read anew for every column of tiles."),
            Misconception("no tiles", lambda p: traffic(p, 1), 0.0, "An entry serves a whole side of its tile each time."))),
        Part("time", "How long does the product take at least?", "s",
             lambda p, traffic: bounds.roofline(work(p), traffic, p.board, precision="int8").seconds, ("10 µs", "10 s"), (
            Misconception("in turn", lambda p, traffic: work(p) / p.peak + traffic / p.bandwidth, 0.5, "Both overlap."),
            Misconception("the faster", lambda p, traffic: min(work(p) / p.peak, traffic / p.bandwidth), 0.0,
                          "The slower of arithmetic and traffic decides."))),
        Part("enough", "From which side of a tile on would arithmetic be the limit?", "", enough, ("50", "2000"), (
            Misconception("MAC as OP", lambda p: enough(p) / 2, 0.5, "A multiply-add is two operations of the peak."),
            Misconception("twice", lambda p: 2 * enough(p), 0.5,
                          "There are two operations and two factors: these twos cancel."))),
    ))
