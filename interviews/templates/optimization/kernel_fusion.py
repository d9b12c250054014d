"""A chain of element-wise operations, one kernel each or fused: traffic, time, and what launching adds."""
from mlsysim import bounds, devices
from staffml import Misconception, Part, Template


def apart(p):
    return p.operations * 2 * p.elements * p.bytes_per          # every operation reads and writes all elements


def fused(p):
    return 2 * p.elements * p.bytes_per


def seconds(p, traffic):
    return bounds.roofline(0, traffic, p.gpu).seconds


template = Template(
    title="Fusing element-wise operations", area="optimization", topic="kernel-fusion", track="edge", level="L3", chapter="V1-07",
    minutes=8,
    space={"operations": (3, 4, 5, 6, 8), "elements": (0.1e6, 0.2e6, 0.25e6, 0.3e6, 0.4e6, 0.5e6, 0.6e6, 0.8e6, 1e6, 1.2e6),
           "bytes_per": (2, 4), "launch": (5e-6, 8e-6, 10e-6, 15e-6, 20e-6),
           "gpu": ("jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "jetson-agx-xavier")},
    derive={"title": lambda p: devices.device(p.gpu).title, "bandwidth": lambda p: devices.device(p.gpu).bandwidth.value},
    prompt="""
        {operations} element-wise operations follow each other on a tensor of {elements:million} numbers, {bytes_per:B} each, on one
        {title} ({gpu}) whose memory moves {bandwidth:GB/s}. Each operation has one input and one output, and launching a kernel
        takes {launch:µs}, during which nothing else happens. Caches hold nothing of the tensor.""",
    parts=(
        Part("traffic", "How many bytes cross the memory bus when each operation is a kernel?", "B", apart, ("500 kB", "10 GB"), (
            Misconception("reads only", lambda p: apart(p) / 2, 0.5, "Every kernel writes its output as well."),
            Misconception("once", fused, 0.0, "Each kernel reads and writes everything again."))),
        Part("time", "How long do they take, launches included?", "s", lambda p, traffic: seconds(p, traffic) + p.operations * p.launch,
             ("10 µs", "1 s"), (
            Misconception("one launch", lambda p, traffic: seconds(p, traffic) + p.launch, 0.5, "Each kernel is launched."),
            Misconception("no launch", lambda p, traffic: seconds(p, traffic), 0.5, "You left out launching."))),
        Part("saved", "How much of that does one fused kernel save?", "s", lambda p, time: time - seconds(p, fused(p)) - p.launch,
             ("1 µs", "1 s"), (
            Misconception("all of it", lambda p, time: time, 0.0, "The fused kernel still reads and writes the tensor once."),
            Misconception("what is left", lambda p: seconds(p, fused(p)) + p.launch, 0.25, "That is the fused kernel."),
            Misconception("launches only", lambda p: (p.operations - 1) * p.launch, 0.25, "It saves traffic as well.")))))
