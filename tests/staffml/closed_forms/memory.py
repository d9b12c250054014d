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
