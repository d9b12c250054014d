"""How long a training run takes, to an order of magnitude: parameters, tokens, devices and their utilization."""
from mlsysim import bounds, devices
from staffml import Fermi, Misconception, Part, Template

PASSES = 3      # the backward pass computes twice what the forward pass does: Kaplan et al. 2020, section 2.1


def flop(p):
    return PASSES * 2 * p.params * p.tokens


def seconds(p):
    return bounds.roofline(flop(p), 0, p.gpu, precision="bf16").seconds / (p.count * p.mfu)


template = Template(
    title="Days of a training run", area="compute", topic="compute-cost-estimation", track="cloud", level="L2",
    chapter="V1-08", minutes=6,
    space={"params": (1e9, 3e9, 7e9, 8e9, 13e9, 30e9, 34e9, 70e9, 180e9, 405e9), "tokens": (3e11, 1e12, 2e12, 5e12, 1.5e13),
           "count": (64, 256, 512, 1024, 2048, 4096, 16384), "mfu": (0.3, 0.4, 0.5), "gpu": ("a100", "h100", "mi300x")},
    derive={"card": lambda p: devices.device(p.gpu).title, "peak": lambda p: devices.device(p.gpu).rate("bf16")},
    where=lambda p: 86400 < seconds(p) < 2**7 * 86400,
    prompt="""
        A dense decoder of {params:billion} parameters is trained on {tokens:trillion} tokens, on {count} devices of the
        type {card} ({gpu}), each with {peak:TFLOP/s} in bf16. The run uses {mfu:%} of that.
        Leave out attention scores and recomputation.""",
    parts=(
        Part("flop", "How many operations does the run need?", "FLOP", flop, ("1 ZFLOP", "1e27 FLOP"), (
            Misconception("forward only", lambda p: flop(p) / PASSES, 0.5, "The backward pass costs twice the forward pass."),
            Misconception("MAC as FLOP", lambda p: flop(p) / 2, 0.5, "A multiply-add is two operations."))),
        Fermi("time", "Without a calculator: how long does it run?", "s", seconds, ("1 h", "300 days"), (
            Misconception("one device", lambda p: seconds(p.but(count=1)), 0.0, "That is the time of a single device."),
            Misconception("milli for kilo", lambda p: seconds(p) / 1e3, 0.0, "You slipped by three powers of ten.")))))
