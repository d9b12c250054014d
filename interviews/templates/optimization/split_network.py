"""A network cut in two: the first blocks run on one unit, the others on a quicker one, as a pipeline of frames."""
from mlsysim import simulate_pipeline
from staffml import Misconception, Part, Table, Template

BLOCKS = ("a", "b", "c", "d", "e", "f")


def halves(p, cut):
    """Seconds of the first `cut` blocks on the accelerator, and of the others on the graphics processor."""
    times = [p[block] for block in BLOCKS]
    return [p.slower * sum(times[:cut]), sum(times[cut:])]


def frames(p, cut):
    """Seconds until the first frame comes out, and from there to the second."""
    run = simulate_pipeline(halves(p, cut), 0.0, stages=2, micro_batches=2, schedule="gpipe", send=p.copy)
    first, second = sorted(run.end[(run.stage == 1) & (run.kind == 0)])
    return first, second - first


def cuts(p):
    """Cuts from the best to the worst."""
    return sorted(range(1, len(BLOCKS)), key=lambda cut: frames(p, cut)[1])


def even(p):
    return min(range(1, len(BLOCKS)), key=lambda cut: abs(sum(halves(p.but(slower=1), cut)[:1]) - halves(p.but(slower=1), cut)[1]))


template = Template(
    title="A network on two units", area="optimization", topic="operator-scheduling", track="edge", level="L5", chapter="V1-11",
    minutes=15, requires=("latency/frame_budget",),
    space={BLOCKS: tuple(tuple(t * 1e-3 for t in (*times[turn:], *times[:turn])) for turn in range(6) for times in (
           (6, 3, 2, 2, 1.5, 1.5), (8, 2, 5, 3, 2, 4), (4, 4, 3, 5, 2, 6), (9, 6, 4, 3, 2, 1), (3, 7, 2, 6, 1, 5), (5, 5, 8, 2, 2, 3),
           (7, 7, 3, 2, 2, 1), (2, 3, 4, 5, 6, 7), (10, 3, 3, 2, 2, 2), (4, 9, 3, 3, 2, 5))),
           "slower": (1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0), "copy": (0.5e-3, 1e-3, 1.5e-3, 2e-3, 3e-3)},
    where=lambda p: frames(p, cuts(p)[1])[1] > (1 + 1 / 2**4) * frames(p, cuts(p)[0])[1],
    table=lambda p: Table((("block", None), ("graphics", "s"), ("accelerator", "s")),
                          tuple((block, p[block], p[block] * p.slower) for block in BLOCKS), tells=(*BLOCKS, "slower")),
    prompt="""
        A perception network of six blocks, one after the other, takes the times below for a frame on a board's graphics processor, and
        {slower:plain} times as long on its inference accelerator. The accelerator is to run the first blocks and the graphics processor
        the others, each on another frame. Passing a frame on takes {copy:ms}, during which both go on working.""",
    parts=(
        Part("cut", "After how many blocks do you pass frames on, to get the most frames a second?", "", lambda p: cuts(p)[0],
             ("1", "5"), (
            Misconception("half of the work", even, 0.25, "The accelerator needs longer for the same work, so it gets less of it."),
        ), rounding=round),
        Part("interval", "How long is it then from one frame to the next?", "s", lambda p, cut: frames(p, int(cut))[1],
             ("2 ms", "100 ms"), (
            Misconception("one unit", lambda p: sum(p[block] for block in BLOCKS), 0.25, "That is the graphics processor alone."),
            Misconception("in turn", lambda p, cut: sum(halves(p, int(cut))), 0.25, "Both work at the same time, on two frames."),
            Misconception("mean of both", lambda p, cut: sum(halves(p, int(cut))) / 2, 0.25, "The slower half sets the pace."))),
        Part("trip", "And how long from a frame's start to its result?", "s", lambda p, cut: frames(p, int(cut))[0], ("3 ms", "200 ms"), (
            Misconception("one interval", lambda p, interval: interval, 0.25, "More frames a second do not make a frame faster."),
            Misconception("no copy", lambda p, cut: sum(halves(p, int(cut))), 0.5, "The frame is passed on in between.")), tol=0.01)))
