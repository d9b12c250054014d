"""The batch of a data-parallel run: replicas, sequences of an optimizer step, steps of the run."""
from staffml import Choice, Misconception, Part, Template


def batch(p):
    return p.devices / p.group * p.micro * p.accumulate


def steps(p):
    return p.tokens / (batch(p) * p.context)


template = Template(
    title="The global batch", area="parallelism", topic="data-parallelism", track="cloud", level="L1", chapter="V2-05", minutes=4,
    space={"devices": (64, 96, 128, 192, 256, 384, 512), "group": (2, 4, 8, 16), "micro": (2, 3, 4, 6, 8), "accumulate": (4, 8, 10, 12, 16),
           "context": (2048, 4096, 8192), "tokens": tuple(b * 1e9 for b in (100, 120, 150, 200, 300, 450, 600, 750))},
    where=lambda p: 2**12 < steps(p) < 2**20,
    prompt="""
        {devices} devices train a decoder with data parallelism; each replica of the model is spread over {group} devices. A replica
        works on {micro} sequences at a time and adds up the gradients of {accumulate} such micro-batches before all replicas reduce
        them and the optimizer takes a step. A sequence has {context} tokens, and the run sees {tokens:billion} tokens.""",
    parts=(
        Choice("batch", "How many sequences does one optimizer step see?", "", batch, ("1", "100000"), (
            Misconception("every device", lambda p: batch(p) * p.group, 0.25,
                          "The devices of one replica work on the same sequences, so replicas count."),
            Misconception("one micro-batch", lambda p: batch(p) / p.accumulate, 0.25,
                          "Gradients of several micro-batches are added up before the step."),
            Misconception("one replica", lambda p: p.micro * p.accumulate, 0.25, "All replicas reduce their gradients for one step."))),
        Part("steps", "How many optimizer steps does the run take?", "", steps, ("100", "1e9"), (
            Misconception("no accumulation", lambda p: steps(p) * p.accumulate, 0.25, "That is passes of a micro-batch, not steps."),
            Misconception("sequences as tokens", lambda p: p.tokens / batch(p), 0.25, "A sequence has many tokens."),
            Misconception("one replica", lambda p: steps(p) * p.devices / p.group, 0.25, "Replicas share the tokens between them.")))))
