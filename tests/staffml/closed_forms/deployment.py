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


def offload(p):
    local, upload = p.work / (p.peak * p.reached), p.image * 8 / (p.uplink * 8)
    remote = upload + p.trip + p.server
    return {
        "local": (local, {"MAC as OP": local / 2, "at the peak": p.work / p.peak}),
        "remote": (remote, {"no trip": upload + p.server, "two trips": remote + p.trip, "bits as bytes": upload / 8 + p.trip + p.server}),
        "break": (p.image / (local - (p.trip + p.server)), {"no server": p.image / (local - p.trip), "no trip": p.image / (local - p.server),
                                                            "transfer only": p.image / local}),
    }


def firmware_update(p):
    airtime = p.size / p.rate / p.share
    energy = airtime * p.radio
    return {
        "airtime": (airtime, {"full rate": p.size / p.rate, "bits as bytes": airtime / 8, "share lost": p.size / p.rate / (1 - p.share)}),
        "energy": (energy, {"mean power": airtime * p.mean, "milli twice": energy / 1000}),
        "days": (energy / p.mean, {"on the radio": airtime}),
    }
