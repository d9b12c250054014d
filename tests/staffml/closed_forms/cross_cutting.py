"""Closed forms of the templates in cross-cutting: the second path to every answer."""
import math


def run_carbon(p):
    machines = p.devices * p.power * p.time
    kwh = machines * p.pue / 1000 / 3600
    here, there = kwh * p.dirty, kwh * p.clean
    return {
        "energy": (machines, {"one device": p.power * p.time, "at the meter": machines * p.pue}),
        "carbon": (here, {"no building": here / p.pue, "MJ as kWh": machines * p.pue / 1e6 * p.dirty}),
        "saved": (here - there, {"what is left": there, "everything": here, "no building": (here - there) / p.pue}),
    }


def federated_round(p):
    size = p.params * p.bytes_per
    down, up, packed = size / p.downlink, size / p.uplink, p.params * p.bits / 8 / p.uplink
    return {
        "traffic": (2 * p.clients * size, {"one way": p.clients * size, "one phone": 2 * size}),
        "round": (down + p.train + up, {"no fetch": p.train + up, "training only": p.train, "one after another": p.clients * (p.train + up)}),
        "packed": (packed, {"unpacked": up, "bits as bytes": 8 * packed, "bytes over bits": packed / 8}),
    }


def private_count(p):
    """Each count gets its part of the budget; the variance of Laplace noise is twice the square of its scale."""
    part = p.budget / p.counts
    scale = p.moves / part
    deviation = math.sqrt(2 * scale * scale)
    return {
        "scale": (scale, {"whole budget each": p.moves / p.budget, "one a phone": 1 / part, "times epsilon": p.moves * p.counts * p.budget}),
        "deviation": (deviation, {"scale": scale, "variance": deviation**2}),
        "least": (deviation / p.error, {"square": 1 / p.error**2, "times": deviation + p.error * deviation}),
    }


def own_or_rent(p):
    """Dollars of one node over its years, hour by hour."""
    hours = p.years * 365 * 24
    kilowatt = p.power / 1000 * p.pue
    electricity = kilowatt * p.home / 8
    fixed = p.price + p.price * p.upkeep * p.years
    each = fixed / (8 * hours * p.used) + electricity
    even = fixed / (8 * hours * (p.rent - electricity))
    return {
        "electricity": (electricity, {"whole node": kilowatt * p.home, "no building": p.power / 1000 * p.home / 8}),
        "each": (each, {"always in use": fixed / (8 * hours) + electricity, "no electricity": each - electricity,
                        "price only": p.price / (8 * hours * p.used)}),
        "even": (even, {"no electricity": fixed / (8 * hours * p.rent), "price only": p.price / (8 * hours * (p.rent - electricity))}),
    }


def passes(p):
    columns, rows = sum(p.push for _ in range(p.inputs)), sum(p.pull for _ in range(p.outputs))
    return {
        "passes": (p.outputs, {"inputs": p.inputs, "every pair": p.inputs * p.outputs, "one": 1}),
        "time": (min(columns, rows), {"the slower": max(columns, rows), "one pass": min(p.push, p.pull),
                                      "every pair": p.push * p.inputs * p.outputs}),
    }
