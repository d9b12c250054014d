"""One server, random arrivals: its load, the mean time of a request, and the slow tail. Each step takes the one before."""
from mlsysim import queueing
from staffml import Misconception, Part, Template


def mean(p, load):
    return queueing.mmc(load / p.service, p.service).seconds


def tail(p, mean):
    """The time in such a queue is exponential, so every server with this mean has this tail: take one that is half busy."""
    return queueing.mmc(1 / mean, mean / 2).quantile(p.share)


template = Template(
    title="Load, mean and tail of one server", area="latency", topic="queueing-theory", track="cloud", level="L4",
    chapter="V1-13", minutes=10,
    space={"service": tuple(i * 1e-3 for i in (4, 5, 8, 10, 12, 16, 20, 25, 32, 40, 50, 64, 80)), "share": (0.9, 0.95, 0.99),
           "rate": tuple(range(2, 220, 3))},
    where=lambda p: p.rate * p.service < 1 - 1 / 2**5,
    prompt="""
        A model server takes one request at a time. Service times are exponential with a mean of {service:ms}; requests
        arrive at random (Poisson), {rate} of them a second, and wait in one line.""",
    parts=(
        Part("load", "What share of the time is the server busy?", "%", lambda p: p.rate * p.service, ("15 %", "97 %"), (
            Misconception("idle share", lambda p: 1 - p.rate * p.service, 0.25, "That is the share in which it is idle."),)),
        Part("mean", "How long does a request take on average, waiting included?", "s", mean, ("1 ms", "10 s"), (
            Misconception("no waiting", lambda p: p.service, 0.0, "That is the service alone; requests also wait."),
            Misconception("waiting only", lambda p, load: mean(p, load) - p.service, 0.5, "You left out the service itself."),
            Misconception("constant service", lambda p, load: queueing.md1(load / p.service, p.service).seconds, 0.25,
                          "That holds for service times that are all alike; these are exponential.")), tol=0.03),
        Part("tail", "Within which time are {share:%} of the requests done?", "s", tail, ("1 ms", "60 s"), (
            Misconception("the mean", lambda p, mean: mean, 0.0, "That is the mean; a percentile lies far above it."),
            Misconception("no waiting", lambda p: queueing.mmc(1 / p.service / 1e9, p.service).quantile(p.share), 0.25,
                          "That is the tail of the service alone."),
            Misconception("linear", lambda p, mean: mean / (1 - p.share), 0.0,
                          "The tail grows with the logarithm of the share that is left, not with its inverse.")), tol=0.04)))
