"""Ability estimation, against integrals done another way and against simulated examinees whose ability is known."""

import math
import random

import numpy as np
import pytest

from staffml import irt
from staffml.taxonomy import LEVELS

LEVEL_ITEMS = [irt.from_level(level) for level in LEVELS]


def by_simpson(answered, n=4000, wide=12.0):
    """Posterior mean and deviation by Simpson's rule in plain Python, from the formula of the model."""
    def density(x):
        value = math.exp(-x * x / (2 * irt.PRIOR**2))
        for item, share in answered:
            p = 1 / (1 + math.exp(-item.discrimination * (x - item.difficulty)))
            value *= p**share * (1 - p) ** (1 - share)
        return value

    sums = [0.0, 0.0, 0.0]
    for i in range(n + 1):
        x = -wide + 2 * wide * i / n
        w = (1 if i in (0, n) else 4 if i % 2 else 2) * density(x)
        for power in range(3):
            sums[power] += w * x**power
    mean = sums[1] / sums[0]
    return mean, math.sqrt(sums[2] / sums[0] - mean**2)


@pytest.mark.parametrize("shares", [(), (1,), (0, 0, 0, 0, 0), (1, 1, 1, 1, 1, 1), (1, 0.5, 0.25, 0, 1), (0.37,) * 9])
def test_the_estimate_is_the_mean_of_the_posterior(shares):
    random_ = random.Random(3)
    answered = [(irt.Item(random_.uniform(0.5, 2.5), random_.uniform(-3, 3)), share) for share in shares]
    found = irt.estimate(answered)
    mean, error = by_simpson(answered)
    assert found.mean == pytest.approx(mean, abs=2e-3) and found.error == pytest.approx(error, rel=2e-3)
    assert found.low < found.mean < found.high


def test_without_answers_the_estimate_is_the_prior():
    found = irt.estimate([])
    assert (found.mean, found.error) == (pytest.approx(0, abs=1e-9), pytest.approx(irt.PRIOR, rel=1e-3))
    assert (found.low, found.high) == (pytest.approx(-1.645 * irt.PRIOR, rel=2e-3), pytest.approx(1.645 * irt.PRIOR, rel=2e-3))


def test_information_is_the_curvature_of_the_expected_log_likelihood():
    for item in LEVEL_ITEMS:
        for ability in (-2.0, -0.3, 1.7):
            p, h = float(irt.chance(ability, item)), 1e-3
            log = [p * math.log(irt.chance(x, item)) + (1 - p) * math.log(1 - irt.chance(x, item)) for x in (ability - h, ability, ability + h)]
            assert irt.information(ability, item) == pytest.approx(-(log[0] - 2 * log[1] + log[2]) / h**2, rel=1e-3)


def test_levels_are_one_apart_and_an_ability_reads_as_the_nearest_level():
    assert [irt.level(item.difficulty) for item in LEVEL_ITEMS] == list(LEVELS)
    assert {round(b.difficulty - a.difficulty, 9) for a, b in zip(LEVEL_ITEMS, LEVEL_ITEMS[1:], strict=False)} == {1.0}
    assert (irt.level(-9.0), irt.level(9.0), irt.level(0.4)) == ("L1", "L6+", "L4")
    assert irt.chance(LEVEL_ITEMS[2].difficulty, LEVEL_ITEMS[2]) == pytest.approx(0.5)


def test_partial_credit_lies_between_wrong_and_right_and_orders_abilities():
    means = [irt.estimate([(LEVEL_ITEMS[3], share)]).mean for share in (0, 0.25, 0.5, 0.75, 1)]
    assert means == sorted(means) and len(set(means)) == 5
    with pytest.raises(ValueError, match="wants a fraction of the points from 0 to 1"):
        irt.estimate([(LEVEL_ITEMS[0], 1.2)])


def test_the_next_item_is_the_nearest_in_difficulty_of_the_areas_asked_least():
    bank = {f"{area}{i}": (item, area) for area in "ab" for i, item in enumerate(LEVEL_ITEMS, 1)}
    assert irt.pick(0.6, bank, []) in ("a4", "b4")
    assert irt.pick(0.6, bank, ["a"]) == "b4" and irt.pick(0.6, bank, ["a", "b", "b"]) == "a4"
    assert len({irt.pick(0.6, bank, [], seed=str(i)) for i in range(20)}) == 2      # what ties is shuffled by the seed
    assert irt.pick(0.6, bank, [], seed="x") == irt.pick(0.6, dict(reversed(bank.items())), [], seed="x")
    sharp = bank | {"b1": (irt.Item(4.0, 0.6), "b")}
    assert irt.pick(0.6, sharp, ["a"]) == "b1"


BANK = {f"{area}/{i}": (irt.Item(1.5 + 0.1 * ((7 * i + ord(area)) % 5 - 2), LEVEL_ITEMS[(5 * i + ord(area)) % 6].difficulty), area)
        for area in "abcdefghijkl" for i in range(8)}


def simulated(ability, count, random_, adaptive=True, parts=1):
    """A test of `count` items for an examinee of known ability -> the estimates after each item."""
    left, answered, asked, found = dict(BANK), [], [], []
    for _ in range(count):
        mean = found[-1].mean if found else 0.0
        name = irt.pick(mean, left, asked, seed=random_.random()) if adaptive else random_.choice(sorted(left))
        item, area = left.pop(name)
        p = float(irt.chance(ability, item))
        answered.append((item, sum(random_.random() < p for _ in range(parts)) / parts))
        asked.append(area)
        found.append(irt.estimate(answered))
    return found


def rms(values):
    return math.sqrt(np.mean(np.square(values)))


def test_simulated_examinees_are_found_and_adaptive_needs_fewer_items_than_random():
    random_ = random.Random(20260801)
    abilities = [random_.gauss(0, irt.PRIOR) for _ in range(250)]
    adaptive = [simulated(a, 12, random_) for a in abilities]
    blind = [simulated(a, 12, random_, adaptive=False) for a in abilities]
    off = {n: [t[n - 1].mean - a for t, a in zip(adaptive, abilities, strict=True)] for n in (3, 6, 12)}
    assert abs(np.mean(off[12])) < 0.12                                             # no bias beyond chance: 3 x 0.45 / sqrt(250) = 0.09
    assert rms(off[3]) > 1.2 * rms(off[6]) > 1.2**2 * rms(off[12])                  # errors shrink
    errors = [np.mean([t[n - 1].error for t in adaptive]) for n in (3, 6, 12)]
    assert errors == sorted(errors, reverse=True) and rms(off[12]) == pytest.approx(errors[-1], rel=0.15)    # and are what is said
    assert rms(off[12]) < 0.9 * rms([t[-1].mean - a for t, a in zip(blind, abilities, strict=True)])
    inside = np.mean([t[-1].low <= a <= t[-1].high for t, a in zip(adaptive, abilities, strict=True)])
    assert 0.84 <= inside <= 0.96                                                   # the interval holds nine in ten: 3 x sqrt(0.09 / 250)


def test_fractions_of_the_points_make_the_stated_error_cautious():
    random_ = random.Random(7)
    abilities = [random_.gauss(0, irt.PRIOR) for _ in range(150)]
    tests = [simulated(a, 10, random_, parts=3) for a in abilities]
    off = rms([t[-1].mean - a for t, a in zip(tests, abilities, strict=True)])
    assert off < np.mean([t[-1].error for t in tests])
