"""Closed forms of the templates in latency: the second path to every answer."""
import itertools
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
                           "traffic alone": memory}),
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


def fan_out(p):
    """Chances of all shards being in time, multiplied out; the time in an M/M/1 queue is exponential."""
    none = 1.0
    for _ in range(p.shards):
        none *= 1 - p.slow
    each = -math.expm1(math.log1p(-p.late) / p.shards)
    mean = 1 / (1 / p.service - p.rate)
    return {
        "pages": (1 - none, {"one shard": p.slow, "added up": p.slow * p.shards, "none slow": none}),
        "each": (each, {"the same": p.late, "of all shards": -math.expm1(p.shards * math.log1p(-p.late))}),
        "time": (-mean * math.log(each), {"of a page": -mean * math.log(p.late), "the mean": mean}),
    }


def camera_batch(p):
    """Frames by number: the first comes at 0, the last of the batch after it one gap at a time."""
    gap = 1 / (p.cameras * p.frames)
    fill = sum(gap for _ in range(p.batch - 1))

    def run(frames, work=p.work):
        return max(frames * work / (p.peak * p.reached), (p.weights + frames * p.activations) / p.bandwidth)

    service = run(p.batch)
    load = service / (p.batch * gap)
    return {
        "fill": (fill, {"one more": p.batch * gap, "one camera": (p.batch - 1) / p.frames, "half": fill / 2}),
        "service": (service, {"one frame": run(1), "MAC as OP": run(p.batch, p.work / 2), "frame by frame": p.batch * run(1)}),
        "oldest": (fill + service, {"computing only": service, "waiting only": fill}),
        "load": (load, {"idle share": 1 - load, "of the oldest": service / (fill + service), "no batch": run(1) / gap}),
    }


def late_frames(p):
    """A frame leaves a step when it has come and the one before has left, and then after its time there."""
    free, delays = [0.0, 0.0, 0.0], []
    for i in range(p.frames):
        crop, network = p.crop, p.network
        if p.fault == "crop":
            crop = p.period - p.draw / 2
        if p.fault == "load" or p.fault == "heat" and i >= p.at:
            network = p.period * (1 + p.over)
        if p.fault == "pause" and i == p.at:
            network = p.pause
        now = captured = (i + 1) * p.period
        for step, time in enumerate((crop, network, p.draw)):
            now = free[step] = max(now, free[step]) + time
        delays.append(now - captured)
    grows = [b - a > 1e-9 for a, b in itertools.pairwise(delays)]
    cause = "crop" if not any(grows) else "load" if all(grows) else "heat" if grows[-1] else "pause"
    plan = p.crop + p.network + p.draw
    return {"plan": (plan, {"slowest step": max(p.crop, p.network, p.draw), "one period each": 3 * p.period, "and a period": plan + p.period}),
            "cause": cause}


def two_tasks(p):
    """The schedule played out in whole microseconds."""
    infer, control, period = (round(x * 1e6) for x in (p.infer, p.control, p.period))
    now, left = 0, infer
    while left:
        now += control                                                      # a control task starts and runs
        ran = min(left, period - control)
        now, left = now + ran, left - ran
    response = now / 1e6
    load = (p.control * p.deadline + p.infer * p.period) / (p.period * p.deadline)
    again = p.infer + math.ceil(p.infer / p.period) * p.control
    return {
        "load": (load, {"inference only": p.infer / p.deadline, "control only": p.control / p.period}),
        "response": (response, {"alone": p.infer, "once": p.infer + p.control, "not while waiting": again}),
        "margin": (p.deadline - response, {"alone": p.deadline - p.infer, "by load": p.deadline * (1 - load)}),
    }


def fallback(p):
    on_npu = p.share * p.work / (p.peak * p.reached)
    on_cpu, changes = (p.work - p.share * p.work) / p.cpu, p.crossings * p.copy
    whole = on_npu + on_cpu + changes
    return {
        "npu": (on_npu, {"all the work": p.work / (p.peak * p.reached), "MAC as OP": on_npu / 2, "at the peak": p.share * p.work / p.peak}),
        "whole": (whole, {"changes left out": on_npu + on_cpu, "one change": on_npu + on_cpu + p.copy, "share of operators": on_npu / p.share}),
        "limit": (whole / (on_cpu + changes), {"one over the rest": 1 / (1 - p.share), "the rest vanishes": whole / on_npu,
                                                "changes vanish": whole / on_cpu}),
    }
