"""On the device or on a server: time of either, and the uplink from which the server is quicker."""
from mlsysim import bounds, devices, network
from staffml import Choice, Misconception, Part, Template


def local(p):
    return bounds.roofline(p.work / p.reached, 0, p.phone, precision="int8").seconds


def remote(p):
    return network.transfer_seconds(p.image, p.uplink) + p.trip + p.server


template = Template(
    title="On the device or on a server", area="deployment", topic="model-serving-infrastructure", track="mobile", level="L4",
    chapter="V1-02", minutes=10, requires=("networking/round_trip",),
    space={"work": tuple(2e9 * g for g in (50, 80, 120, 200, 300, 450, 700)), "reached": (0.05, 0.1, 0.2), "image": (60e3, 100e3, 150e3,
           200e3, 300e3, 500e3), "uplink": tuple(m * 1.25e5 for m in (5, 8, 10, 16, 20, 40, 50)), "trip": (0.02, 0.03, 0.04, 0.06, 0.08),
           "server": (0.005, 0.01, 0.015), "phone": ("iphone-15-pro", "snapdragon-8-gen-3", "m2")},
    derive={"title": lambda p: devices.device(p.phone).title, "peak": lambda p: devices.device(p.phone).rate("int8")},
    where=lambda p: local(p) > 2 * (p.trip + p.server),
    prompt="""
        A filter needs {work:GMAC} an image in int8. The phone's {title} ({phone}) does {peak:TOP/s} at best and reaches {reached:%} of
        it. A server would need {server:ms}; the image of {image:kB} goes up at {uplink:Mbit/s}, the answer is a few bytes, and
        a round trip of an empty message takes {trip:ms}.""",
    parts=(
        Part("local", "How long does it take on the phone?", "s", local, ("1 ms", "5 s"), (
            Misconception("MAC as OP", lambda p: local(p) / 2, 0.5, "A multiply-add is two operations."),
            Misconception("at the peak", lambda p: local(p) * p.reached, 0.25, "It does not reach the peak."))),
        Choice("remote", "And with the server?", "s", remote, ("10 ms", "5 s"), (
            Misconception("no trip", lambda p: remote(p) - p.trip, 0.25, "The message and its answer travel as well."),
            Misconception("two trips", lambda p: remote(p) + p.trip, 0.25, "A round trip is there and back already."),
            Misconception("bits as bytes", lambda p: remote(p.but(image=p.image / 8)), 0.0, "The uplink is in bits a second."))),
        Part("break", "From which uplink rate on is the server quicker?", "bit/s", lambda p, local: p.image / (local - p.trip - p.server),
             ("1 kB/s", "1 GB/s"), (
            Misconception("no server", lambda p, local: p.image / (local - p.trip), 0.5, "The server takes its time too."),
            Misconception("no trip", lambda p, local: p.image / (local - p.server), 0.25, "The trip takes its time too."),
            Misconception("transfer only", lambda p, local: p.image / local, 0.25, "The trip and the server take their time.")))))
