"""Closed forms of the templates in deployment: the second path to every answer."""
import math


def token_cost(p):
    hour = p.price * p.devices
    tokens = p.rate * 3600 * p.used                                         # in an hour, idle time included
    each = hour / tokens * p.million
    return {"hour": (hour, {"one device": p.price, "busy hours": hour * p.used}),
            "million": (each, {"always busy": each * p.used, "rate of a device": each * p.devices,
                               "load the wrong way": p.used * hour / (p.rate * 3600) * p.million})}


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
        "days": (energy / p.mean, {"on the radio": airtime, "upside down": airtime * p.mean / p.radio}),
    }


def cold_start(p):
    pull, read = p.image / p.pull, p.weights / p.read
    cold = pull + read + p.warm
    missing = p.more * p.each
    backlog = missing * cold
    return {
        "cold": (cold, {"weights only": read + p.warm, "bits as bytes": 8 * pull + 8 * read + p.warm, "container only": pull}),
        "backlog": (backlog, {"all that came": (p.replicas + p.more) * p.each * cold, "a replica's share": p.each * cold}),
        "drain": (backlog / (p.each - missing), {"new one alone": backlog / p.each, "all of them": backlog / (p.each * (p.replicas + 1))}),
    }


def ab_sample(p):
    """The difference of two means must lie that many of its deviations away from zero."""
    effect = p.base * p.lift
    spread = effect / (p.sure + p.power)                                    # standard deviation that the difference may have
    arm = 2 * p.base * (1 - p.base) / spread**2
    entering = p.users * p.share / 86400
    days = 2 * arm / entering
    return {
        "arm": (arm, {"points": 2 * p.base * (1 - p.base) * ((p.sure + p.power) / p.lift) ** 2,
                      "no power": 2 * p.base * (1 - p.base) * (p.sure / effect) ** 2, "one sample": arm / 2}),
        "days": (days, {"one arm": arm / entering, "all users": 2 * arm / p.users * 86400}),
        "half": (4 * days, {"twice as long": 2 * days, "half as long": days / 2}),
    }


def two_pools(p):
    token = 2 * p.layers * p.kv_heads * p.head_dim * p.bytes_per
    cache = token * p.asked
    move, work = cache / p.link, p.asked / p.prefill
    pool = math.ceil(p.demand * p.asked / p.prefill)
    return {
        "cache": (cache, {"keys only": cache / 2, "answer too": token * (p.asked + p.answered), "one layer": cache / p.layers}),
        "move": (move, {"bits as bytes": move / 8, "there and back": 2 * move}),
        "wait": (move / work, {"whole pool": move / (work / (p.demand * work)), "of the answer": move * p.decode / p.answered}),
        "pool": (pool, {"answers": math.ceil(p.demand * p.answered / p.decode), "rounded down": pool - 1}),
    }
