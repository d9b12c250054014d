"""A systolic array fed with few rows: its peak, the cycles of a tile, the share of cells at work, the rate that is left."""
from mlsysim import devices
from staffml import Misconception, Part, Template


def peak(p):
    chip = devices.device(p.chip)
    return chip.cores.value * chip.ops[p.precision].value * chip.clock.value


def cycles(p):
    return p.rows + 2 * (p.side - 1)        # rows follow each other; the last one crosses the array and is shifted out


template = Template(
    title="Few rows in a systolic array", area="compute", topic="systolic-dataflow", track="cloud", level="L4", chapter="V1-11",
    minutes=12, requires=("compute/roofline",),
    space={"rows": tuple(range(16, 1040, 16)), "chip": ("tpu-v2", "tpu-v3", "tpu-v4", "tpu-v5e", "tpu-v5p"), "precision": ("bf16",)},
    derive={"title": lambda p: devices.device(p.chip).title, "clock": lambda p: devices.device(p.chip).clock.value,
            "arrays": lambda p: int(devices.device(p.chip).cores.value),
            "side": lambda p: round((devices.device(p.chip).ops[p.precision].value / 2) ** 0.5)},
    prompt="""
        A {title} ({chip}) has {arrays} systolic arrays of {side} by {side} cells, each of which does one {precision} multiply-add a
        cycle at {clock:MHz}. Weights stay in the cells. {rows} rows of activations enter one array, a cycle apart. The numbers of a
        row enter one cycle after the other, one for each row of cells; its results leave one cycle after the other, one for each
        column. Weights of the next tile are loaded beside the work, but its rows start only when the last result has left.""",
    parts=(
        Part("peak", "How many operations a second does the chip do at best?", "FLOP/s", peak,
             ("10 TFLOP/s", "10 PFLOP/s"), (
            Misconception("MAC as FLOP", lambda p: peak(p) / 2, 0.5, "A multiply-add is two operations."),
            Misconception("one side", lambda p: peak(p) / p.side, 0.0, "All cells work, not one row of them."),
        ), tol=0.03),
        Part("cycles", "How many cycles pass from the first number that enters to the last result that leaves?", "", cycles,
             ("100", "20000"), (
            Misconception("rows only", lambda p: p.rows, 0.25, "The array has to fill and to drain."),
            Misconception("filled, not drained", lambda p: p.rows + p.side - 1, 0.5,
                          "The last row still has to cross the array after it has entered."),
            Misconception("row by row", lambda p: p.rows * 2 * p.side, 0.0, "Rows follow each other a cycle apart.")), tol=0.01),
        Part("share", "What share of the multiply-adds that the cells could do in that time is done?", "%",
             lambda p, cycles: p.rows / cycles, ("0.5 %", "99 %"), (
            Misconception("idle share", lambda p, cycles: 1 - p.rows / cycles, 0.25, "That is the share in which they wait."),
            Misconception("over the fill", lambda p: p.rows / (cycles(p) - p.rows), 0.0,
                          "That is work over waiting; a share is of the whole time."))),
        Part("rate", "What is left of the chip's peak when all its arrays work like that?", "FLOP/s", lambda p, peak, share: peak * share,
             ("10 GFLOP/s", "10 PFLOP/s"), (
            Misconception("one array", lambda p, peak, share: peak * share / p.arrays, 0.25, "All arrays work at the same time."),
            Misconception("peak", lambda p, peak: peak, 0.0, "Cells wait while the array fills and drains."),
            Misconception("what is lost", lambda p, peak, share: peak * (1 - share), 0.25, "That is what is lost.")), tol=0.03)))
