"""A training step in mixed precision: products, operators that only move bytes, an optimizer that stays; what it brings."""
from mlsysim import bounds, devices
from staffml import Choice, Misconception, Part, Template


def products(p):
    """The products' time at the rate of bf16, from their operations at the rate of fp32."""
    return bounds.roofline(p.step * p.arithmetic * p.high, 0, p.gpu, precision="bf16").seconds


def rest(p):
    return p.step * (1 - p.arithmetic - p.traffic)


template = Template(
    title="What mixed precision brings", area="precision", topic="mixed-precision-training", track="cloud", level="L4", chapter="V1-08",
    minutes=10,
    space={"step": tuple(m * 1e-3 for m in (200, 240, 300, 360, 400, 480, 500, 600, 720, 800)), "arithmetic": (0.5, 0.55, 0.6, 0.65, 0.7),
           "traffic": (0.2, 0.22, 0.24, 0.25), "gpu": ("a100", "h100", "l40s", "a10", "l4")},
    derive={"card": lambda p: devices.device(p.gpu).title, "high": lambda p: devices.device(p.gpu).rate("fp32"),
            "low": lambda p: devices.device(p.gpu).rate("bf16")},
    prompt="""
        A training step in fp32 takes {step:ms} on one {card} ({gpu}, {high:TFLOP/s} in fp32, {low:TFLOP/s} in bf16). Of this time
        {arithmetic:%} go to matrix products, which arithmetic limits, {traffic:%} to operators that memory traffic limits, such as norms
        and activations, and the rest to the optimizer. In mixed precision the operands of products are in bf16, the operators between
        them read and write bf16, and the optimizer works on fp32 as before. Each keeps its share of peak or bandwidth.""",
    parts=(
        Part("products", "How long do the matrix products take then?", "s", products, ("1 ms", "1 s"), (
            Misconception("half", lambda p: p.step * p.arithmetic / 2, 0.25,
                          "Products go by the rate of arithmetic, which rises by more than the bytes shrink."),
            Misconception("whole step", lambda p: products(p) / p.arithmetic, 0.25, "Only a share of the step goes to products."))),
        Part("step", "How long does the step take?", "s", lambda p, products: products + p.step * p.traffic / 2 + rest(p),
             ("10 ms", "2 s"), (
            Misconception("traffic as before", lambda p, products: products + p.step * p.traffic + rest(p), 0.5,
                          "Numbers of half the width are half the traffic."),
            Misconception("optimizer too", lambda p, products: products + p.step * p.traffic / 2 + rest(p) / 2, 0.5,
                          "The optimizer keeps its state and its weights in fp32, or small updates would be lost."),
            Misconception("products only", lambda p, products: products, 0.0, "The rest takes most of the time now."))),
        Choice("gain", "By which factor is the step faster?", "", lambda p, step: p.step / step, ("1", "10"), (
            Misconception("ratio of peaks", lambda p: p.low / p.high, 0.0, "Only products gain that; the rest limits the whole."),
            Misconception("half the bytes", lambda p: 2, 0.0, "Traffic halves, products gain more, and the optimizer nothing."),
            Misconception("products alone", lambda p, products: 1 / (1 - p.arithmetic + products / p.step), 0.5,
                          "Operators limited by traffic gain as well: they move half the bytes.")))))
