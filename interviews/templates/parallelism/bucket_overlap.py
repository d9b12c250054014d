"""Gradients reduced in buckets behind the backward pass: time of a bucket, what stays exposed, time of a step."""
from mlsysim import collectives, llm
from staffml import Misconception, Part, Template


def bucket(p):
    return collectives.all_reduce(llm.weight_bytes(p.params, bytes_per=p.bytes_per) / p.buckets, p.ranks, p.rate, latency=p.latency)


def exposed(p, bucket):
    """The buckets queue: either each is done before the next one is ready, or from the first one on they never pause."""
    return max(bucket, p.backward / p.buckets + p.buckets * bucket - p.backward)


template = Template(
    title="Gradients behind the backward pass", area="parallelism", topic="communication-computation-overlap", track="cloud", level="L4",
    chapter="V2-05", minutes=12, requires=("networking/ring_all_reduce",),
    space={"params": (1e9, 1.3e9, 2.7e9, 3e9, 7e9, 8e9), "buckets": (8, 10, 16, 20, 25, 40), "ranks": (8, 16, 32, 64), "rate": (12.5e9,
           25e9, 50e9), "latency": (10e-6, 20e-6), "backward": (0.2, 0.24, 0.3, 0.4, 0.5, 0.8), "bytes_per": (2,)},
    where=lambda p: p.buckets * bucket(p) > (1 + 1 / 8) * p.backward,
    derive={"forward": lambda p: p.backward / 2},
    prompt="""
        {ranks} replicas train a model of {params:billion} parameters, gradients in {bytes_per:B} each. The forward pass takes
        {forward:ms}, the backward pass {backward:ms}. Its gradients fill {buckets} equal buckets, one after the other at an even pace,
        the last at its end. Buckets are all-reduced one after another, beside the computing, in a ring whose devices send and receive
        {rate:Gbit/s} each way; each step of the ring takes {latency:µs} to start.""",
    parts=(
        Part("bucket", "How long does the all-reduce of one bucket take?", "s", bucket, ("100 µs", "1 s"), (
            Misconception("all of it", lambda p: bucket(p.but(buckets=1)), 0.25, "That is all gradients in one all-reduce."),
            Misconception("once round", lambda p: bucket(p) / 2, 0.5, "A ring goes round twice: reduce-scatter, then all-gather."),
            Misconception("bits as bytes", lambda p: bucket(p.but(rate=8 * p.rate)), 0.25, "The rate is in bits a second."))),
        Part("exposed", "For how long does communication go on after the backward pass?", "s", exposed, ("100 µs", "10 s"), (
            Misconception("not hidden at all", lambda p, bucket: p.buckets * bucket, 0.25,
                          "Buckets start while the backward pass is still going on."),
            Misconception("difference", lambda p, bucket: p.buckets * bucket - p.backward, 0.5,
                          "Nothing can be sent before the first bucket is full: that share of the backward pass hides nothing."),
            Misconception("last bucket", lambda p, bucket: bucket, 0.5,
                          "A bucket here takes longer than the next one takes to fill, so they queue up.")), tol=0.01),
        Part("step", "How long are forward pass, backward pass, and what is exposed?", "s",
             lambda p, exposed: p.forward + p.backward + exposed, ("0.2 s", "10 s"), (
            Misconception("one after another", lambda p, bucket: p.forward + p.backward + p.buckets * bucket, 0.25,
                          "Part of the communication runs behind the backward pass."),
            Misconception("all hidden", lambda p: p.forward + p.backward, 0.25,
                          "The last bucket leaves when there is nothing left to hide behind.")), tol=0.01)))
