"""Ratios to the reference, their intervals, and ranks. A score above 1 is better than the reference; all are without a unit.

    latency     geometric mean, over fresh starts, of exp(median over turns of log(reference's seconds / entry's seconds))
    memory      reference's bytes / entry's bytes
    accuracy    reference's error / entry's error, error = (wrong + 1/2) / (asked + 1) over the same pictures
    all-round   (latency x memory x accuracy) ** (1/3)

Intervals hold 95 % of a bootstrap: of turns for latency, where the interval holds that of every start; of drawings, for entry
and reference alike, for accuracy. Memory is counted, so its interval is a point. That of all-round multiplies the ends,
which makes it wide rather than narrow.
"""

import math
from dataclasses import dataclass

import numpy as np

LEVEL, RESAMPLES = 0.95, 1000


@dataclass(frozen=True)
class Score:
    """A ratio to the reference, larger is better, with its interval."""

    value: float
    low: float
    high: float


def latency(starts, seed=0):
    """Score from [(entry's seconds of each turn, reference's), ...], one pair of lists for each fresh start."""
    rng = np.random.default_rng(seed)
    middles, ends = [], []
    for entry, reference in starts:
        logs = np.log(np.asarray(reference, float)) - np.log(np.asarray(entry, float))
        middles.append(np.median(logs))
        drawn = np.median(logs[rng.integers(0, len(logs), (RESAMPLES, len(logs)))], axis=1)
        ends.append(np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    ends = np.array(ends)
    middle = float(np.mean(middles))
    return Score(math.exp(middle), math.exp(min(middle, ends[:, 0].min())), math.exp(max(middle, ends[:, 1].max())))


def memory(entry, reference):
    """Score from two numbers of bytes."""
    ratio = reference / entry
    return Score(ratio, ratio, ratio)


def accuracy(wrong, reference_wrong, asked, seed=0):
    """Score from wrong answers of entry and reference and pictures asked, for each drawing that pictures were made of."""
    wrong, reference_wrong, asked = (np.asarray(a, float) for a in (wrong, reference_wrong, asked))
    drawn = np.random.default_rng(seed).integers(0, len(asked), (RESAMPLES, len(asked)))

    def log_ratio(of):
        return np.log(of(reference_wrong) + 0.5) - np.log(of(wrong) + 0.5)      # (wrong + 1/2) / (asked + 1): asked cancels

    middle = float(log_ratio(np.sum))
    low, high = np.quantile(log_ratio(lambda a: a[drawn].sum(axis=1)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(math.exp(middle), math.exp(min(middle, low)), math.exp(max(middle, high)))


def all_round(scores):
    """The geometric mean of Scores."""
    def mean(values):
        return math.exp(math.fsum(map(math.log, values)) / len(values))

    return Score(*(mean([getattr(s, end) for s in scores]) for end in ("value", "low", "high")))


def ranks(scores):
    """Ranks of {key: Score}: one more than the number of entries whose whole interval lies above one's own.

    Equals share a rank, whoever is clearly better has a smaller one, and an interval made wide on purpose gains nothing: its
    upper end is what the entry can do at its best.
    """
    return {key: 1 + sum(other.low > mine.high for other in scores.values()) for key, mine in scores.items()}
