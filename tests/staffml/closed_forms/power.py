"""Closed forms of the templates in power: the second path to every answer."""


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
        "share": (day / p.battery, {"Wh as kJ": 3.6 * day / p.battery, "one answer": token * p.length / p.battery, "half": day / 2 / p.battery}),
    }
