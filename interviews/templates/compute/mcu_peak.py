"""What a microcontroller computes at best: clock times operations a cycle, and the least time of an inference."""
from mlsysim import bounds, devices
from staffml import Choice, Misconception, Part, Template


def peak(p):
    return devices.device(p.board).rate("int8")


def least(p):
    return bounds.roofline(p.work, 0, p.board, precision="int8").seconds


template = Template(
    title="Operations a second on a microcontroller", area="compute", topic="mcu-compute-constraints", track="tiny", level="L1",
    chapter="V1-11", minutes=4,
    space={"board": ("stm32f407", "stm32f746", "stm32h743", "stm32h7a3", "stm32l4r5", "nrf52840", "nrf5340"),
           "work": tuple(2e6 * m for m in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7.5, 8, 10, 12, 12.5, 15, 18, 20, 24, 25, 30, 36, 40, 45, 50, 60, 72,
                                           75, 80, 90, 100, 105, 110, 115, 120, 125, 130, 140, 150))},
    derive={"title": lambda p: devices.device(p.board).title, "clock": lambda p: devices.device(p.board).clock.value,
            "macs": lambda p: int(devices.device(p.board).ops["int8"].value / 2)},
    prompt="""
        One {title} ({board}) runs at {clock:MHz}. A register holds four int8 numbers. Instructions widen them to sixteen bits, which
        leaves two to a register, and one instruction a cycle does {macs} multiply-adds on such registers. An int8 network needs
        {work:MMAC} for an inference.""",
    parts=(
        Choice("peak", "How many operations a second is that at best?", "OP/s", peak, ("100 MOP/s", "10 GOP/s"), (
            Misconception("MAC as OP", lambda p: peak(p) / 2, 0.5, "A multiply-add is two operations."),
            Misconception("clock", lambda p: p.clock, 0.25, "That is one operation a cycle."),
            Misconception("full registers", lambda p: peak(p) * 2, 0.25,
                          "A register holds four int8 numbers, but the multiplier takes them widened, two at a time."))),
        Part("time", "How long does an inference take at least, loads and everything else left out?", "s", least, ("500 µs", "5 s"), (
            Misconception("MAC as OP", lambda p: least(p) / 2, 0.5, "The work is in multiply-adds and the peak in operations."),
            Misconception("one a cycle", lambda p: least(p) * p.macs, 0.5, "It does {macs} multiply-adds a cycle.")))))
