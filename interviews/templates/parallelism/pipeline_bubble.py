"""A pipeline of equal stages: the idle share, the time of a step, and what the first stage keeps."""
from mlsysim import pipeline
from staffml import Choice, Misconception, Part, Template


def idle(p):
    return pipeline.bubble(p.stages, p.micro)


def step(p, backward=2):
    return pipeline.pipeline(p.forward, backward * p.forward, stages=p.stages, micro_batches=p.micro).seconds


def kept(p):
    return p.size * pipeline.in_flight(p.stages, p.micro)


template = Template(
    title="The bubble of a pipeline", area="parallelism", topic="pipeline-parallelism", track="cloud", level="L4",
    chapter="V2-05", minutes=10,
    space={"stages": (4, 6, 8, 10, 12, 16), "micro": (20, 24, 32, 40, 48, 64, 96, 128), "forward": tuple(i * 1e-3 for i in
           (4, 5, 8, 10, 12, 15, 20, 25)), "size": (0.25e9, 0.5e9, 0.8e9, 1e9, 1.5e9)},
    where=lambda p: p.micro > 2 * p.stages,
    prompt="""
        A decoder is split over {stages} equal stages. Each training step sends {micro} micro-batches through them, one forward,
        one backward in turn, not interleaved. A forward pass of one micro-batch takes
        {forward:ms} in a stage, a backward pass twice as long; transfers cost nothing. A stage keeps {size:GB} of activations
        for a micro-batch until its backward pass.""",
    parts=(
        Part("idle", "What share of a step is a stage idle?", "%", lambda p: idle(p), ("1 %", "60 %"), (
            Misconception("over the work", lambda p: (p.stages - 1) / p.micro, 0.5,
                          "That is idle time over working time; a share is over the whole step."),
            Misconception("both ends", lambda p: 2 * idle(p), 0.25, "Filling and draining together are that share, not each."),
            Misconception("micro over all", lambda p: p.stages / p.micro / 2, 0.0, "Count the stages that wait to be filled.")),
            tol=0.01),
        Part("step", "How long does a step take?", "s", step, ("50 ms", "60 s"), (
            Misconception("no bubble", lambda p: step(p) * (1 - idle(p)), 0.25, "You left out filling and draining."),
            Misconception("forward only", lambda p: step(p, backward=0), 0.25, "The backward pass takes twice as long again."),
            Misconception("in turn", lambda p: p.stages * step(p) * (1 - idle(p)), 0.0, "Stages work at the same time."))),
        Choice("kept", "How much do the activations take that the first stage keeps at most?", "B", kept, ("0.5 GB", "100 GB"), (
            Misconception("all of them", lambda p: p.size * pipeline.in_flight(p.stages, p.micro, schedule="gpipe"), 0.25,
                          "That is a pipeline that runs all forward passes first."),
            Misconception("one", lambda p: p.size, 0.0, "Others are under way before the first one comes back."),
            Misconception("half of the way", lambda p: p.size * p.stages / 2, 0.0,
                          "The first stage waits longest: for all stages and back.")))))
