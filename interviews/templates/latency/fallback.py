"""Operators that fall back from the NPU to the CPU: its time, the whole pass, and what an infinitely fast NPU would bring."""
from mlsysim import bounds, devices
from staffml import Choice, Misconception, Part, Template


def npu(p):
    return bounds.roofline(p.work * p.share / p.reached, 0, p.phone, precision="int8").seconds


def rest(p):
    return p.work * (1 - p.share) / p.cpu + p.crossings * p.copy


template = Template(
    title="Operators that fall back", area="latency", topic="latency-decomposition", track="mobile", level="L3", chapter="V1-12",
    minutes=8, requires=("deployment/offload",),
    space={"work": tuple(2e9 * g for g in (2, 4, 6, 8, 10, 15, 20, 30, 40)), "share": (0.8, 0.9, 0.95, 0.98),
           "reached": (0.05, 0.1, 0.15, 0.2), "cpu": (40e9, 60e9, 80e9, 100e9, 150e9), "crossings": (4, 6, 8, 10, 12, 16),
           "copy": (0.2e-3, 0.3e-3, 0.5e-3, 0.8e-3),
           "phone": ("iphone-15-pro", "snapdragon-8-gen-3", "m2", "m4")},
    derive={"title": lambda p: devices.device(p.phone).title, "peak": lambda p: devices.device(p.phone).rate("int8")},
    prompt="""
        A network takes {work:GMAC} in int8. The NPU of the {title} ({phone}) knows the operators that make {share:%} of that work, and
        reaches {reached:%} of its {peak:TOP/s} on them. The others run on the CPU at {cpu:GOP/s}. A pass changes from one to the
        other {crossings} times, and each change costs {copy:ms}. Nothing overlaps.""",
    parts=(
        Part("npu", "How long does the NPU work in a pass?", "s", npu, ("100 µs", "1 s"), (
            Misconception("all the work", lambda p: npu(p) / p.share, 0.5, "Part of the work is not done there."),
            Misconception("MAC as OP", lambda p: npu(p) / 2, 0.5, "A multiply-add is two operations."),
            Misconception("at the peak", lambda p: npu(p) * p.reached, 0.25, "It does not reach its peak."))),
        Part("whole", "How long does a pass take?", "s", lambda p, npu: npu + rest(p), ("1 ms", "5 s"), (
            Misconception("changes left out", lambda p, npu: npu + rest(p.but(crossings=0)), 0.5, "Every change costs time."),
            Misconception("one change", lambda p, npu: npu + rest(p.but(crossings=1)), 0.5, "A pass changes several times."),
            Misconception("share of operators", lambda p, npu: npu / p.share, 0.0,
                          "The rest is a small share of the work, and the CPU is far slower at it."))),
        Choice("limit", "An infinitely fast NPU comes out that knows the same operators. How many times faster is a pass?", "",
               lambda p, npu, whole: whole / (whole - npu), ("1", "20"), (
            Misconception("one over the rest", lambda p: 1 / (1 - p.share), 0.0,
                          "That holds if both ran at the same rate; the rest takes most of the time already."),
            Misconception("the rest vanishes", lambda p, npu, whole: whole / npu, 0.25,
                          "The NPU gets faster; what it does not know stays as it is."),
            Misconception("changes vanish", lambda p, npu, whole: whole / rest(p.but(crossings=0)), 0.5,
                          "A pass still changes from one to the other as often.")))))
