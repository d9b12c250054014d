"""Tiles of a matrix product on the multiprocessors of a GPU: how many, in how many waves, and what the last wave wastes."""
import math

from mlsysim import devices
from staffml import Misconception, Part, Template

template = Template(
    title="The last wave", area="compute", topic="gpu-compute-architecture", track="cloud", level="L3", chapter="V1-11", minutes=10,
    space={"rows": tuple(128 * i for i in range(4, 49)), "columns": (1024, 1536, 2048, 3072, 4096, 5120, 6144, 8192), "tile": (128,),
           "gpu": ("v100", "a100", "h100", "l40s", "a10", "l4", "t4")},
    derive={"card": lambda p: devices.device(p.gpu).title, "cores": lambda p: int(devices.device(p.gpu).cores.value),
            "peak": lambda p: devices.device(p.gpu).rate("fp16")},
    prompt="""
        The result of a matrix product has {rows} by {columns} entries. A kernel cuts it into tiles of {tile} by {tile}; each is
        computed by one streaming multiprocessor, which works on one tile at a time, and all tiles take equally long. The {card}
        ({gpu}) has {cores} multiprocessors and {peak:TFLOP/s} in fp16.""",
    parts=(
        Part("tiles", "How many tiles are there?", "", lambda p: p.rows * p.columns / p.tile**2, ("16", "10000"), (
            Misconception("one side", lambda p: p.rows / p.tile, 0.25, "Tiles cover rows and columns."),
            Misconception("both sides added", lambda p: (p.rows + p.columns) / p.tile, 0.0, "Sides multiply."))),
        Part("waves", "In how many waves are they computed?", "", lambda p, tiles: tiles / p.cores, ("2", "1000"), (
            Misconception("last one left out", lambda p, tiles: tiles / p.cores - 1, 0.25, "The tiles that are left over need a wave too."),
        ), rounding=math.ceil),
        Part("share", "What share of the time is a multiprocessor at work on average?", "%",
             lambda p, tiles, waves: tiles / waves / p.cores, ("20 %", "99 %"), (
            Misconception("last wave", lambda p, tiles, waves: tiles / p.cores - (waves - 1), 0.25,
                          "That is how full the last wave is; the ones before it are full."),
            Misconception("idle share", lambda p, tiles, waves: 1 - tiles / waves / p.cores, 0.25, "That is the share in which it waits.")),
             tol=0.01),
        Part("rate", "What does that leave of the card's peak?", "FLOP/s", lambda p, share: share * p.peak, ("5 TFLOP/s", "2 PFLOP/s"), (
            Misconception("sparse", lambda p, share: 2 * share * p.peak, 0.25, "The rate given is without sparsity; no second two is due."),
            Misconception("one of them", lambda p, share: share * p.peak / p.cores, 0.0, "The peak is that of all multiprocessors.")))))
