"""A standard convolution against a depthwise-separable one on a microcontroller: work, saving, time."""
from mlsysim import bounds, devices
from staffml import Choice, Misconception, Part, Template


def standard(p):
    return p.side**2 * p.kernel**2 * p.inputs * p.outputs * 2


def separable(p):
    return p.side**2 * p.inputs * (p.kernel**2 + p.outputs) * 2


def seconds(p):
    return bounds.roofline(separable(p) / p.reached, 0, p.board, precision="int8").seconds


template = Template(
    title="Separable convolution on a microcontroller", area="architecture", topic="cnn-efficient-design", track="tiny", level="L2",
    chapter="V1-06", minutes=8,
    space={"side": (12, 14, 16, 20, 24, 28, 32, 48), "kernel": (3, 5), "inputs": (8, 16, 24, 32, 48, 64), "outputs": (16, 24, 32, 64,
           96, 128), "reached": (0.2, 0.25, 0.3, 0.4), "board": ("stm32f746", "stm32h743", "stm32l4r5", "nrf52840")},
    derive={"title": lambda p: devices.device(p.board).title, "peak": lambda p: devices.device(p.board).rate("int8")},
    prompt="""
        A layer of an int8 network puts out {side} by {side} positions of {outputs} channels from {inputs} channels, with filters of
        {kernel} by {kernel}. It runs on one {title} ({board}) with {peak:GOP/s} at best, of which the kernels reach {reached:%}.
        A multiply-accumulate is two operations.""",
    parts=(
        Part("standard", "How many operations does a standard convolution need?", "OP", standard, ("10 kOP", "1 TOP"), (
            Misconception("MAC as OP", lambda p: standard(p) / 2, 0.5, "A multiply-accumulate is two operations."),
            Misconception("one channel in", lambda p: standard(p) / p.inputs, 0.0, "Every filter spans all input channels."),
            Misconception("filter in one direction", lambda p: standard(p) / p.kernel, 0.25, "A filter has two sides."))),
        Choice("separable", "And depthwise, then pointwise?", "OP", separable, ("10 kOP", "1 TOP"), (
            Misconception("depthwise only", lambda p: p.side**2 * p.inputs * p.kernel**2 * 2, 0.25, "The pointwise part is missing."),
            Misconception("pointwise only", lambda p: p.side**2 * p.inputs * p.outputs * 2, 0.25, "The depthwise part is missing."),
            Misconception("standard", standard, 0.0, "That is the standard convolution."))),
        Part("time", "How long does the separable layer take?", "s", seconds, ("1 µs", "10 s"), (
            Misconception("at the peak", lambda p: seconds(p) * p.reached, 0.5, "Kernels do not reach the peak."),
            Misconception("MAC as OP", lambda p: seconds(p) / 2, 0.5, "A multiply-accumulate is two operations."),
            Misconception("standard", lambda p: standard(p) / p.reached / p.peak, 0.25, "That is the standard layer.")))))
