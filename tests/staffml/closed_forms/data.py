"""Closed forms of the templates in data: the second path to every answer."""


def input_trace(p):
    normal = {"storage": p.batch * p.sample / p.read, "decode": p.batch * p.decode / p.workers, "link": p.batch * p.decoded / p.link,
              "accelerator": p.batch / p.takes}
    trace = normal | {p.fault: normal[p.fault] * p.slow}
    ill = [stage for stage in normal if trace[stage] > 1.1 * normal[stage]]
    return {"fault": ill[0], "mended": (max(normal.values()), {"in turn": sum(normal.values()), "as it is, in turn": sum(trace.values()),
                                                               "the fastest": min(normal.values())})}
