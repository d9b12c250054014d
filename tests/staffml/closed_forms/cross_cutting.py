"""Closed forms of the templates in cross-cutting: the second path to every answer."""


def run_carbon(p):
    machines = p.devices * p.power * p.time
    kwh = machines * p.pue / 1000 / 3600
    here, there = kwh * p.dirty, kwh * p.clean
    return {
        "energy": (machines, {"one device": p.power * p.time, "at the meter": machines * p.pue}),
        "carbon": (here, {"no building": here / p.pue, "MJ as kWh": machines * p.pue / 1e6 * p.dirty}),
        "saved": (here - there, {"what is left": there, "everything": here}),
    }


def federated_round(p):
    size = p.params * p.bytes_per
    down, up, packed = size / p.downlink, size / p.uplink, p.params * p.bits / 8 / p.uplink
    return {
        "traffic": (2 * p.clients * size, {"one way": p.clients * size, "one phone": 2 * size}),
        "round": (down + p.train + up, {"no fetch": p.train + up, "training only": p.train, "one after another": p.clients * (p.train + up)}),
        "packed": (packed, {"unpacked": up, "bits as bytes": 8 * packed, "packed twice": packed / 8}),
    }
