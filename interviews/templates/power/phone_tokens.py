"""An assistant on a phone: energy of a token, energy of a day, share of the battery."""
from mlsysim import devices, sustainability
from staffml import Choice, Misconception, Part, Template


def token(p):
    return sustainability.machine_energy(1, 1 / p.rate, power=p.power)


def day(p, token):
    return token * p.answers * p.length


template = Template(
    title="An assistant's share of the battery", area="power", topic="power-budgeting", track="mobile", level="L2", chapter="V2-11",
    minutes=6,
    space={"phone": ("iphone-15-pro", "snapdragon-8-gen-3", "tensor-g3", "dimensity-9300"), "rate": (8, 10, 12, 16, 20, 25, 40),
           "answers": (10, 20, 30, 40, 60, 80), "length": (50, 100, 150, 200, 300), "battery": (36000.0, 46800.0, 54000.0, 68400.0)},
    derive={"title": lambda p: devices.device(p.phone).title, "power": lambda p: devices.device(p.phone).power.value},
    where=lambda p: day(p, token(p)) < p.battery,
    prompt="""
        On a phone with the {title} ({phone}) a language model puts out {rate} tokens a second, and the chip draws {power:W} while it
        does. A day brings {answers} answers of {length} tokens each. The battery holds {battery:Wh}.""",
    parts=(
        Part("token", "How much energy does a token take?", "J", token, ("10 mJ", "10 J"), (
            Misconception("a second", lambda p: p.power, 0.25, "That is the energy of a second, and of all its tokens."),
            Misconception("times the rate", lambda p: p.power * p.rate, 0.0, "Watts over tokens a second are joules a token."))),
        Part("day", "How much energy do the answers of a day take?", "J", day, ("10 J", "100 kJ"), (
            Misconception("one answer", lambda p, token: token * p.length, 0.25, "That is one answer."),
            Misconception("a token an answer", lambda p, token: token * p.answers, 0.25, "Each answer has many tokens."))),
        Choice("share", "What share of the battery is that?", "%", lambda p, day: day / p.battery, ("0.01 %", "100 %"), (
            Misconception("Wh as kJ", lambda p, day: day / p.battery * 3600 / 1e3, 0.25, "A watt-hour is more than a kilojoule."),
            Misconception("one answer", lambda p, day: day / p.answers / p.battery, 0.0, "That is one answer."),
            Misconception("an hour", lambda p: p.power * 3600 / p.battery, 0.0, "That is an hour without a break.")))))
