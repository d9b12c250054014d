"""A gateway is down and sensors keep their readings: how long memory lasts, what has piled up, how long catching up takes."""
from mlsysim import network
from staffml import Misconception, Part, Template


def made(p):
    return p.readings * p.size


template = Template(
    title="Catching up after an outage", area="data", topic="streaming-ingestion", track="tiny", level="L2", chapter="V1-04", minutes=6,
    space={"readings": (2, 4, 5, 8, 10, 20, 25), "size": (8, 12, 16, 24, 32), "memory": (32e3, 64e3, 96e3, 128e3, 256e3),
           "outage": (240.0, 300.0, 480.0, 600.0, 900.0, 1200.0, 1800.0), "link": (125.0, 250.0, 312.5, 625.0, 1250.0)},
    where=lambda p: p.outage * made(p) < p.memory and made(p) < p.link * (1 - 1 / 8),
    prompt="""
        A sensor takes {readings} readings a second, {size} bytes each, and sends them as they come, in order, over a radio link that
        carries {link:kbit/s} for it. When its gateway is down it keeps readings in {memory:kB} of memory.""",
    parts=(
        Part("lasts", "How long can the gateway be down before readings are lost?", "s",
             lambda p: network.transfer_seconds(p.memory, made(p)), ("1 min", "10 h"), (
            Misconception("a byte a reading", lambda p: p.memory / p.readings, 0.25, "A reading has several bytes."),
            Misconception("rate of the link", lambda p: p.memory / p.link, 0.0, "While the gateway is down the link carries nothing."),
            Misconception("bits as bytes", lambda p: p.memory / made(p) / 8, 0.25, "Memory and readings are both in bytes."))),
        Part("backlog", "The gateway is back after {outage:min}. How many bytes are waiting?", "B", lambda p: p.outage * made(p),
             ("1 kB", "256 kB"), (
            Misconception("full memory", lambda p: p.memory, 0.25, "Memory was not full yet."),
            Misconception("in minutes", lambda p: p.outage * made(p) / 60, 0.0, "Readings come every second, not every minute."))),
        Part("caught", "And how long until readings get through without delay again?", "s",
             lambda p, backlog: backlog / (p.link - made(p)), ("1 s", "10 h"), (
            Misconception("whole link", lambda p, backlog: backlog / p.link, 0.5, "New readings go on coming, and share the link."),
            Misconception("as long as it was down", lambda p: p.outage, 0.0, "That would be so only if the link were twice as fast."),
            Misconception("both add", lambda p, backlog: backlog / (p.link + made(p)), 0.0, "New readings take from the link.")))))
