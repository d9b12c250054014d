"""A model sent to sensors over the air: time of the radio, energy, days of battery that an update costs."""
from mlsysim import network, sustainability
from staffml import Misconception, Part, Template


def airtime(p):
    return network.transfer_seconds(p.size, p.rate * p.share)


def energy(p, airtime):
    return sustainability.machine_energy(1, airtime, power=p.radio)


template = Template(
    title="A model over the air", area="deployment", topic="ota-firmware-updates", track="tiny", level="L3", chapter="V2-12", minutes=8,
    space={"size": (40e3, 60e3, 80e3, 120e3, 200e3, 250e3, 400e3), "rate": (31250.0, 62500.0, 125000.0), "share": (0.2, 0.3, 0.4, 0.6),
           "radio": (15e-3, 20e-3, 25e-3, 30e-3, 45e-3), "mean": (20e-6, 30e-6, 50e-6, 80e-6, 120e-6)},
    prompt="""
        A sensor gets a new model of {size:kB} by radio. The radio runs at {rate:kbit/s}, of which headers and repeats leave {share:%}
        for the model, and draws {radio:mW} while it is on. Otherwise the sensor draws {mean:µW} on average.""",
    parts=(
        Part("airtime", "How long is the radio on?", "s", airtime, ("0.1 s", "10 min"), (
            Misconception("full rate", lambda p: network.transfer_seconds(p.size, p.rate), 0.5, "Headers and repeats take their share."),
            Misconception("bits as bytes", lambda p: airtime(p) / 8, 0.25, "The radio's rate is in bits a second."),
            Misconception("share lost", lambda p: network.transfer_seconds(p.size, p.rate * (1 - p.share)), 0.25,
                          "That share is what is left, not what is lost."))),
        Part("energy", "How much energy does that take?", "J", energy, ("1 mJ", "100 J"), (
            Misconception("mean power", lambda p, airtime: airtime * p.mean, 0.0, "While it is on, the radio draws its own power."),
            Misconception("milli twice", lambda p, airtime: energy(p, airtime) / 1e3, 0.25, "Milliwatts times seconds are millijoules."))),
        Part("days", "For how long could the sensor have run on that energy?", "s", lambda p, energy: energy / p.mean,
             ("1 min", "100 days"), (
            Misconception("upside down", lambda p, energy: energy * p.mean / p.radio**2, 0.0,
                          "The sensor draws less than the radio, so the energy lasts it longer."),
            Misconception("on the radio", lambda p, energy: energy / p.radio, 0.25, "That is how long the radio was on.")))))
