"""Failures of a large job and checkpoints against them: time between failures, interval, waste. Each takes the one before."""
from mlsysim import reliability
from staffml import Misconception, Part, Template


def interval(p, mtbf):
    return reliability.young(p.write, mtbf)


def waste(p, interval, mtbf):
    return reliability.first_order_waste(interval, p.write, mtbf, restart=p.restart)


template = Template(
    title="Checkpoints against failures", area="reliability", topic="fault-tolerance-checkpointing", track="cloud", level="L4",
    chapter="V2-07", minutes=12,
    space={"each": tuple(i * 3.6e6 for i in (20, 30, 40, 50, 60, 80, 100)), "devices": (512, 1024, 2048, 4096, 8192, 16384),
           "write": (30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0), "restart": (120.0, 300.0, 600.0)},
    where=lambda p: p.each / p.devices > 2**6 * p.write,
    prompt="""
        A training job runs on {devices} devices. Each fails once in {each:h} on average, independently of the others, and any
        failure stops the job. Writing a checkpoint takes {write:s}, during which nothing else happens; after a failure it takes
        {restart:s} to start again from the last one.""",
    parts=(
        Part("mtbf", "What is the mean time between failures of the job?", "s", lambda p: p.each / p.devices, ("10 min", "20 days"), (
            Misconception("one device", lambda p: p.each, 0.0, "Any of the devices stops the job."),
            Misconception("half", lambda p: p.each / p.devices / 2, 0.25, "Failures at random halve nothing: their rates add up."))),
        Part("interval", "After how much work should it write a checkpoint, to first order?", "s", interval, ("1 min", "3 days"), (
            Misconception("no two", lambda p, mtbf: interval(p, mtbf) / 2**0.5, 0.5, "On average half an interval is lost, hence the two."),
            Misconception("half the time", lambda p, mtbf: mtbf / 2, 0.0, "That loses far more than the writes cost."),
            Misconception("twice the write", lambda p: 2 * p.write, 0.0, "It would spend a third of its time on writing."))),
        Part("waste", "What share of the time is then lost, to first order?", "%", waste, ("0.5 %", "60 %"), (
            Misconception("writes only", lambda p, interval: p.write / interval, 0.5, "You left out what a failure costs."),
            Misconception("no restart", lambda p, interval, mtbf: waste(p.but(restart=0), interval, mtbf), 0.5,
                          "You left out the restart."),
            Misconception("whole interval", lambda p, interval, mtbf: waste(p, interval, mtbf) + interval / mtbf / 2, 0.5,
                          "A failure comes, on average, in the middle of an interval.")), tol=0.03)))
