"""Counts from phones with differential privacy: the noise of each, its deviation, and the smallest group worth publishing."""
from staffml import Misconception, Part, Template


def scale(p):
    return p.moves * p.counts / p.budget


template = Template(
    title="Counting with privacy", area="cross-cutting", topic="differential-privacy", track="mobile", level="L3", chapter="V2-13",
    minutes=10,
    space={"budget": (0.5, 0.8, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0), "counts": (5, 8, 10, 12, 16, 20, 25, 30), "moves": (2, 3, 4, 5),
           "error": (0.02, 0.04, 0.05, 0.1)},
    prompt="""
        A keyboard vendor publishes {counts} counts a day, of users who typed certain words, and wants differential privacy with a
        budget of epsilon = {budget:plain} for all that it publishes about a user in a day. The budget is split evenly over the counts.
        A phone adds at most {moves} to each of them. The server adds Laplace noise to each count before it is published.""",
    parts=(
        Part("scale", "Which scale must the noise of one count have?", "", scale, ("0.5", "1000"), (
            Misconception("whole budget each", lambda p: p.moves / p.budget, 0.5,
                          "Losses of privacy add up: each count may use its part of the budget only."),
            Misconception("one a phone", lambda p: p.counts / p.budget, 0.25, "Noise has to cover what one phone can add at most."),
            Misconception("times epsilon", lambda p: p.moves * p.counts * p.budget, 0.0, "A smaller epsilon is stricter: more noise."))),
        Part("deviation", "What is the standard deviation of that noise?", "", lambda p, scale: 2**0.5 * scale, ("0.5", "2000"), (
            Misconception("scale", lambda p, scale: scale, 0.5, "A Laplace distribution deviates by more than its scale."),
            Misconception("variance", lambda p, scale: 2 * scale**2, 0.5, "That is the variance; take its root."))),
        Part("least", "From which count on is that deviation at most {error:%} of it?", "", lambda p, deviation: deviation / p.error,
             ("5", "100000"), (
            Misconception("square", lambda p, deviation: (1 / p.error) ** 2, 0.0,
                          "That is for sampling error; this noise is as large for a small count as for a large one."),
            Misconception("times", lambda p, deviation: deviation * (1 + p.error), 0.0, "The noise is to be a small share of the count."))),
    ))
