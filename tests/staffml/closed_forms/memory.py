"""Closed forms of the templates in memory: the second path to every answer."""


def kv_cache(p):
    """Whole-number arithmetic, and a search in place of a division."""
    element = p.layers * p.head_dim * p.tokens * p.bytes_per                        # one KV head, keys only
    request, all_heads = 2 * element * p.kv_heads, 2 * element * p.heads
    weights, memory, rate = int(p.params) * p.bytes_per, int(p.memory), int(p.bandwidth)
    batch = p.batch * request
    most = _largest(lambda n: weights + n * request <= memory)
    return {
        "cache": (batch, {"query heads": p.batch * all_heads, "keys only": batch / 2, "one request": request,
                          "GiB as GB": batch / 1024**3 * 1e9}),
        "fits": (most, {"no weights": _largest(lambda n: n * request <= memory),
                        "query heads": _largest(lambda n: weights + n * all_heads <= memory), "rounded up": most + 1}),
        "step": ((weights + batch) / rate, {"no cache": weights / rate, "one request": (weights + request) / rate,
                                            "shared out": (weights + batch) / rate / p.batch}),
    }


def _largest(fits):
    n = 0
    while fits(n + 1):
        n += 1
    return n


def training_state(p):
    """Sixteen bytes a parameter, counted one kind at a time."""
    weights, gradients, optimizer = (p.params * b for b in (p.low, p.low, 3 * p.high))
    whole = weights + gradients + optimizer
    devices = 1
    while devices * p.memory < whole:
        devices += 1
    twice = 1
    while twice * p.memory < 2 * whole:
        twice += 1
    return {
        "whole": (whole, {"no copy": weights + gradients + 2 * p.high * p.params, "weights only": weights,
                          "no gradients": weights + optimizer}),
        "first": (weights + gradients + optimizer / p.replicas, {
            "all of it": whole / p.replicas, "gradients too": weights + (gradients + optimizer) / p.replicas, "nothing": whole}),
        "devices": (devices, {"rounded down": devices - 1, "optimizer twice": twice}),
    }


def arena(p):
    """Layer by layer: what it reads, what it writes, and what a later one still wants."""
    start, one = p.side * p.side * p.inputs, (p.side // 2) * (p.side // 2) * p.channels
    plain = max(start + one, one + one)
    kept = max(start + one, one + one, one + one + one)
    return {
        "arena": (plain, {"all of them": start + 3 * one, "largest tensor": max(start, one), "in fp32": 4 * plain}),
        "residual": (kept, {"as before": plain, "all of them": start + 3 * one}),
        "left": (p.memory - kept, {"as before": p.memory - plain, "all of them": p.memory - start - 3 * one}),
    }


def mapped_weights(p):
    """A cyclic scan of pages through a list of the ones used last."""
    pages, room = 64, int(64 * p.free / (p.params * p.bits / 8))
    assert room < pages
    held, missed = [], 0
    for page in [*range(pages)] * 3:
        missed += page not in held
        held = [x for x in held if x != page][-room + 1:] + [page]
    assert missed == 3 * pages                                              # every page, every time
    size = p.params * p.bits / 8
    read = size / p.bandwidth
    lru, pinned = size / p.flash + read, (size - p.free) / p.flash + read
    return {
        "size": (size, {"bits as bytes": 8 * size, "unquantized": 2 * p.params}),
        "token": (lru, {"what is missing": pinned, "in memory": read, "bits a second": 8 * size / p.flash + read}),
        "gain": (lru / pinned, {"share that fits": size / p.free, "no memory": size / (size - p.free), "all fits": lru / read}),
    }


def dma_tiles(p):
    load, compute = p.tile / p.rate, 2 * p.tile * p.uses / (p.peak * p.reached)
    one, two = p.tiles * load + p.tiles * compute, load + (p.tiles - 1) * max(load, compute) + compute
    return {
        "load": (load, {"in bits": 8 * load, "all tiles": p.tiles * load}),
        "compute": (compute, {"MAC as OP": compute / 2, "used once": compute / p.uses, "at the peak": compute * p.reached}),
        "one": (one, {"overlapped": p.tiles * max(load, compute), "core only": p.tiles * compute}),
        "two": (two, {"in turn": one, "all of it overlaps": p.tiles * max(load, compute), "half": one / 2,
                      "the shorter": p.tiles * min(load, compute)}),
    }


def kept_activations(p):
    """Work and memory of the first and the last stage in closed form; the cause is the plan's only deviation that gives them."""
    passes = {"schedule": 4, "batch": 4, "layers": 4, "recompute": 3}[p.fault]      # forward, backward, and forward again
    under_way = p.micro if p.fault == "schedule" else p.stages
    more = 1 + 1 / p.factor if p.fault == "layers" else 1
    grown = {"schedule": 1, "layers": more, "recompute": p.factor**2, "batch": p.factor}[p.fault]
    work, memory = p.micro * p.forward * passes * more, under_way * grown * p.size
    last = (p.micro if p.fault == "schedule" else 1) * grown / more * p.size
    planned = 4 * p.micro * p.forward
    assert memory > p.stages * p.size
    cause = "schedule" if last == memory else "layers" if work > planned else "recompute" if work < planned else "batch"
    plan = p.stages * p.size
    return {"plan": (plan, {"all of them": p.micro * p.size, "one": p.size, "there and back": plan + plan}), "cause": cause}


def phone_pressure(p):
    weights, token = p.params * p.bits / 8, 2 * 2 * p.layers * p.kv_heads * p.head_dim
    limit = p.share * p.memory
    room = limit - weights - p.own
    return {
        "weights": (weights, {"bits as bytes": p.params * p.bits, "fp16": 2 * p.params}),
        "room": (room, {"all memory": p.memory - weights - p.own, "app left out": limit - weights}),
        "tokens": (room / token, {"query heads": room / (token * p.heads / p.kv_heads), "keys only": room / (token / 2),
                                  "one layer": room / (token / p.layers)}),
    }


def scratchpad(p):
    """Tile by tile: (width / side)² tiles of sums, each of which takes a row and a column of tiles."""
    side = (p.size / 6) ** 0.5
    traffic = (p.width / side) ** 2 * 2 * side * p.width
    compute, memory, ridge = 2 * p.width**3 / p.peak, traffic / p.bandwidth, p.peak / p.bandwidth
    return {
        "side": (side, {"sums as int8": (p.size / 3) ** 0.5, "one tile": p.size**0.5, "no root": p.size / 6}),
        "traffic": (traffic, {"one factor": traffic / 2, "once": 2 * p.width * p.width, "no tiles": traffic * side}),
        "time": (max(compute, memory), {"in turn": compute + memory, "the faster": min(compute, memory)}),
        "enough": (ridge, {"MAC as OP": ridge / 2, "twice": 2 * ridge}),
    }
