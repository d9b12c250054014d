"""Frames of many cameras, in batches: the wait for a full batch, the time of a batch, the age of its oldest frame, the load."""
from mlsysim import bounds, devices
from staffml import Choice, Misconception, Part, Template


def service(p):
    return bounds.roofline(p.batch * p.work / p.reached, p.weights + p.batch * p.activations, p.board, precision="int8").seconds


def fill(p):
    return (p.batch - 1) / (p.cameras * p.frames)


template = Template(
    title="Batches of camera frames", area="latency", topic="batching-strategies", track="edge", level="L3", chapter="V1-13",
    minutes=12, requires=("latency/frame_budget",),
    space={"cameras": (4, 6, 8, 10, 12, 16, 20, 24), "frames": (5, 10, 15, 20, 25, 30), "batch": (4, 6, 8, 12, 16),
           "work": tuple(2e9 * g for g in (4, 6, 8, 10, 15, 20, 30)), "weights": (20e6, 40e6, 60e6, 90e6),
           "activations": (10e6, 20e6, 30e6), "reached": (0.25, 0.4, 0.5),
           "board": ("jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "jetson-xavier-nx")},
    derive={"title": lambda p: devices.device(p.board).title, "peak": lambda p: devices.device(p.board).rate("int8"),
            "bandwidth": lambda p: devices.device(p.board).bandwidth.value},
    where=lambda p: 1 / 4 < service(p) / (p.batch / (p.cameras * p.frames)) < 1,
    prompt="""
        {cameras} cameras of {frames} frames a second each send to one {title} ({board}), and their frames arrive evenly spread. It
        collects {batch} frames and runs them through the network as one batch. A frame takes {work:GMAC} in int8 and moves
        {activations:MB} of activations; a batch reads {weights:MB} of weights once. The board does {peak:TOP/s} at best and reaches
        {reached:%} of it, and reads or writes memory at {bandwidth:GB/s}. Arithmetic and traffic overlap.""",
    parts=(
        Part("fill", "How long does the first frame of a batch wait for the last one?", "s", fill, ("1 ms", "2 s"), (
            Misconception("one more", lambda p: fill(p) + 1 / (p.cameras * p.frames), 0.5,
                          "From the first frame to the last there is one gap fewer than there are frames."),
            Misconception("one camera", lambda p: fill(p) * p.cameras, 0.25, "Frames of all cameras fill the batch."),
            Misconception("half", lambda p: fill(p) / 2, 0.25, "That is the mean wait; the first frame waits longest."))),
        Part("service", "How long does the batch take at the rates above?", "s", service, ("1 ms", "2 s"), (
            Misconception("one frame", lambda p: service(p.but(batch=1)), 0.0, "All frames of the batch are computed."),
            Misconception("MAC as OP", lambda p: service(p.but(work=p.work / 2)), 0.5, "A multiply-add is two operations."),
            Misconception("frame by frame", lambda p: p.batch * service(p.but(batch=1)), 0.25, "The weights are read once for a batch."))),
        Part("oldest", "How old is the first frame when the results of its batch are there?", "s", lambda p, fill, service: fill + service,
             ("5 ms", "4 s"), (
            Misconception("computing only", lambda p, service: service, 0.0, "It has waited for the others before."),
            Misconception("waiting only", lambda p, fill: fill, 0.0, "The batch still has to be computed."))),
        Choice("load", "What share of the time is the board busy?", "%", lambda p, service: service * p.cameras * p.frames / p.batch,
               ("5 %", "99 %"), (
            Misconception("idle share", lambda p, service: 1 - service * p.cameras * p.frames / p.batch, 0.25, "That is the share left."),
            Misconception("of the oldest", lambda p, fill, service: service / (fill + service), 0.25,
                          "The next batch fills while this one is computed: batches follow each other at the pace of the cameras."),
            Misconception("no batch", lambda p: service(p.but(batch=1)) * p.cameras * p.frames, 0.25,
                          "That is without batches, where every frame reads the weights.")))))
