"""Closed forms of the templates in reliability: the second path to every answer."""
import math


def checkpoint_interval(p):
    mtbf = 1 / (p.devices / p.each)                                         # rates of failure add up
    interval = math.sqrt(2 * p.write * mtbf)
    writing, lost, restarting = p.write / interval, interval / 2 / mtbf, p.restart / mtbf
    return {
        "mtbf": (mtbf, {"one device": p.each, "half": mtbf / 2}),
        "interval": (interval, {"no two": math.sqrt(p.write * mtbf), "half the time": mtbf / 2, "twice the write": 2 * p.write}),
        "waste": (writing + lost + restarting, {"writes only": writing, "no restart": writing + lost,
                                                "whole interval": writing + 2 * lost + restarting}),
    }


def zone_loss(p):
    others = p.zones - 1
    after = p.load + p.load / others                                        # the lost load, shared out
    plan = p.limit / (1 + 1 / others)
    return {
        "after": (after, {"one more share": p.load + p.load / p.zones, "as before": p.load, "one neighbour": p.load + p.load}),
        "plan": (plan, {"no reserve": p.limit, "upside down": p.limit * (1 + 1 / others), "reserve of a zone each": p.limit / 2}),
    }


def drift(p):
    """The index as the sum of both divergences."""
    then, now = (p.a, p.b, p.c, p.d, p.e), (p.v, p.w, p.x, p.y, p.z)

    def divergence(q, r):
        return sum(a * (math.log(a) - math.log(b)) for a, b in zip(q, r, strict=True))

    both = divergence(now, then) + divergence(then, now)
    day = p.readings * 1440
    return {
        "index": (both, {"one way": divergence(now, then), "absolute differences": sum(abs(a - b) for a, b in zip(then, now, strict=True)),
                         "base ten": both * math.log10(math.e)}),
        "fewer": (day / 5, {"of an hour": day / 24 / 5, "one count": day}),
    }


def failure_free(p):
    """Nothing seen: -ln(1 - confidence). One seen: the root of (1 + m) exp(-m) = 1 - confidence, by Newton's method."""
    none = -math.log(1 - p.sure)
    one = none + 1
    for _ in range(100):
        one += ((1 + one) * math.exp(-one) - (1 - p.sure)) / (one * math.exp(-one))
    clean = none * p.limit
    return {
        "clean": (clean, {"the limit": p.limit, "chance as a factor": p.limit / (1 - p.sure),
                          "two-sided": -math.log((1 - p.sure) / 2) * p.limit}),
        "fleet": (clean / (p.vehicles * p.share), {"day and night": clean / p.vehicles, "one vehicle": clean / p.share}),
        "once": (one * p.limit, {"start over": 2 * clean, "no change": clean}),
    }


def slow_pipeline(p):
    """The cause from the work of the stages alone: passes made, and how long each took."""
    passes = p.micro // 2 if p.fault == "micro" else p.micro
    longest = 3 * passes * p.forward * (p.slow if p.fault == "stage" else 1)
    usual, filling = 3 * p.micro * p.forward, 3 * (p.stages - 1) * p.forward
    return {
        "step": (usual + filling, {"no bubble": usual, "filled twice": usual + 2 * filling, "in turn": p.stages * usual}),
        "cause": "stage" if longest > 1.1 * usual else "micro" if longest < 0.9 * usual else "link",
    }
