"""Scores have no unit, reward what they name, and do not hang on the order of anything."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlsysbook.olympics.scoring as s

seconds = st.lists(st.floats(1e-6, 10), min_size=5, max_size=40)
wrong = st.lists(st.integers(0, 9), min_size=4, max_size=30)


def near(a, b):
    return all(math.isclose(x, y, rel_tol=1e-9) for x, y in zip((a.value, a.low, a.high), (b.value, b.low, b.high), strict=True))


def pairs(times, other):
    n = min(len(times), len(other))
    return [(times[:n], other[:n])]


@given(seconds, seconds, st.floats(1e-3, 1e3))
def test_latency_is_the_same_in_every_unit(mine, theirs, unit):
    found = s.latency(pairs(mine, theirs))
    other = s.latency([([v * unit for v in a], [v * unit for v in b]) for a, b in pairs(mine, theirs)])
    assert near(found, other)


@given(seconds, seconds, st.floats(1.01, 50))
def test_an_entry_that_takes_so_many_times_as_long_scores_so_many_times_less(mine, theirs, factor):
    a, b = pairs(mine, theirs)[0]
    assert math.isclose(s.latency([([v * factor for v in a], b)]).value * factor, s.latency([(a, b)]).value, rel_tol=1e-9)


def test_latency_finds_a_known_ratio_through_noise_and_says_how_well(rng):
    starts = [(0.001 * rng.lognormal(0, 0.2, 60), 0.0015 * rng.lognormal(0, 0.2, 60)) for _ in range(3)]
    found = s.latency(starts)
    assert found.low < 1.5 < found.high and found.high / found.low < 1.5


def test_the_interval_of_latency_holds_that_of_every_start():
    one, two = ([1.0] * 20, [1.0] * 20), ([1.0] * 20, [2.0] * 20)
    found = s.latency([one, two])
    assert (found.low, found.high) == pytest.approx((1.0, 2.0)) and found.value == pytest.approx(math.sqrt(2))


@given(wrong, st.integers(1, 5))
def test_fewer_errors_score_higher_and_the_reference_itself_scores_one(errors, more):
    asked = [10] * len(errors)
    same = s.accuracy(errors, errors, asked)
    assert (same.value, same.low, same.high) == (1, 1, 1)
    worse = [e + more for e in errors]
    assert s.accuracy(worse, errors, asked).value < 1 < s.accuracy(errors, worse, asked).value


def test_no_errors_at_all_is_a_number():
    found = s.accuracy([0] * 20, [1] * 20, [10] * 20)
    assert found.value == pytest.approx(41) and math.isfinite(found.high)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 1000))
def test_memory_is_the_same_in_bits_and_bytes(mine, theirs, unit):
    assert s.memory(mine * unit, theirs * unit).value == pytest.approx(s.memory(mine, theirs).value)


scores = st.builds(lambda v, a, b: s.Score(v, v * a, v * b), st.floats(0.01, 100), st.floats(0.5, 1), st.floats(1, 2))


@given(st.lists(scores, min_size=3, max_size=3), st.permutations(range(3)), st.floats(0.1, 10))
def test_all_round_is_a_geometric_mean(parts, order, factor):
    whole = s.all_round(parts)
    assert near(whole, s.all_round([parts[k] for k in order]))
    assert whole.value == pytest.approx(np.prod([p.value for p in parts]) ** (1 / 3))
    better = s.Score(*(factor * v for v in (parts[0].value, parts[0].low, parts[0].high)))
    assert s.all_round([better, *parts[1:]]).value == pytest.approx(whole.value * factor ** (1 / 3))    # whichever part it is
    assert whole.low <= whole.value <= whole.high


@given(st.lists(scores, min_size=1, max_size=8), st.randoms())
def test_ranks_do_not_hang_on_the_order_of_entries(found, random):
    named = {f"e{k}": v for k, v in enumerate(found)}
    shuffled = list(named.items())
    random.shuffle(shuffled)
    given_ranks = s.ranks(named)
    assert given_ranks == s.ranks(dict(shuffled))
    assert min(given_ranks.values()) == 1
    for a in named:
        for b in named:
            if named[a].low > named[b].high:
                assert given_ranks[a] < given_ranks[b]
            if named[a] == named[b]:
                assert given_ranks[a] == given_ranks[b]


def test_ties_share_a_rank_and_the_next_one_is_left_out():
    found = s.ranks({"a": s.Score(2, 1.9, 2.1), "b": s.Score(1.95, 1.85, 2.05), "c": s.Score(1.5, 1.4, 1.6), "d": s.Score(1.0, 0.9, 1.5)})
    assert found == {"a": 1, "b": 1, "c": 3, "d": 3}


def test_noise_of_one_entry_makes_no_tie_of_two_others():
    found = s.ranks({"noisy": s.Score(5, 2.5, 5), "a": s.Score(4, 4, 4), "b": s.Score(3, 3, 3)})
    assert found == {"noisy": 1, "a": 1, "b": 2}
