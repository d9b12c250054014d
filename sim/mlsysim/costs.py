"""Money: owning machines, renting them, a training run, a million tokens, and where buying beats renting.

Rates of machines are USD a second for one device; text such as "2.69 USD/h" or a Price is read at the edge. Nothing is
assumed about maintenance, interest or resale: they are zero unless given.
"""

from dataclasses import dataclass

import numpy as np

from ._check import amount
from .constants import Figure
from .errors import RangeError, SimError
from .result import Result, Term, total
from .systems import PRICES, Cluster, Price, node, price

YEAR = 365 * 86400.0


@dataclass(frozen=True, kw_only=True)
class Ownership(Result):
    """Machines owned for some years: cost is all of it, each the USD a second for one device while it is used.

    capital includes interest less resale; running is the part of each that pays for electricity. cost, capital,
    electricity and maintenance are those of all devices.
    """

    headline = "cost"

    cost: np.ndarray
    capital: np.ndarray
    electricity: np.ndarray
    maintenance: np.ndarray
    each: np.ndarray
    running: np.ndarray
    utilization: np.ndarray
    devices: int
    seconds: np.ndarray
    units = {"capital": "USD", "electricity": "USD", "maintenance": "USD", "each": "USD/h", "running": "USD/h", "devices": ""}


def own(machine, *, years, price_each=None, power=None, pue=1.0, electricity="electricity-us", utilization=1.0, maintenance=0.0,
        interest=0.0, resale=0.0):  # fmt: skip
    """Buy a Cluster or a Node (or its name) and run it for `years` -> Ownership.

    price_each: USD for one node, network included (the node's own, or that of its devices, where one is on record); power:
    W of a node in use; electricity: a Price or "0.08 USD/kWh"; utilization: share of the time in use; maintenance: share of
    the price a year; interest: yearly rate on the capital, repaid in equal parts; resale: share of the price got back at
    the end. All numbers broadcast. Raises SimError where a price or power is not known.
    """
    of, nodes = (machine.node, machine.nodes) if isinstance(machine, Cluster) else (node(machine), 1)
    if price_each is None:
        if of.price is None and of.device.price is None:
            raise SimError(f"price_each: {of.title} has no price on record; give price_each='300000 USD'")
        price_each = of.price if of.price is not None else of.count * of.device.price.value
    if power is None:
        if of.power is None and of.device.power is None:
            raise SimError(f"power: {of.title} has none on record; give power='10 kW'")
        power = of.power if of.power is not None else of.count * of.device.power.value
    years = amount("years", years, "", above=0.0)
    first = nodes * amount("price_each", price_each, "USD", above=0.0)
    watts = nodes * amount("power", power, "W") * amount("pue", pue, "", least=1.0)
    joule = _energy_price(electricity)
    used = _share("utilization", utilization)
    upkeep, rate, back = (_share(n, x) for n, x in (("maintenance", maintenance), ("interest", interest), ("resale", resale)))
    some = np.where(rate > 0, rate, 1.0)
    repaid = np.where(rate > 0, some * years / (1 - (1 + some) ** -years), 1.0)  # n equal parts of a loan: annuity
    devices, time = nodes * of.count, years * YEAR

    def parts(first=first, joule=joule, watts=watts, used=used):
        return first * (repaid - back), watts * joule * used * time, first * upkeep * years

    capital, energy, care = parts()
    cost = capital + energy + care
    if (used == 0).any():
        raise RangeError("utilization: got 0; wanted more, or there is nothing to spread the cost over")
    return Ownership(
        cost=cost[()], capital=capital[()], electricity=energy[()], maintenance=care[()], utilization=used[()], devices=devices,
        each=(cost / (devices * used * time))[()], running=(watts * joule / devices)[()], seconds=time[()],
        grow=lambda: total("cost of owning", [
            Term("capital", capital, "USD", "price x (annuity - resale)"),
            Term("electricity", energy, "USD", "power x PUE x time used x price"),
            Term("maintenance", care, "USD", "share of the price x years")], "USD"),
        knobs={"price of the machines": lambda s: sum(parts(first=first * s)),
               "price of electricity": lambda s: sum(parts(joule=joule * s)), "power": lambda s: sum(parts(watts=watts * s)),
               "utilization": lambda s: sum(parts(used=used * s))},
    )  # fmt: skip


def _share(name, value):
    x = amount(name, value, "%" if isinstance(value, str) else "")
    if (x > 1).any():
        raise RangeError(f"{name}: got {float(x.max()):g}; wanted a share from 0 to 1")
    return x


def _energy_price(value):
    named = isinstance(value, Price) or isinstance(value, str) and not value.strip()[:1].isdigit()
    if named:
        found = price(value)
        if found.per != "kWh":
            raise SimError(f"electricity: {found.title} is a price per {found.per}; wanted one per kWh, such as 'electricity-us'")
        return np.asarray(found.each)
    return amount("electricity", value, "USD/kWh")


def rate_of(value):
    """USD a second for one device: from an Ownership, a Price or its name, text such as "2.69 USD/h", or a number."""
    if isinstance(value, Ownership):
        return np.asarray(value.each)
    if isinstance(value, Figure):
        return np.asarray(value.value)
    if isinstance(value, Price) or isinstance(value, str) and (value in PRICES or not value.strip()[:1].isdigit()):
        found = price(value)
        if found.per != "hour":
            raise SimError(f"rate: {found.title} is a price per {found.per}; wanted one per hour, such as 'aws-p5'")
        return np.asarray(found.each)
    return amount("rate", value, "USD/h")


@dataclass(frozen=True, kw_only=True)
class Bill(Result):
    """What a run costs. each is the cost of one unit of work, and unit says of what: a million tokens, for instance."""

    headline = "cost"

    cost: np.ndarray
    seconds: np.ndarray
    each: np.ndarray
    unit: str
    units = {"each": "USD"}


def run_cost(run, rate, *, devices=None):
    """A run at a rate for each device -> Bill. run: a Training with run_tokens, or the seconds of a run on `devices`.

    each is the cost of a million of its tokens; of the run where there are none. rate: as rate_of() takes it.
    """
    rate = rate_of(rate)
    if hasattr(run, "gpu_hours"):
        device_seconds, seconds = np.asarray(run.gpu_hours) * 3600.0, np.asarray(run.run_seconds)
        units, unit = np.asarray(run.rate) * seconds / 1e6, "million tokens"
    else:
        if devices is None:
            raise SimError("devices: got None; a time needs the number of devices that are paid for")
        seconds = amount("run", run, "s")
        device_seconds, units, unit = seconds * amount("devices", devices, "", least=1, whole=True), 1.0, "run"
    cost = device_seconds * rate
    return Bill(
        cost=cost[()], seconds=seconds[()], each=(cost / units)[()], unit=unit,
        grow=lambda: Term("cost", cost, "USD", "device hours x rate", "",
                          (Term("device time", device_seconds, "s"), Term("rate", rate, "USD/s")), "product"),
        knobs={"rate": lambda s: cost * s, "speed": lambda s: cost / s},
    )  # fmt: skip


def token_cost(serving, rate, *, devices=1, utilization=1.0):
    """USD for a million output tokens of a Serving, a ServingRun, or tokens a second, on so many devices -> Bill.

    devices: all that are paid for, tp x replicas; utilization: share of the time at that rate. cost is that of an hour.
    """
    tokens = amount("serving", getattr(serving, "rate", serving), "token/s" if isinstance(serving, str) else "", above=0.0)
    devices = amount("devices", devices, "", least=1, whole=True)
    used = _share("utilization", utilization)
    paid = devices * rate_of(rate)
    each = paid / (tokens * used) * 1e6
    return Bill(
        cost=(paid * 3600)[()], seconds=(1e6 / (tokens * used))[()], each=each[()], unit="million tokens",
        grow=lambda: Term("cost of an hour", paid * 3600, "USD", "devices x rate x 3600 s"),
        knobs={"rate": lambda s: paid * 3600 * s},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BreakEven(Result):
    """Where owning and renting cost the same. utilization is the share of use above which owning is cheaper over its years,
    seconds the time of full use after which it is; infinite where renting costs less than the electricity and upkeep."""

    seconds: np.ndarray
    utilization: np.ndarray


def break_even(owned, rate):
    """An Ownership against renting the same devices at a rate for each -> BreakEven. rate: as rate_of() takes it."""
    if not isinstance(owned, Ownership):
        raise SimError(f"owned: got a {type(owned).__name__}; wanted the result of own()")
    rate = rate_of(rate)
    n, time = owned.devices, owned.seconds

    def times(rate=rate, capital=owned.capital):
        saved, upkeep = n * (rate - owned.running), owned.maintenance / time  # USD a second of use, and of any second
        with np.errstate(divide="ignore"):
            full = np.where(saved > upkeep, capital / np.where(saved > upkeep, saved - upkeep, 1.0), np.inf)
            share = np.where(saved > 0, (capital + owned.maintenance) / (np.where(saved > 0, saved, 1.0) * time), np.inf)
        return full, share

    full, share = times()
    return BreakEven(
        seconds=full[()], utilization=share[()],
        grow=lambda: Term("time of full use", full, "s", "capital / (rent - electricity - maintenance)"),
        knobs={"rent": lambda s: times(rate=rate * s)[0], "price of the machines": lambda s: times(capital=owned.capital * s)[0]},
    )  # fmt: skip
