"""A service has become slow: more requests, slower ones, or a server lost? Read it from two lines of monitoring."""
from mlsysim import queueing
from staffml import Cause, Choice, Diagnosis, Misconception, Table, Template


def now(p):
    """Requests a second, seconds of service, servers: as they are today."""
    return (p.rate * (p.more if p.fault == "arrivals" else 1), p.service * (p.more if p.fault == "service" else 1),
            p.servers - (1 if p.fault == "servers" else 0))


def line(name, rate, service, servers):
    return name, rate, rate * service, float(queueing.mmc(rate, service, servers).seconds)


def monitor(p):
    return Table((("", None), ("requests a second", ""), ("requests in service", ""), ("mean time", "s")),
                 (line("last week", p.rate, p.service, p.servers), line("today", *now(p))), tells=("fault", "more", "rate"))


def shows(table, p):
    before, after = table.rows
    return "arrivals" if after[1] > before[1] else "service" if after[2] > before[2] else "servers"


template = Template(
    title="Why is it slow today?", area="latency", topic="profiling-bottleneck-analysis", track="edge", level="L4", chapter="V1-13",
    minutes=12, requires=("latency/single_server",),
    space={"fault": ("arrivals", "service", "servers"), "more": (1.25, 1.5), "servers": (4, 5, 6, 8, 10),
           "rate": (20, 30, 40, 50, 60, 80, 100, 120, 150), "service": (0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12)},
    hidden=("fault", "more"), table=monitor, figures={"load": lambda p: p.rate * p.service / p.servers},
    where=lambda p: p.rate * p.service > p.servers / 2 and max(r * s / n for r, s, n in [now(p)]) < 1 - 1 / 2**5,
    prompt="""
        A video service on the edge had {servers} servers last week, one line for all of them, random arrivals, and service times that
        are exponential with a mean of {service:ms}. One thing has changed since: more requests come, each takes longer, or one server
        is down and nobody noticed. Monitoring counts requests a second, requests in service on average, and the mean time of a request,
        waiting included.""",
    parts=(
        Diagnosis("cause", "What has changed?", "fault", (
            Cause("arrivals", "More requests come.", 0.0, "The rate of requests is what it was."),
            Cause("service", "Each request takes longer to serve.", 0.0,
                  "Little's law: requests in service over requests a second is the service time, and it is what it was."),
            Cause("servers", "One server is down.", 0.0, "Fewer servers would leave both counts as they were.")), shows),
        Choice("load", "What share of the time is a server that works busy today?", "%", lambda p: now(p)[0] * now(p)[1] / now(p)[2],
               ("20 %", "99 %"), (
            Misconception("idle share", lambda p: 1 - now(p)[0] * now(p)[1] / now(p)[2], 0.0, "That is the share in which it is idle."),
            Misconception("last week", lambda p: p.rate * p.service / p.servers, 0.25, "That was last week: {load:%}.")))))
