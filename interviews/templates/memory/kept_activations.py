"""The first stage of a pipeline runs out of memory. What is wrong, read from the work and the memory of every stage?"""
from mlsysim import pipeline
from mlsysim.simulate.pipeline import simulate_pipeline
from staffml import Cause, Choice, Diagnosis, Misconception, Table, Template


def planned(p):
    return p.size * pipeline.in_flight(p.stages, p.micro)


def measured(p):
    """The step as it is, played out: one row a stage."""
    more = p.factor if p.fault == "batch" else 1
    work = [p.forward * more * (1 + 1 / p.factor if p.fault == "layers" and stage == 0 else 1) for stage in range(p.stages)]
    back = [2 * x + (0 if p.fault == "recompute" else x) for x in work]
    size = [p.size * x / p.forward * (p.factor**2 if p.fault == "recompute" else 1) for x in work]
    run = simulate_pipeline(work, back, stages=p.stages, micro_batches=p.micro // more,
                            **({"schedule": "gpipe"} if p.fault == "schedule" else {}))
    return Table((("", None), ("at work in a step", "s"), ("activations at most", "B")),
                 tuple((f"stage {s + 1}", run.busy[s], run.kept[s] * size[s]) for s in range(p.stages)), tells=("fault", "factor"))


def shows(table, p):
    first, last = table.rows[0], table.rows[-1]
    if last[2] > first[2] / 2:
        return "schedule"
    if first[1] > last[1] * (1 + 1 / 8):
        return "layers"
    return "recompute" if first[1] < p.micro * p.forward * (2 + 2 - 1 / 2) else "batch"


template = Template(
    title="Out of memory in the first stage", area="memory", topic="activation-memory", track="cloud", level="L5", chapter="V2-05",
    minutes=15, requires=("parallelism/pipeline_bubble",),
    space={"fault": ("schedule", "recompute", "layers", "batch"), "factor": (2, 4), "stages": (4, 6, 8), "micro": (16, 24, 32, 48),
           "forward": tuple(i * 1e-3 for i in (5, 8, 10, 12, 15, 20, 25, 30)), "size": (0.25e9, 0.4e9, 0.5e9, 0.8e9, 1e9, 1.2e9)},
    hidden=("fault", "factor"), table=measured, figures={"planned": planned},
    prompt="""
        A training job was planned with {stages} equal stages and {micro} micro-batches a step, one forward, one backward in turn. A
        stage computes a micro-batch forward in {forward:ms}. It keeps {size:GB} of it until the backward pass, which first computes
        the forward pass again, and then takes twice as long as that. The job runs out of memory in its first stage, since one thing
        is not as planned. Played out without a limit on memory, a step looks like this.""",
    parts=(
        Choice("plan", "What was the first stage planned to keep at most?", "B", planned, ("500 MB", "20 GB"), (
            Misconception("all of them", lambda p: p.micro * p.size, 0.25, "Its backward passes begin before all forward passes are done."),
            Misconception("one", lambda p: p.size, 0.0, "Others are under way before the first one comes back."),
            Misconception("there and back", lambda p: 2 * planned(p), 0.25,
                          "When the first micro-batch comes back, one for each stage is under way, not two."))),
        Diagnosis("cause", "What is not as planned?", "fault", (
            Cause("schedule", "All forward passes run before the first backward pass.", 0.0,
                  "Then every stage would keep as much as the first one does."),
            Cause("recompute", "Activations are kept instead of computed again.", 0.25,
                  "Then a backward pass would do without the forward pass inside it, and every stage would work less than planned."),
            Cause("layers", "The first stage has been given more layers than the others.", 0.0,
                  "Then it would work longer than the others in a step."),
            Cause("batch", "Micro-batches are larger, and fewer, than planned.", 0.25,
                  "Then every stage would work as long as planned, and the first one keep a multiple of {planned:GB}.")), shows)))
