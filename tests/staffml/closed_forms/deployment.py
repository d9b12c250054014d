"""Closed forms of the templates in deployment: the second path to every answer."""
import math


def token_cost(p):
    hour = p.price * p.devices
    tokens = p.rate * 3600 * p.used                                         # in an hour, idle time included
    each = hour / tokens * p.million
    return {"hour": (hour, {"one device": p.price, "busy hours": hour * p.used}),
            "million": (each, {"always busy": each * p.used, "one device": each / p.devices, "milli for kilo": each * 1000})}


def capacity_plan(p):
    weights = 2 * p.params
    cache = 2 * 2 * p.layers * p.kv_heads * p.head_dim * p.context * p.batch
    step = (weights + cache) / p.bandwidth
    rate = p.batch / step
    return {
        "step": (step, {"no cache": weights / p.bandwidth, "one byte": step / 2}),
        "rate": (rate, {"one request": 1 / step}),
        "replicas": (math.ceil(p.demand / (rate * p.load)), {"full load": math.ceil(p.demand / rate),
                                                             "load the wrong way": math.ceil(p.demand * p.load / rate)}),
    }
