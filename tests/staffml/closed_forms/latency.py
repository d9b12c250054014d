"""Closed forms of the templates in latency: the second path to every answer."""
import math


def single_server(p):
    """The M/M/1 queue: time in the system is exponential with rate service rate less arrival rate."""
    mu = 1 / p.service
    load = p.rate / mu
    mean = 1 / (mu - p.rate)
    constant = p.service * (1 + load / (2 * (1 - load)))                    # Pollaczek and Khinchine without variance
    odds = math.log(1 / (1 - p.share))
    return {
        "load": (load, {"idle share": 1 - load}),
        "mean": (mean, {"no waiting": p.service, "waiting only": mean * load, "constant service": constant}),
        "tail": (mean * odds, {"the mean": mean, "linear": mean / (1 - p.share)}),
    }


def frame_budget(p):
    compute, memory = p.work / (p.efficiency * p.peak), p.traffic / p.bandwidth
    network = max(compute, memory)
    frames = math.floor(1 / (network + p.rest))
    return {
        "time": (network, {"MAC as OP": max(compute / 2, memory), "printed peak": max(p.work / p.peak, memory),
                           "traffic in bits": 8 * memory}),
        "frames": (frames, {"network only": math.floor(1 / network), "rounded up": frames + 1}),
        "double": (max(network, p.rest), {"still in turn": network + p.rest, "half": (network + p.rest) / 2,
                                          "the shorter": min(network, p.rest)}),
    }


def slow_service(p):
    """The cause from the table alone: what Little's law leaves when the rate is taken out; waiting by Erlang's own sum."""
    rate, service, servers = p.rate, p.service, p.servers
    if p.fault == "arrivals":
        rate *= p.more
    elif p.fault == "service":
        service *= p.more
    else:
        servers -= 1
    erlangs = rate * service
    terms = [erlangs**k / math.factorial(k) for k in range(servers)]
    last = erlangs**servers / math.factorial(servers) * servers / (servers - erlangs)
    mean = service + last / (sum(terms) + last) * service / (servers - erlangs)
    assert mean > p.service
    cause = "arrivals" if rate > p.rate else "service" if erlangs / rate > p.service * 1.01 else "servers"
    load = erlangs / servers
    return {"cause": cause, "load": (load, {"idle share": 1 - load, "last week": p.rate * p.service / p.servers})}
