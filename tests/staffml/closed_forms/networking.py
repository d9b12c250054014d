"""Closed forms of the templates in networking: the second path to every answer."""


def ring_all_reduce(p):
    """Step by step: each of the 2 (n - 1) steps sends an n-th part."""
    def ring(size, rate, latency=0.0):
        return sum(latency + size / p.ranks / rate for _ in range(2 * (p.ranks - 1)))

    size = p.params * p.bytes_per
    return {
        "ring": (ring(size, p.rate), {"one pass": ring(size, p.rate) / 2, "bits as bytes": ring(size, 8 * p.rate),
                                      "through one": ring(size, p.rate) * p.ranks}),
        "bucket": (ring(p.bucket, p.rate, p.latency), {
            "one start": ring(p.bucket, p.rate) + p.latency, "no return": ring(p.bucket, p.rate, p.latency) / 2,
            "bits as bytes": ring(p.bucket, 8 * p.rate, p.latency)}),
    }


def round_trip(p):
    there = p.distance / (p.light / p.index)
    turns = 0
    while (turns + 1) * 2 * there <= p.budget:
        turns += 1
    one_way = 0
    while (one_way + 1) * there <= p.budget:
        one_way += 1
    return {"trip": (2 * there, {"one way": there, "in vacuum": 2 * p.distance / p.light, "slower twice": 2 * there * p.index}),
            "turns": (turns, {"one way": one_way})}
