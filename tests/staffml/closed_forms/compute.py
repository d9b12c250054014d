"""Closed forms of the templates in compute: the second path to every answer."""


def roofline(p):
    r, w, b = p.rows, p.width, p.bytes_per
    intensity = 2 * r / (b * (1 + 2 * r / w))
    compute, memory = 2 * r * w * w / p.peak, b * w * (w + 2 * r) / p.bandwidth
    ridge = p.peak / p.bandwidth
    return {
        "intensity": (intensity, {"per number": 2 * intensity, "per bit": intensity / 8}),
        "ridge": (ridge, {"sparse": 2 * ridge, "MAC as FLOP": ridge / 2}),
        "time": (max(compute, memory), {"both in turn": compute + memory, "the faster": min(compute, memory),
                                        "MAC as FLOP": max(compute, memory) / 2}),
    }


def training_time(p):
    work = 6 * p.params * p.tokens
    seconds = work / (p.count * p.peak * p.mfu)
    return {"flop": (work, {"forward only": 2 * p.params * p.tokens, "MAC as FLOP": 3 * p.params * p.tokens}),
            "time": (seconds, {"one device": seconds * p.count, "milli for kilo": seconds / 1000})}


def systolic_array(p):
    """The skew in time steps: number j of row i enters at i + j, and its result in column k leaves k later."""
    cycles = max(i + j + k for i in (0, p.rows - 1) for j in (0, p.side - 1) for k in (0, p.side - 1)) + 1
    peak = 2 * p.arrays * p.side**2 * p.clock
    share = p.rows / cycles
    return {
        "cycles": (cycles, {"rows only": p.rows, "filled, not drained": cycles - p.side + 1, "row by row": 2 * p.rows * p.side}),
        "share": (share, {"idle share": (cycles - p.rows) / cycles, "over the fill": p.rows / (2 * p.side - 2)}),
        "peak": (peak, {"MAC as FLOP": peak / 2, "one side": 2 * p.arrays * p.side * p.clock}),
        "rate": (peak * share, {"one array": 2 * p.side**2 * p.clock * share, "peak": peak, "what is lost": peak - peak * share}),
    }


def mcu_peak(p):
    rate, macs = 2 * p.macs * p.clock, p.work / 2
    time = macs / (p.macs * p.clock)
    return {
        "peak": (rate, {"MAC as OP": rate / 2, "clock": p.clock, "full registers": 2 * rate}),
        "time": (time, {"MAC as OP": time / 2, "one a cycle": macs / p.clock}),
    }


def two_accelerators(p):
    def frame(peak, rate):
        arithmetic, traffic = p.work / (peak * p.reached), p.traffic / rate
        return arithmetic, arithmetic + traffic, max(arithmetic, traffic)

    compute, turn, slow = frame(p.peak_a, p.rate_a)
    fast = frame(p.peak_b, p.rate_b)[-1]
    more = (p.draw_b * fast) / (p.draw_a * slow)
    return {
        "first": (slow, {"operations only": compute, "in turn": turn}),
        "faster": (slow / fast, {"operations": p.peak_b / p.peak_a, "draw": p.draw_b / p.draw_a}),
        "energy": (more, {"watts": p.draw_b / p.draw_a, "times": p.draw_b * slow / (p.draw_a * fast), "less": 1 / more}),
    }


def last_wave(p):
    """Tiles dealt out wave by wave."""
    tiles = (p.rows // p.tile) * (p.columns // p.tile)
    left, waves = tiles, 0
    while left > 0:
        last, left, waves = left, left - p.cores, waves + 1
    share = tiles / (waves * p.cores)
    return {
        "tiles": (tiles, {"one side": p.rows // p.tile, "both sides added": p.rows // p.tile + p.columns // p.tile}),
        "waves": (waves, {"last one left out": waves - 1}),
        "share": (share, {"last wave": last / p.cores, "idle share": 1 - share}),
        "rate": (share * p.peak, {"sparse": 2 * share * p.peak, "one of them": share * p.peak / p.cores}),
    }


def die_memory(p):
    """Shares of one die: what it reads, from each memory."""
    own = p.weights / p.dies
    far = sum(own / p.dies for _ in range(p.dies - 1))
    placed, over = own / (p.bandwidth / p.dies), far / p.link
    return {
        "placed": (placed, {"one die": p.weights / (p.bandwidth / p.dies), "over the link": own / p.link}),
        "remote": (far, {"everything": own, "all dies": p.dies * far}),
        "spread": (max(placed, over), {"in turn": placed + over, "memory only": placed, "one link": p.dies * over}),
        "factor": (max(1.0, over / placed), {"dies": p.dies, "memory over link": p.bandwidth / p.link}),
    }
