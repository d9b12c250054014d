"""Has the input drifted? The population stability index of a histogram, and what sending counts instead of readings saves."""
import math

from staffml import Misconception, Part, Table, Template

BINS = (("a", "v"), ("b", "w"), ("c", "x"), ("d", "y"), ("e", "z"))


def shares(p):
    """(share at training, share last week) of each range."""
    return [(p[then], p[now]) for then, now in BINS]


def index(p):
    return sum((now - then) * math.log(now / then) for then, now in shares(p))


def fewer(p):
    return p.readings * 24 * 60 / len(BINS)


template = Template(
    title="Has the input drifted?", area="reliability", topic="distribution-drift-detection", track="tiny", level="L3", chapter="V2-14",
    minutes=10,
    space={("a", "b", "c", "d", "e"): tuple((*s[i:], *s[:i]) for i in (0, 2, 4) for s in ((0.3, 0.25, 0.2, 0.15, 0.1), (0.4, 0.2, 0.2, 0.1,
           0.1), (0.35, 0.3, 0.2, 0.1, 0.05), (0.2, 0.2, 0.2, 0.2, 0.2), (0.28, 0.24, 0.2, 0.16, 0.12))),
           ("v", "w", "x", "y", "z"): tuple((*s[i:], *s[:i]) for i in range(5) for s in ((0.26, 0.24, 0.2, 0.16, 0.14), (0.5, 0.2, 0.15,
           0.1, 0.05), (0.32, 0.28, 0.22, 0.1, 0.08), (0.24, 0.22, 0.18, 0.18, 0.18))), "readings": (30, 60, 120, 240, 600)},
    where=lambda p: 1 / 2**5 < index(p) < 1,
    table=lambda p: Table((("range of the reading", None), ("at training", "%"), ("last week", "%")),
                          tuple((then.upper(), p[then], p[now]) for then, now in BINS), tells=tuple(x for pair in BINS for x in pair)),
    prompt="""
        A vibration sensor runs a small classifier and sorts its readings into five ranges, which are compared with those of the
        training data below. It takes {readings} readings a minute; a count has as many bytes as a reading.""",
    parts=(
        Part("index", "What is the population stability index of last week against training (natural logarithms)?", "", index,
             ("0.02", "2"), (
            Misconception("one way", lambda p: sum(now * math.log(now / then) for then, now in shares(p)), 0.5,
                          "That is the divergence in one direction; the index adds both."),
            Misconception("absolute differences", lambda p: sum(abs(now - then) for then, now in shares(p)), 0.25,
                          "The index weighs each difference with the logarithm of the ratio, so rare ranges count for more."),
            Misconception("base ten", lambda p: index(p) / math.log(10), 0.5, "Thresholds in use are for natural logarithms."))),
        Part("fewer", "The radio sends the five counts once a day instead of every reading. How many times fewer bytes is that?", "",
             fewer, ("1000", "1e6"), (
            Misconception("of an hour", lambda p: fewer(p) / 24, 0.25, "Counts go once a day, and a day has more than an hour."),
            Misconception("one count", lambda p: fewer(p) * len(BINS), 0.5, "Every range has its own count.")))))
