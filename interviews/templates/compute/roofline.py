"""The roofline of one matrix product: its intensity, the ridge of the device, the time, and which roof it touches."""
from mlsysim import bounds, devices
from staffml import Choice, Misconception, Part, Template


def flop(p):
    return 2 * p.rows * p.width * p.width


def traffic(p):
    return p.bytes_per * (p.width * p.width + 2 * p.rows * p.width)     # the matrix, the rows in and out


def seconds(p):
    return bounds.roofline(flop(p), traffic(p), p.gpu).seconds


template = Template(
    title="Roofline of a matrix product", area="compute", topic="roofline-analysis", track="cloud", level="L3",
    chapter="V1-11", minutes=12,
    space={"rows": (8, 16, 32, 48, 64, 96, 128, 192, 768, 1024, 1536, 2048, 3072, 4096), "width": (4096, 5120, 6144, 8192, 10240, 12288),
           "gpu": ("a100", "h100", "h200", "mi300x", "l40s", "a10")},
    derive={"card": lambda p: devices.device(p.gpu).title, "peak": lambda p: devices.device(p.gpu).rate("fp16"),
            "bandwidth": lambda p: devices.device(p.gpu).bandwidth.value, "bytes_per": lambda p: 2},
    prompt="""
        {rows} rows of {width} numbers are multiplied by a square matrix of {width} by {width}, all in fp16, {bytes_per:B} a
        number. The {card} ({gpu}) computes {peak:TFLOP/s} in fp16 without sparsity and reads or writes memory at
        {bandwidth:TB/s}. Every number crosses the memory bus once.""",
    parts=(
        Part("intensity", "What is the arithmetic intensity of the product?", "FLOP/B", lambda p: flop(p) / traffic(p),
             ("1 FLOP/B", "5000 FLOP/B"), (
            Misconception("MAC as FLOP", lambda p: flop(p) / traffic(p) / 2, 0.5, "A multiply-add is two operations."),
            Misconception("per number", lambda p: 2 * flop(p) / traffic(p), 0.5, "You counted numbers rather than bytes."),
            Misconception("per bit", lambda p: flop(p) / traffic(p) / 8, 0.25, "Intensity is per byte."))),
        Part("ridge", "From which intensity on is this card limited by arithmetic?", "FLOP/B", lambda p: bounds.ridge(p.gpu),
             ("50 FLOP/B", "1000 FLOP/B"), (
            Misconception("sparse", lambda p: 2 * bounds.ridge(p.gpu), 0.5, "That is the ridge of the sparse rate."),
            Misconception("MAC as FLOP", lambda p: bounds.ridge(p.gpu) / 2, 0.5, "The peak counts both halves of a multiply-add."))),
        Choice("time", "How long does the product take at least?", "s", seconds, ("1 µs", "100 ms"), (
            Misconception("both in turn", lambda p: flop(p) / p.peak + traffic(p) / p.bandwidth, 0.5,
                          "Arithmetic and traffic overlap; the slower one decides."),
            Misconception("the faster", lambda p: min(flop(p) / p.peak, traffic(p) / p.bandwidth), 0.0,
                          "You took the quicker of the two; the other roof is lower."),
            Misconception("MAC as FLOP", lambda p: bounds.roofline(flop(p) / 2, traffic(p) / 2, p.gpu).seconds, 0.25,
                          "That is half of it: a multiply-add is two operations, and a number takes two bytes.")))))
