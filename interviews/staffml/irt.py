"""Ability from answers: the two-parameter logistic model, its posterior on a grid, the most informative item to ask next.

The scale counts levels: one unit is one level of difficulty, and 0 lies half way between L3 and L4. Somebody whose ability
is the difficulty of an item earns half of its points on average; one level below, DISCRIMINATION makes that 82 %.

An answer counts as the fraction of the points it earned, c, through the likelihood P^c (1 - P)^(1-c). For right and wrong that
is the model itself; a fraction varies less than a coin with the same mean, so the stated error is on the wide side.
Sources: Birnbaum 1968 (model and information); Bock, Mislevy 1982 (posterior mean by quadrature); Papke, Wooldridge 1996
(fractions); Kingsbury, Zara 1989 (balanced content).
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from .taxonomy import LEVELS

DISCRIMINATION = 1.5                    # per level; stands in until a class has answered
PRIOR = 1.5                             # standard deviation of abilities before the first answer, in levels: L1 to L6 and a little more
ENOUGH = 30                             # responses of a class before its parameters replace the stand-ins
_GRID = np.linspace(-6 * PRIOR, 6 * PRIOR, 601)
_MIDDLE = (len(LEVELS) + 1) / 2


@dataclass(frozen=True)
class Item:
    """Parameters of one item: discrimination per level, difficulty on the scale, and how many responses they rest on."""

    discrimination: float
    difficulty: float
    responses: int = 0


@dataclass(frozen=True)
class Ability:
    """Posterior mean, its standard deviation, and the ends of the central 90 %, all on the scale of levels."""

    mean: float
    error: float
    low: float
    high: float


def from_level(level):
    """The stand-in for an item of a level, before any class has answered it -> Item."""
    return Item(DISCRIMINATION, tuple(LEVELS).index(level) + 1 - _MIDDLE)


def level(ability):
    """The level whose difficulty is nearest to an ability: "L1" to "L6+"."""
    place = round(ability + _MIDDLE)
    return tuple(LEVELS)[min(max(place, 1), len(LEVELS)) - 1]


def chance(ability, item):
    """Points that are to be expected, 0 to 1. ability: a number or an array."""
    return np.exp(-np.logaddexp(0.0, -item.discrimination * (ability - item.difficulty)))


def information(ability, item):
    """Fisher information that one answer has about the ability: a² P (1 - P)."""
    p = chance(ability, item)
    return item.discrimination**2 * p * (1 - p)


def estimate(answered, mass=0.9):
    """Ability from [(Item, fraction of the points)] -> Ability. Without any, that of the prior, normal around 0."""
    log = -0.5 * (_GRID / PRIOR) ** 2
    for item, share in answered:
        if not 0 <= share <= 1:
            raise ValueError(f"an answer earned {share!r}; wants a fraction of the points from 0 to 1")
        z = item.discrimination * (_GRID - item.difficulty)
        log = log - share * np.logaddexp(0.0, -z) - (1 - share) * np.logaddexp(0.0, z)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = float(weight @ _GRID)
    below = np.cumsum(weight) - weight / 2
    low, high = np.interp(((1 - mass) / 2, (1 + mass) / 2), below, _GRID)
    return Ability(mean, math.sqrt(weight @ (_GRID - mean) ** 2), float(low), float(high))


def pick(ability, candidates, asked, seed=""):
    """The next item: of the areas asked least so far, the item that tells most about this ability.

    candidates: {name: (Item, area)}, those already asked left out; asked: areas of the items asked. Items that tell as much
    as each other are taken in an order that `seed` shuffles. -> name
    """
    fewest = min(asked.count(area) for _, area in candidates.values())

    def place(name):
        item, area = candidates[name]
        return -round(float(information(ability, item)), 9), hashlib.sha256(f"{seed}\x1f{name}".encode()).digest()

    return min((name for name, (_, area) in candidates.items() if asked.count(area) == fewest), key=place)
