"""A gradient all-reduce in a ring: its time, what start-up adds, and what hiding it behind the backward pass leaves."""
from mlsysim import collectives, llm
from staffml import Misconception, Part, Template


def size(p):
    return llm.weight_bytes(p.params, bytes_per=p.bytes_per)


def ring(p):
    return collectives.all_reduce(size(p), p.ranks, p.rate)


def started(p):
    return collectives.all_reduce(p.bucket, p.ranks, p.rate, latency=p.latency)


template = Template(
    title="Ring all-reduce of gradients", area="networking", topic="collective-communication", track="cloud", level="L3",
    chapter="V2-06", minutes=12, requires=("networking/round_trip",),
    space={"params": (0.35e9, 0.5e9, 0.8e9, 1e9, 1.3e9, 1.5e9, 2e9, 3e9), "bytes_per": (2, 4), "ranks": (4, 8, 16, 32, 64, 128),
           "rate": (12.5e9, 25e9, 50e9, 100e9), "latency": (5e-6, 10e-6, 20e-6), "bucket": (25e6, 50e6, 100e6, 200e6)},
    prompt="""
        {ranks} devices train copies of a model of {params:billion} parameters. Gradients take {bytes_per:B} a parameter. Every
        device sends and receives {rate:Gbit/s} at a time, each way, and the all-reduce is a ring.""",
    parts=(
        Part("ring", "How long does the all-reduce of all gradients take, start-up left out?", "s", ring, ("1 ms", "5 min"), (
            Misconception("one pass", lambda p: ring(p) / 2, 0.5, "A ring goes round twice: reduce-scatter, then all-gather."),
            Misconception("bits as bytes", lambda p: ring(p) / 8, 0.25, "The rate is in bits a second."),
            Misconception("through one", lambda p: 2 * (p.ranks - 1) * size(p) / p.rate, 0.0,
                          "That is one device that collects from all and sends to all."))),
        Part("bucket", "Gradients go in buckets of {bucket:MB}, and each step of the ring needs {latency:µs} to start. How long does "
             "one bucket take?", "s", started, ("100 µs", "1 s"), (
            Misconception("one start", lambda p: collectives.all_reduce(p.bucket, p.ranks, p.rate) + p.latency, 0.5,
                          "Each of the steps of the ring starts anew."),
            Misconception("no return", lambda p: started(p) / 2, 0.25, "There are twice as many steps: reduce, then gather."),
            Misconception("bits as bytes", lambda p: collectives.all_reduce(p.bucket, p.ranks, p.rate * 8, latency=p.latency), 0.25,
                          "The rate is in bits a second.")))))
