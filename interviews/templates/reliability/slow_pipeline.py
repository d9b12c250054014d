"""A training run gets through fewer samples. One stage, the links, or the schedule? Read it from what the stages report."""
from mlsysim import pipeline, simulate_pipeline
from staffml import Cause, Choice, Diagnosis, Misconception, Table, Template

BACK = 2        # a backward pass computes twice what the forward pass does: Kaplan et al. 2020, section 2.1


def today(p):
    """One step played out, with the fault in it."""
    times = [p.forward * (p.slow if p.fault == "stage" and i == p.place else 1) for i in range(p.stages)]
    micro = p.micro // 2 if p.fault == "micro" else p.micro
    return simulate_pipeline(times, [BACK * t for t in times], stages=p.stages, micro_batches=micro,
                             send=p.late * p.forward if p.fault == "link" else 0.0)


def monitor(p):
    run = today(p)
    return Table((("stage", None), ("at work in a step", "s"), ("waiting in a step", "s")), tuple(
        (chr(ord("A") + i), busy, run.seconds - busy) for i, busy in enumerate(run.busy)), tells=("fault", "slow", "place", "late"))


def work(p):
    return p.micro * (1 + BACK) * p.forward


def shows(table, p):
    busy = [row[1] for row in table.rows]
    return "stage" if max(busy) > (1 + 1 / 8) * work(p) else "micro" if max(busy) < (1 - 1 / 8) * work(p) else "link"


def step(p):
    return pipeline.pipeline(p.forward, BACK * p.forward, stages=p.stages, micro_batches=p.micro).seconds


template = Template(
    title="Why has the run slowed down?", area="reliability", topic="monitoring-observability", track="cloud", level="L5",
    chapter="V2-07", minutes=12, requires=("parallelism/pipeline_bubble",),
    space={"fault": ("stage", "link", "micro"), "slow": (1.25, 1.5, 1.75), "place": (0, 1, 2, 3), "late": (0.25, 0.5), "stages": (4, 6, 8),
           "micro": (16, 20, 24, 32, 40), "forward": tuple(ms * 1e-3 for ms in (4, 5, 6, 8, 10, 12, 15, 20))},
    hidden=("fault", "slow", "place", "late"), table=monitor,
    figures={"work": work, "waiting": lambda p: step(p) - work(p)},
    prompt="""
        A training run goes through {stages} equal stages, one forward, one backward in turn, not interleaved, with {micro}
        micro-batches a step. A forward pass of a micro-batch takes {forward:ms} in a stage, a backward pass twice as long, and passing
        activations on takes no time worth counting. Since last night fewer samples a second get through. This is what the stages report
        today.""",
    parts=(
        Choice("step", "How long should a step take?", "s", step, ("100 ms", "10 s"), (
            Misconception("no bubble", work, 0.25, "The pipeline has to fill and to drain."),
            Misconception("filled twice", lambda p: 2 * step(p) - work(p), 0.5, "Forward and backward together fill and drain it once."),
            Misconception("in turn", lambda p: p.stages * work(p), 0.0, "Stages work at the same time."))),
        Diagnosis("cause", "What has happened?", "fault", (
            Cause("stage", "One stage has become slower.", 0.0, "No stage is at work for more than the {work:s} that it should be."),
            Cause("link", "Passing activations from stage to stage takes time now.", 0.25,
                  "That would leave every stage's work as it was, {work:s} a step, and only make all of them wait longer."),
            Cause("micro", "A step has fewer micro-batches than it should have.", 0.0,
                  "Then every stage would be at work for less than {work:s}, and wait {waiting:s} as ever.")), shows)))
