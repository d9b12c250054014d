"""A page that waits for many shards: how often one of them is slow, what each may afford, and the time that this takes."""
from mlsysim import queueing
from staffml import Misconception, Part, Template


def each(p):
    return 1 - (1 - p.late) ** (1 / p.shards)


def within(p, late):
    return queueing.mmc(p.rate, p.service).quantile(1 - late)


template = Template(
    title="The slowest of many shards", area="latency", topic="tail-latency", track="cloud", level="L4", chapter="V2-10", minutes=12,
    requires=("latency/single_server",),
    space={"shards": (10, 16, 20, 25, 32, 40, 50, 64, 80, 100), "slow": (0.01, 0.02, 0.05), "late": (0.01, 0.02, 0.05, 0.1),
           "service": (0.002, 0.004, 0.005, 0.008, 0.01), "rate": (20, 30, 40, 50, 60, 75, 80, 90)},
    where=lambda p: p.shards * p.slow < 1 and p.rate * p.service < 1 - 1 / 8,
    prompt="""
        A search page asks {shards} shards at the same time and waits for all of them. Each shard is a server that takes one request
        at a time; requests arrive at random (Poisson), {rate} a second, and service times are exponential with a mean of {service:ms}.
        Take shards as independent of each other.""",
    parts=(
        Part("pages", "A shard is called slow for the slowest {slow:%} of its requests. What share of pages meets at least one slow shard?",
             "%", lambda p: 1 - (1 - p.slow) ** p.shards, ("5 %", "99.9 %"), (
            Misconception("one shard", lambda p: p.slow, 0.0, "A page is as slow as the slowest of its shards."),
            Misconception("added up", lambda p: p.shards * p.slow, 0.25,
                          "Chances add up only while they are small: a page with two slow shards is counted twice."),
            Misconception("none slow", lambda p: (1 - p.slow) ** p.shards, 0.25, "That is the share of pages that meet none."))),
        Part("each", "At most {late:%} of pages may be late. What share of its requests may a shard be late with?", "%", each,
             ("0.001 %", "2 %"), (
            Misconception("the same", lambda p: p.late, 0.0, "Then far more pages than that would have a late shard."),
            Misconception("of all shards", lambda p: 1 - (1 - p.late) ** p.shards, 0.0, "That goes from shards to pages, not back."))),
        Part("time", "Which time is that for a shard, waiting included?", "s", lambda p, each: within(p, each), ("1 ms", "1 s"), (
            Misconception("of a page", lambda p: within(p, p.late), 0.25, "That is the time for a page with a single shard."),
            Misconception("no waiting", lambda p, each: queueing.mmc(p.rate / 1e9, p.service).quantile(1 - each), 0.25,
                          "Requests wait in line as well."),
            Misconception("the mean", lambda p: queueing.mmc(p.rate, p.service).seconds, 0.0, "The mean says little about the tail.")))))
