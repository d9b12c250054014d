"""Closed forms of the templates in optimization: the second path to every answer."""


def kernel_fusion(p):
    tensor = p.elements * p.bytes_per
    apart = sum(2 * tensor for _ in range(p.operations))
    each, launches = 2 * tensor / p.bandwidth, p.operations * p.launch
    time, fused = p.operations * each + launches, each + p.launch
    return {
        "traffic": (apart, {"reads only": apart / 2, "once": 2 * tensor}),
        "time": (time, {"one launch": p.operations * each + p.launch, "no launch": p.operations * each}),
        "saved": (time - fused, {"all of it": time, "what is left": fused, "launches only": launches - p.launch}),
    }


def pruned_flash(p):
    """Bits first, bytes at the end."""
    left = p.weights - p.weights * p.zeros
    values = left * p.width
    gaps = (left * 8 * p.width + left * p.gap) / 8
    return {
        "bitmap": ((left * 8 * p.width + p.weights) / 8, {"values only": values, "a byte a flag": values + p.weights,
                                                          "dense": p.weights * p.width}),
        "gaps": (gaps, {"a gap for all": values + p.weights * p.gap / 8, "gaps in bytes": left * (p.width + p.gap), "values only": values}),
        "even": ((p.gap - 1) / p.gap, {"share kept": 1 / p.gap, "against dense": 1 - 8 * p.width / (8 * p.width + p.gap)}),
    }


def speculative_round(p):
    """Token k comes out when the k - 1 before it were right."""
    tokens = sum(p.accepted**k for k in range(p.draft + 1))
    time = p.draft * p.small + p.large
    return {
        "tokens": (tokens, {"share of the draft": p.accepted * p.draft, "endless draft": 1 / (1 - p.accepted), "no own token": tokens - 1}),
        "each": (time / tokens, {"free draft": p.large / tokens, "all right": time / (p.draft + 1),
                                 "in parallel": (p.small + p.large) / tokens}),
        "speedup": (p.large * tokens / time, {"tokens a round": tokens, "speed of the draft": p.large / p.small}),
    }


def split_network(p):
    """All cuts tried; two units of a pipeline, the slower of which sets the pace."""
    times = [p.a, p.b, p.c, p.d, p.e, p.f]

    def best(slower):
        sides = [(max(slower * sum(times[:k]), sum(times[k:])), k) for k in range(1, len(times))]
        return min(sides)[1]

    cut = best(p.slower)
    first, second = p.slower * sum(times[:cut]), sum(times[cut:])
    return {
        "cut": (cut, {"half of the work": best(1)}),
        "interval": (max(first, second), {"one unit": sum(times), "in turn": first + second, "mean of both": (first + second) / 2}),
        "trip": (first + p.copy + second, {"one interval": max(first, second), "no copy": first + second}),
    }


def teacher_cost(p):
    label, learn = 2 * p.teacher * p.tokens, 6 * p.student * p.tokens * p.epochs
    seconds = (label + learn) / (p.count * p.peak * p.reached)
    return {
        "label": (label, {"trained too": 3 * label, "every epoch": label * p.epochs, "MAC as FLOP": p.teacher * p.tokens}),
        "stored": (p.tokens * p.kept * p.each, {"all of them": p.tokens * p.vocabulary * p.each, "one a token": p.tokens * p.each}),
        "time": (seconds, {"one device": seconds * p.count, "milli for kilo": seconds / 1000}),
    }
