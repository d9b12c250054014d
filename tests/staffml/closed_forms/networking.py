"""Closed forms of the templates in networking: the second path to every answer."""
import math


def ring_all_reduce(p):
    """Step by step: each of the 2 (n - 1) steps sends an n-th part."""
    def ring(size, rate, latency=0.0):
        return sum(latency + size / p.ranks / rate for _ in range(2 * (p.ranks - 1)))

    size = p.params * p.bytes_per
    return {
        "ring": (ring(size, p.rate), {"one pass": ring(size, p.rate) / 2, "bits as bytes": ring(size, 8 * p.rate),
                                      "through one": ring(size, p.rate) * p.ranks}),
        "bucket": (ring(p.bucket, p.rate, p.latency), {
            "one start": ring(p.bucket, p.rate) + p.latency, "no return": ring(p.bucket, p.rate, p.latency) / 2,
            "bits as bytes": ring(p.bucket, 8 * p.rate, p.latency)}),
    }


def round_trip(p):
    there = p.distance / (p.light / p.index)
    turns = 0
    while (turns + 1) * 2 * there <= p.budget:
        turns += 1
    one_way = 0
    while (one_way + 1) * there <= p.budget:
        one_way += 1
    return {"trip": (2 * there, {"one way": there, "in vacuum": 2 * p.distance / p.light, "slower twice": 2 * there * p.index}),
            "turns": (turns, {"one way": one_way})}


def oversubscribed(p):
    """Bytes that leave a leaf, over what its links up carry."""
    away = p.hosts - p.down                                                 # hosts that a host reaches through the spines
    rate = p.up * p.card / (p.down * away / (p.hosts - 1))
    data = p.size - p.size / p.hosts
    return {
        "over": (p.down / p.up, {"share of the ports": 1 + p.down / p.up, "upside down": p.up / p.down}),
        "rate": (rate, {"full rate": p.card, "all goes up": p.card * p.up / p.down, "share of the hosts": p.card * p.down / p.hosts}),
        "shuffle": (data / rate, {"card's rate": data / p.card, "bits as bytes": data / rate / 8, "through one leaf": p.leaves * data / rate}),
    }


def shared_queue(p):
    """M/M/1 by its formula; M/M/c by the sum over its states."""
    def mean(servers):
        load = p.rate * p.service
        idle = 1 / (sum(load**k / math.factorial(k) for k in range(servers))
                    + load**servers / math.factorial(servers) / (1 - load / servers))
        line = idle * load**servers / math.factorial(servers) * (load / servers) / (1 - load / servers) ** 2
        return p.service + line / p.rate

    own = 1 / (1 / p.service - p.rate / p.servers)
    fewest = p.servers
    while fewest - 1 > p.rate * p.service and mean(fewest - 1) <= own:
        fewest -= 1
    return {
        "own": (own, {"no waiting": p.service, "waiting only": own - p.service, "one queue": mean(p.servers)}),
        "shared": (mean(p.servers), {"one fast box": own / p.servers, "as before": own, "no waiting": p.service}),
        "boxes": (fewest, {"all of them": p.servers, "one for all": 1}),
    }


def ship_disks(p):
    line = p.link * p.share
    copy = p.size / p.copy
    even = p.trip * line * p.copy / (p.copy - 2 * line)
    return {
        "wire": (p.size / line, {"bits as bytes": p.size / line / 8, "milli for kilo": p.size / line / 1000}),
        "courier": (copy + p.trip + copy, {"trip only": p.trip, "copied once": copy + p.trip}),
        "even": (even, {"trip only": p.trip * line, "whole line": p.trip * p.link, "in bits": 8 * even}),
    }
