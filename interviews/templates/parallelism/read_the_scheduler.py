"""Four jobs on a shared cluster, and when each started and ended. Which policy made this schedule, and how full was the cluster?"""
from mlsysim.simulate import cluster
from staffml import Cause, Diagnosis, Misconception, Part, Table, Template

JOBS = ("a", "b", "c", "d")


def jobs(p):
    """The first takes three quarters of the devices, the second all, the last two a quarter each."""
    seconds, part = [p[job] for job in JOBS], p.devices // 4
    return cluster.Jobs([i * p.gap for i in range(len(JOBS))], [p.devices - part, p.devices, part, part], seconds, seconds, JOBS)


def run(p):
    return cluster.simulate_cluster(jobs(p), p.devices, policy=p.policy)


def schedule(p):
    known, seen = jobs(p), run(p)
    return Table((("job", None), ("devices", ""), ("came", ""), ("needs", ""), ("started", ""), ("ended", "")), tuple(
        (job.upper(), known.gpus[i], *(t / 60 for t in (known.arrival[i], known.seconds[i], min(seen.start[seen.job == i]),
                                                         max(seen.end[seen.job == i])))) for i, job in enumerate(JOBS)),
        tells=("policy", *JOBS, "gap"))


def shows(table, p):
    if any(ended - started > needs + 1 for *_, needs, started, ended in table.rows):
        return "shortest"                               # somebody was stopped
    starts = [row[-2] for row in table.rows]
    return "fifo" if starts == sorted(starts) else "backfill"


template = Template(
    title="Read the scheduler", area="parallelism", topic="scheduling-resource-management", track="cloud", level="L5", chapter="V2-08",
    minutes=12,
    space={"policy": ("fifo", "backfill", "shortest"), "devices": (8, 16, 32, 64, 128), "gap": (300.0,), "a": tuple(m * 60.0 for m in
           (80, 90, 100, 110, 120)), "b": (1200.0, 1500.0, 1800.0, 2100.0), "c": (2400.0, 3000.0, 3600.0), "d": (3900.0, 4500.0, 5400.0)},
    hidden=("policy",), table=schedule,
    prompt="""
        A scheduler owns {devices} devices. A job needs all of its devices at the same time, users say in advance how long it works, and
        stopping a job and going on later costs nothing. The log of one morning is below, in minutes from its beginning.""",
    parts=(
        Diagnosis("policy", "Which policy made this schedule?", "policy", (
            Cause("fifo", "First come, first served: nobody starts before those who came earlier.", 0.0,
                  "In strict order no job passes an earlier one, and none is stopped; compare starts, ends and needs."),
            Cause("backfill", "In order, but a later job may start early where that does not delay the first in line.", 0.0,
                  "Backfilling never stops a job, and it would have used the devices that the first job leaves free."),
            Cause("shortest", "Whoever has least work left goes first, and running jobs are stopped for that.", 0.0,
                  "No job here ends later than its start and its needs say, so none was stopped.")), shows),
        Part("full", "What share of the devices' time was used, from the first arrival to the last end?", "%", lambda p: run(p).utilization,
             ("20 %", "100 %"), (
            Misconception("idle share", lambda p: 1 - run(p).utilization, 0.25, "That is the share that nobody used."),
            Misconception("jobs alike", lambda p: sum(jobs(p).seconds) / run(p).span / len(JOBS), 0.25,
                          "A job that holds more devices weighs more: count device-seconds."),
            Misconception("as if at once", lambda p: max(jobs(p).seconds) / run(p).span, 0.0,
                          "Count what every job used, not the longest one.")))))
