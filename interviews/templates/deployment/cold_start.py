"""A replica that starts when traffic jumps: time until it serves, requests that pile up, time until they are gone."""
from mlsysim import network
from staffml import Misconception, Part, Template


def cold(p):
    return network.transfer_seconds(p.image, p.pull) + network.transfer_seconds(p.weights, p.read) + p.warm


def room(p):
    """Requests a second that the replicas can take once the new one is there, over those that come."""
    return (p.replicas + 1) * p.each - p.rate


template = Template(
    title="A cold start under load", area="deployment", topic="container-orchestration", track="cloud", level="L4", chapter="V2-10",
    minutes=10,
    space={"image": (6e9, 8e9, 10e9, 12e9, 16e9), "pull": (0.25e9, 0.5e9, 1e9), "weights": (16e9, 28e9, 64e9, 140e9), "read": (1e9, 2e9,
           3e9, 5e9), "warm": (15.0, 20.0, 30.0, 45.0), "replicas": (3, 4, 5, 6, 8), "each": (4, 5, 6, 8, 10), "more": (0.2, 0.25, 0.5)},
    derive={"rate": lambda p: (p.replicas + p.more) * p.each},
    prompt="""
        A service runs {replicas} replicas that take {each} requests a second each. Traffic jumps to {rate:plain} a second, and a
        further replica is started at once, on an empty node. It pulls its image of {image:GB} at {pull:MB/s}, then reads weights of
        {weights:GB} at {read:GB/s} into its devices, then compiles and warms up for {warm:s}. Requests that cannot be taken wait in
        line, and nobody gives up.""",
    parts=(
        Part("cold", "How long until the new replica takes its first request?", "s", cold, ("10 s", "30 min"), (
            Misconception("weights only", lambda p: network.transfer_seconds(p.weights, p.read) + p.warm, 0.5,
                          "An empty node has no image yet, and a serving image is as large as many a model."),
            Misconception("bits as bytes", lambda p: 8 * (cold(p) - p.warm) + p.warm, 0.25, "Both rates are in bytes a second already."),
            Misconception("container only", lambda p: network.transfer_seconds(p.image, p.pull), 0.25,
                          "A running container serves nothing before its weights are in place and its kernels are warm."))),
        Part("backlog", "How many requests are waiting by then?", "", lambda p, cold: (p.rate - p.replicas * p.each) * cold,
             ("5", "20000"), (
            Misconception("all that came", lambda p, cold: p.rate * cold, 0.25, "The old replicas have gone on serving."),
            Misconception("a replica's share", lambda p, cold: p.each * cold, 0.25,
                          "That is what the new one would have served; less than that was missing."))),
        Part("drain", "And how long from then until nobody waits any more?", "s", lambda p, backlog: backlog / room(p),
             ("1 s", "10 h"), (
            Misconception("new one alone", lambda p, backlog: backlog / p.each, 0.5, "New requests go on coming, and it takes its share."),
            Misconception("all of them", lambda p, backlog: backlog / ((p.replicas + 1) * p.each), 0.25,
                          "New requests go on coming, and those have to be taken too.")))))
