"""Power usage effectiveness: power at the meter, and the share of it that does no computing."""
from mlsysim import sustainability
from staffml import Choice, Misconception, Part, Template


def meter(p):
    return sustainability.footprint(sustainability.machine_energy(1, 1, power=p.machines), pue=p.pue).energy      # of one second


template = Template(
    title="From the machines to the meter", area="power", topic="datacenter-efficiency", track="global", level="L1", chapter="V2-15",
    minutes=3,
    space={"machines": tuple(m * 1e5 for m in (4, 5, 6, 8, 9, 10, 12, 15, 18, 20, 24, 25, 30, 32, 40, 48, 60, 75, 80, 120, 160, 200)),
           "pue": (1.08, 1.1, 1.12, 1.15, 1.18, 1.2, 1.25, 1.3, 1.35, 1.4, 1.5, 1.56, 1.6, 1.7)},
    prompt="""
        The machines of a datacenter draw {machines:MW} on average. Its power usage effectiveness (PUE), the energy of the whole
        building over that of its machines, is {pue:plain} for the year.""",
    parts=(
        Choice("meter", "How much power does the whole building draw on average?", "W", meter, ("100 kW", "100 MW"), (
            Misconception("divided", lambda p: p.machines / p.pue, 0.0, "The building takes more than its machines, never less."),
            Misconception("on top", lambda p: p.machines + meter(p), 0.25, "PUE is the whole over the machines, not what comes on top."),
            Misconception("the rest", lambda p: meter(p) - p.machines, 0.25, "That is what the building draws beside its machines."))),
        Part("share", "What share of the energy at the meter does not reach the machines?", "%", lambda p, meter: 1 - p.machines / meter,
             ("5 %", "50 %"), (
            Misconception("over the machines", lambda p: p.pue - 1, 0.5, "That is over the energy of the machines, not over the whole."),
            Misconception("what does", lambda p: 1 / p.pue, 0.25, "That is the share that does reach them.")))))
