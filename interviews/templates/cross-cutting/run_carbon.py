"""Carbon of a training run: energy of the machines, energy at the meter, grams; the same run on another grid."""
from mlsysim import sustainability, systems
from staffml import Choice, Misconception, Part, Template

KWH = 3.6e6     # joules in a kilowatt-hour, by definition


def energy(p):
    return sustainability.machine_energy(p.devices, p.time, power=p.power)


def name(site):
    return site.replace("-", " ").title().replace("United", "the United")


def print_of(energy, carbon, p):
    return sustainability.footprint(energy, carbon=carbon / KWH, pue=p.pue)


template = Template(
    title="Carbon of a training run", area="cross-cutting", topic="sustainability-carbon-accounting", track="global", level="L3",
    chapter="V2-15", minutes=10,
    space={"devices": (64, 128, 256, 512, 1024, 2048), "power": (400.0, 500.0, 700.0, 900.0), "time": tuple(86400.0 * d for d in
           (3, 5, 7, 10, 14, 21, 30)), "pue": (1.1, 1.2, 1.3, 1.56), "here": ("poland", "india", "china", "germany", "united-states"),
           "there": ("france", "sweden", "norway", "brazil", "canada")},
    derive={"from_": lambda p: name(p.here), "to": lambda p: name(p.there),
            "dirty": lambda p: systems.site(p.here).carbon.value * KWH, "clean": lambda p: systems.site(p.there).carbon.value * KWH},
    prompt="""
        A run keeps {devices} devices busy for {time:days}; with its share of the host each draws {power:W}. The building takes
        {pue:plain} times the energy of its machines. In {from_} electricity emits {dirty:plain} grams of carbon dioxide
        equivalent a kWh, in {to} {clean:plain} grams.""",
    parts=(
        Part("energy", "How much energy do the machines take?", "J", energy, ("1 GJ", "1e15 J"), (
            Misconception("one device", lambda p: energy(p) / p.devices, 0.25, "That is one device."),
            Misconception("at the meter", lambda p: energy(p) * p.pue, 0.5, "That is the energy at the meter of the building."))),
        Part("carbon", "How much carbon does the run emit in {from_}?", "g", lambda p, energy: print_of(energy, p.dirty, p).carbon,
             ("100 kg", "1e12 g"), (
            Misconception("no building", lambda p, energy: energy * p.dirty / KWH, 0.5, "The building takes energy as well."),
            Misconception("MJ as kWh", lambda p, energy: print_of(energy, p.dirty, p).carbon * KWH / 1e6, 0.25,
                          "You took a megajoule for a kilowatt-hour."))),
        Choice("saved", "How much less is it in an equal building in {to}?", "g",
               lambda p, carbon: carbon * (1 - p.clean / p.dirty), ("10 kg", "1e12 g"), (
            Misconception("what is left", lambda p, carbon: carbon * p.clean / p.dirty, 0.25, "That is what it still emits there."),
            Misconception("no building", lambda p, carbon: carbon * (1 - p.clean / p.dirty) / p.pue, 0.5,
                          "The building takes energy as well."),
            Misconception("everything", lambda p, carbon: carbon, 0.0, "Every grid emits something.")))))
