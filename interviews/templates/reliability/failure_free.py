"""Hours without a wrong intervention that show a rate below a limit; days of a fleet; what one failure on the way changes."""
from functools import cache

from mlsysim import reliability
from staffml import Design, Misconception, Part, Template

bound = cache(lambda failures, sides: reliability.poisson_mean(failures, sides)[1])     # of two sides


def hours(p, failures=0):
    """Time for which the one-sided upper bound of the rate is the limit."""
    return bound(failures, 1 - 2 * (1 - p.sure)) * p.limit


def fleet(p, clean):
    return clean / p.vehicles / p.share


template = Template(
    title="How long must nothing happen?", area="reliability", topic="safety-certification", track="edge", level="L5", chapter="V2-14",
    minutes=20,
    space={"limit": tuple(3600.0 * h for h in (1e4, 2e4, 5e4, 1e5, 2e5, 3e5, 5e5, 1e6)), "sure": (0.9, 0.95, 0.975, 0.99), "vehicles": (20,
           40, 50, 100, 200, 400), "share": (0.25, 0.375, 0.5)},
    figures={"clean": hours, "once": lambda p: hours(p, 1)},
    prompt="""
        A brake assistant must not brake for nothing more than once in {limit:h} of driving. Such events come at random at a steady
        rate, independent of each other. A fleet of {vehicles} vehicles, each on the road for {share:%} of every day, is to show with a
        confidence of {sure:%} that the rate is below the limit (one-sided).""",
    parts=(
        Part("clean", "How much driving has to pass without any such event?", "h", hours, ("10000 h", "1e7 h"), (
            Misconception("the limit", lambda p: p.limit, 0.25, "A system right at the limit gets that far more than one time in three."),
            Misconception("chance as a factor", lambda p: p.limit / (1 - p.sure), 0.25,
                          "The chance of seeing nothing falls exponentially, so its logarithm counts."),
            Misconception("two-sided", lambda p: bound(0, p.sure) * p.limit, 0.5, "Nobody asks for a lower bound here."))),
        Part("fleet", "How long does that take the fleet?", "s", fleet, ("2 days", "1e6 days"), (
            Misconception("day and night", lambda p, clean: fleet(p, clean) * p.share, 0.5, "A parked vehicle shows nothing."),
            Misconception("one vehicle", lambda p, clean: fleet(p, clean) * p.vehicles, 0.25, "Hours of all vehicles add up."))),
        Part("once", "One such event happens on the way. How much driving, from the start, shows the same then?", "h",
             lambda p: hours(p, 1), ("10000 h", "2e7 h"), (
            Misconception("start over", lambda p: 2 * hours(p), 0.25,
                          "Hours before the event count; what has to hold is the bound for one event in all of them."),
            Misconception("no change", hours, 0.0, "One event is evidence too, and the bound moves up."))),
        Design("argue", "The project wants to replace most of these hours by simulation. What do you accept as evidence, and what not?", (
            (0.4, "Sees that simulation covers scenes somebody thought of, while the {clean:h} are for those nobody did."),
            (0.3, "Asks for validation of the simulator against recorded events, and for replaying real drives with a new release."),
            (0.3, "Says what every update of the model does to hours already driven, and keeps a fallback and monitoring on the road.")))))
