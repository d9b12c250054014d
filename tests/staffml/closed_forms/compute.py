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
