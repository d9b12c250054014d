"""A camera and a deadline: the time between frames, the time of the network, and what is left."""
import math

from mlsysim import bounds, devices
from staffml import Choice, Misconception, Part, Template


def network(p):
    return bounds.roofline(p.work / p.efficiency, p.traffic, p.board, precision="int8").seconds


template = Template(
    title="Frames a second on the edge", area="latency", topic="real-time-deadlines", track="edge", level="L2", chapter="V2-11",
    minutes=10,
    space={"work": tuple(2e9 * i for i in (14, 18, 22, 28, 33, 39, 44, 50, 60, 70, 82, 95, 110, 130, 165)),
           "traffic": (10e6, 20e6, 30e6, 40e6), "efficiency": (0.2, 0.25, 0.4), "rest": (2e-3, 3e-3, 4e-3, 5e-3, 6e-3, 8e-3),
           "board": ("jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "jetson-xavier-nx", "jetson-agx-xavier")},
    derive={"title": lambda p: devices.device(p.board).title, "peak": lambda p: devices.device(p.board).rate("int8"),
            "bandwidth": lambda p: devices.device(p.board).bandwidth.value},
    prompt="""
        A detector needs {work:GMAC} a frame in int8 and moves {traffic:MB} of weights and activations. It runs on one {title}
        ({board}) with {peak:TOP/s} in int8, of which it reaches {efficiency:%}, and {bandwidth:GB/s} of memory bandwidth; arithmetic
        and traffic overlap.         Capture and drawing take {rest:ms} a frame more, one after the other with the network.""",
    parts=(
        Part("time", "How long does the network take for a frame, at the rates above?", "s", network, ("0.5 ms", "1 s"), (
            Misconception("MAC as OP", lambda p: network(p.but(work=p.work / 2)), 0.5, "A multiply-add is two operations."),
            Misconception("printed peak", lambda p: network(p.but(efficiency=1)), 0.25, "The peak is not what is reached."),
            Misconception("traffic alone", lambda p: p.traffic / p.bandwidth, 0.0, "Arithmetic takes longer here, and decides."))),
        Part("frames", "How many whole frames a second are possible?", "", lambda p: 1 / (network(p) + p.rest), ("2", "300"), (
            Misconception("network only", lambda p: 1 / network(p), 0.5, "Capture and drawing take their time as well."),
            Misconception("rounded up", lambda p: 1 / (network(p) + p.rest) + 1, 0.5, "The last frame would be late."),
        ), rounding=math.floor),
        Choice("double", "Both the network and the rest run at the same time, each on another frame. How long between frames?", "s",
               lambda p: max(network(p), p.rest), ("0.5 ms", "1 s"), (
            Misconception("still in turn", lambda p: network(p) + p.rest, 0.0, "They overlap now."),
            Misconception("half", lambda p: (network(p) + p.rest) / 2, 0.25, "Only equal stages halve the time."),
            Misconception("the shorter", lambda p: min(network(p), p.rest), 0.0, "The longer stage sets the pace.")))))
