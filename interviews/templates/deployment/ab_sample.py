"""An A/B test of a model: users for each arm, days of the test, and what a smaller effect would take."""
from staffml import Misconception, Part, Template


def arm(p):
    """Normal approximation, both arms with the variance of the base rate: (z_alpha/2 + z_beta)^2 2 p (1 - p) / effect^2."""
    return (p.sure + p.power) ** 2 * 2 * p.base * (1 - p.base) / (p.base * p.lift) ** 2


def days(p, arm):
    return 2 * arm / (p.users * p.share) * 86400


template = Template(
    title="How long must the test run?", area="deployment", topic="ab-rollout-strategies", track="mobile", level="L3", chapter="V1-14",
    minutes=10,
    space={"base": (0.02, 0.03, 0.04, 0.05, 0.08, 0.1, 0.12, 0.2), "lift": (0.02, 0.03, 0.04, 0.05, 0.08, 0.1),
           ("level", "sure"): ((0.05, 1.96), (0.01, 2.576)), ("found", "power"): ((0.8, 0.842), (0.9, 1.282)),
           "users": (20000, 50000, 80000, 100000, 200000, 500000),
           "share": (0.1, 0.2, 0.5)},
    where=lambda p: 86400 < days(p, arm(p)) < 2**6 * 86400,
    prompt="""
        A keyboard app shows suggestions, and {base:%} of its users take one on their first day. You want to see whether a new model on
        the phone raises that by {lift:%} of what it is, at a significance level of {level:%}, two-sided (z = {sure:plain}), and to find
        such an effect with a probability of {found:%} (z = {power:plain}). Each day brings {users} new users; {share:%} of them enter
        the test, half in each arm. Take the variance of the present rate in both arms.""",
    parts=(
        Part("arm", "How many users does each arm need?", "", arm, ("500", "1e8"), (
            Misconception("points", lambda p: arm(p) * p.base**2, 0.25, "The lift is relative: multiply it by the rate first."),
            Misconception("no power", lambda p: arm(p) * (p.sure / (p.sure + p.power)) ** 2, 0.5,
                          "Without the second z the test misses such an effect every other time."),
            Misconception("one sample", lambda p: arm(p) / 2, 0.5, "Both arms vary, so the variance of the difference is doubled."))),
        Part("days", "How long does it take to collect them?", "s", days, ("1 day", "100 days"), (
            Misconception("one arm", lambda p, arm: days(p, arm) / 2, 0.5, "There are two arms to fill."),
            Misconception("all users", lambda p, arm: days(p, arm) * p.share, 0.25, "Only a share of the users enters the test."))),
        Part("half", "How long if the effect to find were half as large?", "s", lambda p, days: 4 * days, ("1 day", "400 days"), (
            Misconception("twice as long", lambda p, days: 2 * days, 0.25, "Users needed grow with the inverse square of the effect."),
            Misconception("half as long", lambda p, days: days / 2, 0.0, "A smaller effect is harder to see.")))))
