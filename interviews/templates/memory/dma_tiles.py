"""Weights streamed from external flash by DMA: one buffer, two buffers, and what the second one brings."""
from mlsysim import bounds, devices, network
from mlsysim.simulate import pipeline
from staffml import Misconception, Part, Template


def overlapped(p, load, compute):
    """Tiles through a unit that loads and one that computes, all of them one after the other in each."""
    return pipeline.simulate_pipeline([load, compute], 0, stages=2, micro_batches=p.tiles, schedule="gpipe").seconds


template = Template(
    title="One buffer or two", area="memory", topic="dma-data-movement", track="tiny", level="L4", chapter="V1-11", minutes=12,
    requires=("compute/mcu_peak",),
    space={"tile": (2000, 4000, 5000, 8000, 10000, 16000), "tiles": (8, 10, 12, 16, 20, 24, 32, 40), "uses": (4, 6, 9, 12, 16, 25, 36),
           "rate": (20e6, 25e6, 40e6, 50e6, 80e6), "reached": (0.25, 0.4, 0.5),
           "board": ("stm32f746", "stm32h743", "stm32h7a3", "stm32l4r5")},
    derive={"title": lambda p: devices.device(p.board).title, "peak": lambda p: devices.device(p.board).rate("int8")},
    where=lambda p: 1 / 4 < p.tile / p.rate / bounds.roofline(2 * p.tile * p.uses / p.reached, 0, p.board, precision="int8").seconds < 4,
    prompt="""
        The int8 weights of a layer lie in external flash as {tiles} tiles of {tile:kB}. On one {title} ({board}), a DMA controller
        copies a tile into SRAM at {rate:MB/s}; then the core uses each of its weights for {uses} multiply-adds, one for every position of
        the output, at {reached:%} of its {peak:GOP/s}. A multiply-add is two operations.""",
    parts=(
        Part("load", "How long does it take to copy a tile?", "s", lambda p: network.transfer_seconds(p.tile, p.rate), ("10 µs", "10 ms"), (
            Misconception("in bits", lambda p: 8 * network.transfer_seconds(p.tile, p.rate), 0.25, "The rate is in bytes already."),
            Misconception("all tiles", lambda p: p.tiles * network.transfer_seconds(p.tile, p.rate), 0.25, "That is the whole layer."))),
        Part("compute", "How long does the core work on a tile?", "s",
             lambda p: bounds.roofline(2 * p.tile * p.uses / p.reached, 0, p.board, precision="int8").seconds, ("10 µs", "100 ms"), (
            Misconception("MAC as OP", lambda p: p.tile * p.uses / p.reached / p.peak, 0.5, "A multiply-add is two operations."),
            Misconception("used once", lambda p: 2 * p.tile / p.reached / p.peak, 0.25, "Each weight serves every position."),
            Misconception("at the peak", lambda p: 2 * p.tile * p.uses / p.peak, 0.5, "The core does not reach its peak."))),
        Part("one", "How long does the layer take with a buffer for one tile?", "s", lambda p, load, compute: p.tiles * (load + compute),
             ("100 µs", "10 s"), (
            Misconception("overlapped", lambda p, load, compute: p.tiles * max(load, compute), 0.25,
                          "With one buffer the copy would overwrite what the core still reads: they take turns."),
            Misconception("core only", lambda p, compute: p.tiles * compute, 0.0, "The core waits for every tile."))),
        Part("two", "And with two buffers, one filled while the core works on the other?", "s", overlapped, ("100 µs", "10 s"), (
            Misconception("in turn", lambda p, one: one, 0.0, "Copy and core work at the same time now."),
            Misconception("all of it overlaps", lambda p, load, compute: p.tiles * max(load, compute), 0.5,
                          "The first tile has to come before the core can start, and the core has to finish the last."),
            Misconception("half", lambda p, one: one / 2, 0.25, "That is so only if copying takes as long as computing."),
            Misconception("the shorter", lambda p, load, compute: p.tiles * min(load, compute), 0.0, "The longer one sets the pace.")),
             tol=0.01)))
