"""A sensor that wakes, infers and sleeps: energy of one inference, mean power, battery life. Each takes the one before."""
from mlsysim import sustainability, tinyml
from staffml import Misconception, Part, Template


def work(p):
    return sustainability.machine_energy(1, p.busy, power=p.active)


def mean(p, energy):
    return tinyml.battery_life(p.battery, p.period, energy=energy, seconds=p.busy, sleep=p.sleep).power


def life(p, power):
    return tinyml.battery_life(p.battery, p.period, energy=power * p.period, seconds=0, sleep=0).seconds


template = Template(
    title="Battery life of a duty cycle", area="power", topic="duty-cycling", track="tiny", level="L3", chapter="V2-15",
    minutes=10,
    space={"active": (8e-3, 12e-3, 20e-3, 25e-3, 33e-3, 45e-3, 80e-3, 120e-3), "busy": (0.02, 0.04, 0.05, 0.08, 0.1, 0.2, 0.25),
           "period": (1.0, 2.0, 5.0, 10.0, 20.0, 30.0), "sleep": (5e-6, 10e-6, 20e-6, 50e-6, 80e-6, 100e-6),
           "battery": (2376.0, 3564.0, 7920.0, 10800.0, 27000.0)},
    where=lambda p: 2**4 * 86400 < life(p, mean(p, work(p))) < 2**12 * 86400,
    prompt="""
        A keyword spotter wakes every {period:s}, computes for {busy:ms} at {active:mW} and sleeps at {sleep:µW} for the rest of
        the period. Its battery holds {battery:J}, all of it usable.""",
    parts=(
        Part("energy", "How much energy does one inference take?", "J", work, ("1 µJ", "1 J"), (
            Misconception("whole period", lambda p: p.active * p.period, 0.25, "It draws that power only while it computes."),
            Misconception("milli twice", lambda p: work(p) / 1e3, 0.25, "Milliwatts times milliseconds are microjoules."))),
        Part("power", "What is the mean power, sleep included?", "W", mean, ("1 µW", "100 mW"), (
            Misconception("no sleep", lambda p, energy: energy / p.period, 0.5, "Sleep is cheap, but it lasts most of the time."),
            Misconception("half and half", lambda p: (p.active + p.sleep) / 2, 0.0, "Weight each state by the time it lasts."),
            Misconception("always on", lambda p: p.active, 0.0, "It is awake for a small share of the period.")), tol=0.03),
        Part("life", "How long does the battery last?", "s", life, ("1 h", "40000 days"), (
            Misconception("always on", lambda p: p.battery / p.active, 0.25, "That is the life without any sleep."),
            Misconception("sleep alone", lambda p: p.battery / p.sleep, 0.25, "That is the life of a device that never wakes."),
            Misconception("mWh as J", lambda p, power: life(p, power) / 3600, 0.25, "Joules over watts are seconds, not hours."))),
    ))
