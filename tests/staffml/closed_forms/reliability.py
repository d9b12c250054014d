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
