"""A phone that gets hot: how long it runs at full speed, at what rate afterwards, and what is left of a long answer."""
from mlsysim import devices, sustainability
from staffml import Choice, Misconception, Part, Template


def joules(p, seconds):
    return sustainability.machine_energy(1, seconds, power=p.power)


def full(p):
    return p.capacity * p.rise / (joules(p, 1) - p.shed)


def sustained(p):
    return p.rate * p.shed / joules(p, 1)


template = Template(
    title="The tenth minute on a phone", area="power", topic="thermal-management", track="mobile", level="L4", chapter="V2-11", minutes=12,
    requires=("power/phone_tokens",),
    space={"phone": ("iphone-15-pro", "snapdragon-8-gen-3", "tensor-g3", "dimensity-9300"), "capacity": (60.0, 80.0, 100.0, 120.0, 150.0),
           "rise": (8, 10, 12, 15), "shed": (1.5, 2.0, 2.5, 3.0), "rate": (10, 12, 15, 20, 25, 30), "long": (600.0, 900.0, 1200.0, 1800.0)},
    derive={"title": lambda p: devices.device(p.phone).title, "power": lambda p: devices.device(p.phone).power.value},
    where=lambda p: full(p) < p.long / 2,
    prompt="""
        On a phone the {title} ({phone}) draws {power:W} while a language model puts out {rate} tokens a second. The case gives off
        {shed:W}, whatever the temperature. {capacity:J} warm the phone by one kelvin, and it may get {rise} kelvin warmer. From then on the
        chip works at full clock and pauses in turn, so that it draws what the case gives off on average; a pause takes nothing. The
        model writes for {long:min} without a break.""",
    parts=(
        Part("full", "How long does the phone run at full speed?", "s", full, ("1 min", "1 h"), (
            Misconception("all heat stays", lambda p: p.capacity * p.rise / p.power, 0.25,
                          "The case gives off heat from the beginning; only the difference warms the phone."),
            Misconception("one kelvin", lambda p: full(p) / p.rise, 0.0, "It may get warmer than that by several kelvin."),
            Misconception("by what is shed", lambda p: p.capacity * p.rise / p.shed, 0.0, "That is how long it takes to cool down."))),
        Choice("rate", "How many tokens a second does it put out from then on?", "", sustained, ("1", "30"), (
            Misconception("as before", lambda p: p.rate, 0.0, "Then it would get hotter still."),
            Misconception("by the excess", lambda p: p.rate * (1 - p.shed / p.power), 0.25, "By that share of the time it pauses."),
            Misconception("by the square", lambda p: p.rate * (p.shed / p.power) ** 2, 0.25,
                          "It pauses at full clock here; tokens are in proportion to the time that it works."))),
        Part("tokens", "How many tokens does it put out in {long:min}?", "", lambda p, full, rate: p.rate * full + rate * (p.long - full),
             ("500", "60000"), (
            Misconception("full speed", lambda p: p.rate * p.long, 0.0, "It slows down when it is hot."),
            Misconception("hot from the start", lambda p, rate: rate * p.long, 0.25, "It runs at full speed until it is hot."))),
        Part("share", "What share is that of what full speed would give?", "%", lambda p, tokens: tokens / p.rate / p.long,
             ("30 %", "99 %"), (
            Misconception("hot from the start", lambda p: p.shed / p.power, 0.25, "It runs at full speed until it is hot."),
            Misconception("what is lost", lambda p, tokens: 1 - tokens / p.rate / p.long, 0.25, "That is the share that is lost.")))))
