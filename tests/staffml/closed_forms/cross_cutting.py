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
