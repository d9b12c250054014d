"""Buy machines or rent them: electricity of an hour, cost of an hour in use, the use from which buying pays, a decision."""
from mlsysim import costs
from staffml import Design, Misconception, Part, Template

KWH = 3.6e6     # joules in a kilowatt-hour, by definition
NODE = "dgx-h100"       # a node of eight devices; price and power are those of the prompt


def owned(p, kwh, used=1.0):
    return costs.own(NODE, years=p.years, price_each=p.price, power=p.power, pue=p.pue, electricity=kwh / KWH, maintenance=p.upkeep,
                     utilization=used)


def electricity(p, kwh):
    return owned(p, kwh).running * 3600


def each(p):
    return owned(p, p.home, p.used).each * 3600


def even(p):
    return costs.break_even(owned(p, p.home), p.rent / 3600).utilization


template = Template(
    title="Buy or rent", area="cross-cutting", topic="tco-cost-modeling", track="global", level="L6+", chapter="V2-02", minutes=30,
    space={"price": (220e3, 260e3, 280e3, 320e3, 360e3, 400e3), "power": (8e3, 9e3, 10e3, 10.2e3), "rent": (1.8, 1.99, 2.29, 2.49, 2.99,
           3.5), "years": (3, 4, 5), "upkeep": (0.05, 0.08, 0.1), "pue": (1.2, 1.3, 1.5), "home": (0.2, 0.25, 0.3), "away": (0.05, 0.06,
           0.08), "used": (0.3, 0.4, 0.5, 0.6, 0.7), "devices": (8,)},
    where=lambda p: even(p) < 1,
    figures={"even": even, "saved": lambda p: electricity(p, p.home) - electricity(p, p.away), "each": each},
    prompt="""
        A university weighs buying nodes of {devices} devices at {price:USD} each against renting such devices at {rent:USD} an hour,
        paid for hours in use only. A node draws {power:kW} when it is in use and nothing otherwise, in a building that takes
        {pue:plain} times the energy of its machines. Upkeep is {upkeep:%} of the price a year, used or not. Nodes are kept for {years}
        years and are worth nothing then; there is no interest. A kilowatt-hour costs {home:USD} at home, and {away:USD} at a partner
        abroad who would take the nodes in.""",
    parts=(
        Part("electricity", "What does the electricity of one device in use cost an hour, at home?", "USD",
             lambda p: electricity(p, p.home), ("0.05 USD", "2 USD"), (
            Misconception("whole node", lambda p: electricity(p, p.home) * p.devices, 0.5, "That is a node, which all its devices share."),
            Misconception("no building", lambda p: electricity(p, p.home) / p.pue, 0.5, "The building takes energy as well."))),
        Part("each", "Nodes are in use {used:%} of the time. What does an hour of use of one device cost in all, at home?", "USD", each,
             ("0.5 USD", "20 USD"), (
            Misconception("always in use", lambda p: owned(p, p.home).each * 3600, 0.25, "Price and upkeep are paid for idle hours too."),
            Misconception("no electricity", lambda p, electricity: each(p) - electricity, 0.5, "An hour of use takes electricity."),
            Misconception("price only", lambda p: owned(p, p.home).capital / owned(p, p.home).seconds / p.devices / p.used * 3600, 0.25,
                          "Upkeep and electricity come on top of the price.")), tol=0.01),
        Part("even", "From which share of the time in use on is buying cheaper, at home?", "%", even, ("10 %", "100 %"), (
            Misconception("no electricity", lambda p, electricity: even(p) * (p.rent - electricity) / p.rent, 0.5,
                          "Each hour of use saves the rent and costs electricity."),
            Misconception("price only", lambda p: even(p) / (1 + p.upkeep * p.years), 0.5, "Upkeep is paid as well, every year."))),
        Design("decide", "Decide: buy here, buy and place abroad, rent, or a mixture. What would change your mind?", (
            (0.3, "Compares the use that is expected and how sure it is with {even:%}, and buys for the base load at most."),
            (0.25, "Sees what the other place saves: {saved:USD} of {each:USD} an hour, and weighs it against what distance costs."),
            (0.25, "Names what the figures leave out: staff, network and data, failures, newer devices before the years are over, carbon."),
            (0.2, "Says what would change the decision, such as falling rents, and by how much before it does.")))))
