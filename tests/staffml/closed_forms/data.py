"""Closed forms of the templates in data: the second path to every answer."""


def input_trace(p):
    normal = {"storage": p.batch * p.sample / p.read, "decode": p.batch * p.decode / p.workers, "link": p.batch * p.decoded / p.link,
              "accelerator": p.batch / p.takes}
    trace = normal | {p.fault: normal[p.fault] * p.slow}
    ill = [stage for stage in normal if trace[stage] > 1.1 * normal[stage]]
    return {"fault": ill[0], "mended": (max(normal.values()), {"in turn": sum(normal.values()), "as it is, in turn": sum(trace.values()),
                                                               "the fastest": min(normal.values())})}


def small_files(p):
    """Requests first, bytes second: whichever runs out."""
    size = p.samples * p.sample
    files, shards = max(p.samples / p.random, size / p.read), max(size / p.shard / p.random, size / p.read)
    return {
        "files": (files, {"rate alone": size / p.read, "per kilobyte": files * p.sample / 1000}),
        "shards": (shards, {"one file after another": p.samples / p.random, "bits as bytes": 8 * shards,
                            "requests alone": size / p.shard / p.random}),
        "even": (p.read / p.random, {"in bits": p.read * 8 / p.random, "this sample": p.sample}),
    }


def stream_lag(p):
    made = p.readings * p.size
    lasts, backlog = p.memory / p.size / p.readings, p.outage * p.readings * p.size
    return {
        "lasts": (lasts, {"a byte a reading": lasts * p.size, "rate of the link": p.memory / p.link, "bits as bytes": lasts / 8}),
        "backlog": (backlog, {"full memory": p.memory, "in minutes": backlog / 60}),
        "caught": (backlog / (p.link - made), {"whole link": backlog / p.link, "as long as it was down": p.outage,
                                               "both add": backlog / (p.link + made)}),
    }


def online_features(p):
    row = p.features * p.size
    memory, reads = p.goods * row * p.copies, p.candidates * p.requests
    return {"memory": (memory, {"one feature": memory / p.features, "milli for kilo": memory / 1000}),
            "reads": (reads, {"a read a request": p.requests, "a read a feature": reads * p.features, "a read a copy": reads * p.copies})}
