"""A round of federated learning: bytes in and out of the server, time on a phone's uplink, and what compression saves."""
from mlsysim import llm, network
from staffml import Choice, Misconception, Part, Template


def update(p):
    return llm.weight_bytes(p.params, bytes_per=p.bytes_per)


def up(p, update):
    return network.transfer_seconds(update, p.uplink)


template = Template(
    title="A round of federated learning", area="cross-cutting", topic="federated-learning", track="global", level="L3",
    chapter="V2-11", minutes=10,
    space={"params": (1e6, 2e6, 3.5e6, 5e6, 8e6, 12e6, 20e6), "bytes_per": (2, 4), "clients": (100, 200, 500, 1000, 2000),
           "uplink": tuple(m * 1.25e5 for m in (2, 4, 5, 8, 10, 20)), "downlink": tuple(m * 1.25e5 for m in (25, 40, 50, 100)),
           "bits": (2, 3, 4, 6), "train": (20.0, 30.0, 60.0, 90.0)},
    where=lambda p: up(p, update(p)) > p.train / 8,
    prompt="""
        In each round {clients} phones fetch a model of {params:million} parameters, {bytes_per:B} each, train for {train:s}, and send
        back a change of the same size. A phone receives {downlink:Mbit/s} and sends {uplink:Mbit/s}. All work at the same time, and
        the server is never the bottleneck.""",
    parts=(
        Part("traffic", "How many bytes go through the server in a round, both ways?", "B", lambda p: 2 * p.clients * update(p),
             ("10 MB", "1 PB"), (
            Misconception("one way", lambda p: p.clients * update(p), 0.5, "The model goes out and a change comes back."),
            Misconception("one phone", lambda p: 2 * update(p), 0.25, "All phones take part."))),
        Part("round", "How long does a round take?", "s",
             lambda p: network.transfer_seconds(update(p), p.downlink) + p.train + up(p, update(p)), ("10 s", "1 h"), (
            Misconception("no fetch", lambda p: p.train + up(p, update(p)), 0.5, "The phone has to fetch the model first."),
            Misconception("training only", lambda p: p.train, 0.0, "The model travels both ways."),
            Misconception("one after another", lambda p: p.clients * (p.train + up(p, update(p))), 0.0, "Phones work at the same time.")),
            tol=0.01),
        Choice("packed", "Changes are sent with {bits} bits a parameter instead. How long is a phone's upload now?", "s",
               lambda p: network.transfer_seconds(llm.weight_bytes(p.params, bytes_per=p.bits / 8), p.uplink), ("10 ms", "10 min"), (
            Misconception("unpacked", lambda p: up(p, update(p)), 0.0, "That is the upload as it was."),
            Misconception("bits as bytes", lambda p: 8 * p.bits / 8 * p.params / p.uplink, 0.25, "A parameter takes bits now, not bytes."),
            Misconception("bytes over bits", lambda p: network.transfer_seconds(p.params * p.bits / 8, p.uplink) / 8, 0.0,
                          "You divided bytes by bits a second.")))))
