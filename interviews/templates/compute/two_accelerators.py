"""Two accelerators with operations to spare: the time of either, their energy, and which one to build in."""
from mlsysim import bounds, devices, sustainability
from staffml import Choice, Design, Misconception, Part, Template


def seconds(p, board):
    return bounds.roofline(p.work / p.reached, p.traffic, board, precision="int8").seconds


def energy(board, seconds):
    return sustainability.machine_energy(1, seconds, device=board)


def compute(p, board):
    return bounds.roofline(p.work / p.reached, 0, board, precision="int8").seconds


template = Template(
    title="Which accelerator for the robot?", area="compute", topic="accelerator-comparison", track="edge", level="L5", chapter="V2-11",
    minutes=20, requires=("compute/roofline",),
    space={"work": tuple(2e9 * g for g in (4, 6, 8, 10, 12, 15, 16, 18, 20, 24, 25, 28, 30, 32, 36, 40)),
           "traffic": tuple(m * 1e6 for m in (80, 90, 100, 110, 120, 135, 150, 160, 180, 200, 220, 250, 280, 300)),
           "reached": (0.4, 0.5, 0.6), "small": ("hailo-10h",), "large": ("jetson-orin-nano", "jetson-orin-nano-super", "jetson-orin-nx")},
    derive={"first": lambda p: devices.device(p.small).title, "second": lambda p: devices.device(p.large).title,
            "peak_a": lambda p: devices.device(p.small).rate("int8"), "peak_b": lambda p: devices.device(p.large).rate("int8"),
            "rate_a": lambda p: devices.device(p.small).bandwidth.value, "rate_b": lambda p: devices.device(p.large).bandwidth.value,
            "draw_a": lambda p: devices.device(p.small).power.value, "draw_b": lambda p: devices.device(p.large).power.value},
    where=lambda p: seconds(p, p.small) > 2 * seconds(p, p.large) and p.draw_a * seconds(p, p.small) < p.draw_b * seconds(p, p.large) / 2,
    figures={"slow": lambda p: seconds(p, p.small), "fast": lambda p: seconds(p, p.large), "bound": lambda p: compute(p, p.small)},
    prompt="""
        A network for a robot takes {work:GMAC} in int8 a frame and moves {traffic:MB} of weights and activations. Two boards are on offer:
        the {first} ({small}) with {peak_a:TOP/s}, {rate_a:GB/s} of memory bandwidth and {draw_a:W}, and the {second} ({large}) with
        {peak_b:TOP/s}, {rate_b:GB/s} and {draw_b:W}. Either reaches {reached:%} of its operations and all of its bandwidth, the two
        overlap, and it draws the power above while it works.""",
    parts=(
        Part("first", "How long does a frame take on the {first}?", "s", lambda p: seconds(p, p.small), ("500 µs", "1 s"), (
            Misconception("operations only", lambda p: compute(p, p.small), 0.25, "Its memory is slower than its arithmetic here."),
            Misconception("in turn", lambda p: compute(p, p.small) + p.traffic / p.rate_a, 0.5, "They overlap; the slower one decides."))),
        Part("faster", "By which factor is a frame quicker on the {second}?", "", lambda p, first: first / seconds(p, p.large),
             ("1", "30"), (
            Misconception("operations", lambda p: p.peak_b / p.peak_a, 0.0, "The first is limited by its memory, not by its operations."),
            Misconception("draw", lambda p: p.draw_b / p.draw_a, 0.0, "That compares watts."))),
        Choice("energy", "By which factor does a frame take more energy there?", "",
               lambda p, faster: energy(p.large, 1) / energy(p.small, faster), ("1", "30"), (
            Misconception("watts", lambda p: p.draw_b / p.draw_a, 0.25, "That compares power; the {second} draws it for a shorter time."),
            Misconception("times", lambda p, faster: p.draw_b / p.draw_a * faster, 0.0, "A shorter time takes less energy, not more."),
            Misconception("less", lambda p, faster: energy(p.small, faster) / energy(p.large, 1), 0.25, "That is the ratio upside down."))),
        Design("take", "Which one do you build in, and what has to be true of the robot for the other choice to be right?", (
            (0.3, "Says what limits each: {slow:s} of traffic against {bound:s} of arithmetic on the first, {fast:s} on the second."),
            (0.3, "Decides by the frame rate and the energy that the robot has, and names the rate from which the first is out."),
            (0.2, "Counts power at rest between frames, which may matter more than energy while working."),
            (0.2, "Names what to measure before buying: reached operations for this network, operators that fall back, heat.")))))
