"""What a million tokens cost on rented devices: rate, utilization, price an hour."""
from mlsysim import costs
from staffml import Choice, Misconception, Part, Template


def cost(p):
    return costs.token_cost(p.rate, p.price / 3600, devices=p.devices, utilization=p.used).each


template = Template(
    title="Cost of a million tokens", area="deployment", topic="model-serving-infrastructure", track="cloud", level="L2",
    chapter="V2-10", minutes=8,
    space={"rate": (800, 1200, 1500, 2000, 2400, 3000, 4000, 5000, 6000, 9000), "devices": (2, 4, 8), "used": (0.3, 0.4, 0.5, 0.6, 0.7),
           "price": (1.99, 2.49, 2.99, 3.5, 4.25, 6.88), "million": (1000000,)},
    prompt="""
        A model runs on {devices} rented devices, each for {price:USD} an hour, busy or not. When it is busy the whole group puts
        out {rate} tokens a second, and it is busy {used:%} of the time.""",
    parts=(
        Part("hour", "How much does an hour of the whole group cost?", "USD",
             lambda p: costs.token_cost(p.rate, p.price / 3600, devices=p.devices).cost, ("1 USD", "100 USD"), (
            Misconception("one device", lambda p: p.price, 0.25, "That is one device of the group."),
            Misconception("busy hours", lambda p: p.price * p.devices * p.used, 0.25, "Idle time is paid for too."))),
        Choice("million", "What do {million} tokens cost?", "USD", cost, ("0.05 USD", "100 USD"), (
            Misconception("always busy", lambda p: cost(p.but(used=1)), 0.5, "The group is idle part of the time, and paid for."),
            Misconception("rate of a device", lambda p: cost(p) * p.devices, 0.25, "The whole group together puts out that many."),
            Misconception("load the wrong way", lambda p: cost(p) * p.used**2, 0.25, "Idle time makes a token dearer, not cheaper.")))))
