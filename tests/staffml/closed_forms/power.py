"""Closed forms of the templates in power: the second path to every answer."""
import math


def duty_cycle(p):
    energy = p.active * p.busy
    duty = p.busy / p.period
    power = duty * p.active + (1 - duty) * p.sleep
    life = p.battery / power
    return {
        "energy": (energy, {"whole period": p.active * p.period, "milli twice": energy / 1000}),
        "power": (power, {"no sleep": duty * p.active, "half and half": (p.active + p.sleep) / 2, "always on": p.active}),
        "life": (life, {"always on": p.battery / p.active, "sleep alone": p.battery / p.sleep, "mWh as J": life / 3600}),
    }


def phone_tokens(p):
    token = p.power / p.rate
    day = token * p.length * p.answers
    return {
        "token": (token, {"a second": p.power, "times the rate": p.power * p.rate}),
        "day": (day, {"one answer": token * p.length, "a token an answer": token * p.answers}),
        "share": (day / p.battery, {"Wh as kJ": 3.6 * day / p.battery, "one answer": token * p.length / p.battery,
                                    "an hour": p.power * 3600 / p.battery}),
    }


def meter(p):
    rest = (p.pue - 1) * p.machines
    whole = p.machines + rest
    return {
        "meter": (whole, {"divided": p.machines / p.pue, "on top": p.machines + whole, "the rest": rest}),
        "share": (rest / whole, {"over the machines": rest / p.machines, "what does": p.machines / whole}),
    }


def racks(p):
    """Nodes are put into racks one by one."""
    nodes, node = p.gpus // p.count, sum(p.power for _ in range(p.count)) + p.host
    each = 0
    while (each + 1) * node <= p.rack:
        each += 1
    count, left = 0, nodes
    while left > 0:
        count, left = count + 1, left - each
    building = nodes * node * p.pue
    return {
        "building": (building, {"one node": node * p.pue, "kilo twice": building * 1000}),
        "node": (node, {"devices only": p.count * p.power, "one device": p.power + p.host}),
        "each": (each, {"rounded up": each + 1, "devices only": math.floor(p.rack / (p.count * p.power))}),
        "racks": (count, {"by power": math.ceil(nodes * node / p.rack), "a device a place": -(-p.gpus // each)}),
    }


def throttling(p):
    """Heat in, heat out, until the phone is as warm as it may be."""
    full = p.capacity * p.rise / (p.power - p.shed)
    works = p.shed / p.power                                                # share of the time, from then on
    slow = p.rate * works
    tokens = p.rate * (full + works * (p.long - full))
    share = (full + works * (p.long - full)) / p.long
    return {
        "full": (full, {"all heat stays": p.capacity * p.rise / p.power, "one kelvin": p.capacity / (p.power - p.shed),
                        "by what is shed": p.capacity * p.rise / p.shed}),
        "rate": (slow, {"as before": p.rate, "by the excess": p.rate * (p.power - p.shed) / p.power, "by the square": slow * works}),
        "tokens": (tokens, {"full speed": p.rate * p.long, "hot from the start": slow * p.long}),
        "share": (share, {"hot from the start": works, "what is lost": 1 - share}),
    }


def fanless_box(p):
    compute, traffic = p.work / (p.peak * p.reached), p.traffic / p.bandwidth
    time, limit = max(compute, traffic), (p.hottest - p.outside) / p.resistance
    frame = (p.power - p.idle) * time
    frames = (limit - p.idle) / frame
    busy = (limit - p.idle) / (p.power - p.idle)                            # share of the time at work
    return {
        "limit": (limit, {"from freezing": p.hottest / p.resistance, "multiplied": (p.hottest - p.outside) * p.resistance}),
        "frame": (frame, {"rest included": p.power * time, "at the peak": (p.power - p.idle) * max(compute * p.reached, traffic)}),
        "frames": (frames, {"no rest": limit / frame, "cool": 1 / time}),
        "share": (busy, {"by power": limit / p.power, "what is lost": 1 - busy}),
    }


def harvest(p):
    day, asleep, dark = p.cell * p.sun * p.kept, 24 * 3600 * p.sleep, 24 * 3600 - p.sun
    awake = day - asleep
    return {
        "day": (day, {"nothing lost": p.cell * p.sun, "all day": p.cell * 24 * 3600 * p.kept}),
        "wakes": (awake / (p.each + p.radio), {"no sleep": day / (p.each + p.radio), "no radio": awake / p.each, "no network": awake / p.radio}),
        "store": (day * dark / (24 * 3600), {"whole day": day, "half a day": day / 2, "sleep only": dark * p.sleep}),
    }


def moved_byte(p):
    macs = p.work / 2
    arithmetic, traffic = macs * p.mac, p.weights * p.byte
    image = arithmetic + traffic
    return {
        "arithmetic": (arithmetic, {"two operations": 2 * arithmetic, "of the weights": p.weights * p.mac}),
        "traffic": (traffic, {"by MAC": macs * p.byte, "a bit": 8 * traffic}),
        "power": (p.frames * image, {"one image": image, "arithmetic only": p.frames * arithmetic}),
        "uses": (p.byte / p.mac, {"as the network does": macs / p.weights, "once": 1, "operations": 2 * p.byte / p.mac}),
    }
