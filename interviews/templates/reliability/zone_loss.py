"""One of several zones is lost: what the others bear, and how full they may be before."""
from staffml import Choice, Misconception, Part, Template


def after(p):
    return p.load * p.zones / (p.zones - 1)


def plan(p):
    return p.limit * (p.zones - 1) / p.zones


template = Template(
    title="A zone is lost", area="reliability", topic="graceful-degradation", track="global", level="L1", chapter="V2-07", minutes=4,
    space={"zones": (3, 4, 5, 6), "load": (0.28, 0.3, 0.32, 0.34, 0.35, 0.36, 0.38, 0.4, 0.42, 0.44, 0.45, 0.46, 0.48),
           "limit": (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)},
    prompt="""
        A translation service runs in {zones} equal zones around the world. Requests are spread evenly, and each zone is busy {load:%}
        of its capacity. One zone loses its power, and its requests are spread evenly over the others.""",
    parts=(
        Choice("after", "How busy is each of the others then?", "%", after, ("20 %", "100 %"), (
            Misconception("one more share", lambda p: p.load * (p.zones + 1) / p.zones, 0.25,
                          "The lost load is shared by the zones that are left, one fewer than there were."),
            Misconception("as before", lambda p: p.load, 0.0, "The requests of the lost zone have to go somewhere."),
            Misconception("one neighbour", lambda p: 2 * p.load, 0.0, "All the others share it, not one of them.")), tol=0.01),
        Part("plan", "How busy may zones be beforehand, for the others to stay at {limit:%} or less when one is lost?", "%", plan,
             ("30 %", "95 %"), (
            Misconception("no reserve", lambda p: p.limit, 0.0, "At that load there is no room for the requests of a lost zone."),
            Misconception("upside down", lambda p: p.limit / plan(p) * p.limit, 0.25, "Zones must be less busy beforehand, not more."),
            Misconception("reserve of a zone each", lambda p: p.limit / 2, 0.25, "That is a spare for every zone; one for all will do.")),
            tol=0.01)))
