"""Closed forms of the templates in parallelism: the second path to every answer."""


def pipeline_bubble(p):
    """From the time line: the last stage starts p - 1 forward passes late and the first ends p - 1 backward passes later."""
    passes = 3 * p.forward                                                  # forward and backward of one micro-batch
    work, waiting = p.micro * passes, (p.stages - 1) * passes
    step = work + waiting
    idle = waiting / step
    return {
        "idle": (idle, {"over the work": waiting / work, "both ends": 2 * idle, "micro over all": p.stages / p.micro / 2}),
        "step": (step, {"no bubble": work, "forward only": step / 3, "in turn": p.stages * work}),
        "kept": (p.stages * p.size, {"all of them": p.micro * p.size, "one": p.size, "half of the way": p.size * p.stages / 2}),
    }


def global_batch(p):
    replicas = p.devices // p.group
    batch = replicas * p.micro * p.accumulate
    steps = p.tokens / batch / p.context
    return {
        "batch": (batch, {"every device": p.devices * p.micro * p.accumulate, "one micro-batch": replicas * p.micro,
                          "one replica": p.micro * p.accumulate}),
        "steps": (steps, {"no accumulation": steps * p.accumulate, "sequences as tokens": p.tokens / batch, "one replica": steps * replicas}),
    }


def tensor_limits(p):
    """Step by step: a ring of n devices sends an n-th part 2 (n - 1) times."""
    size = 2 * p.tokens * p.width

    def rings(n, rate):
        return sum(4 * p.layers * size / n / rate for _ in range(2 * (n - 1)))

    inside = rings(p.ranks, p.near)
    return {
        "size": (size, {"a device's part": size / p.ranks, "weights": 2 * p.width * p.width, "a byte a number": p.tokens * p.width}),
        "inside": (inside, {"once round": inside / 2, "size over rate": 4 * p.layers * size / p.near, "one layer": inside / p.layers}),
        "slower": (rings(2 * p.ranks, p.far) / inside, {"rates only": p.near / p.far, "twice": 2, "half as long": p.near / p.far / 2}),
    }


def bucket_overlap(p):
    """Bucket after bucket: it starts when it is full and the one before is done."""
    def ring(size, rate):
        return 2 * (p.ranks - 1) * (p.latency + size / p.ranks / rate)

    size = 2 * p.params
    bucket, end = ring(size / p.buckets, p.rate), 0.0
    for i in range(p.buckets):
        end = max(end, (i + 1) * p.backward / p.buckets) + bucket
    exposed, compute = end - p.backward, 1.5 * p.backward
    return {
        "bucket": (bucket, {"all of it": ring(size, p.rate), "once round": bucket / 2, "bits as bytes": ring(size / p.buckets, 8 * p.rate)}),
        "exposed": (exposed, {"not hidden at all": p.buckets * bucket, "difference": p.buckets * bucket - p.backward, "last bucket": bucket}),
        "step": (compute + exposed, {"one after another": compute + p.buckets * bucket, "all hidden": compute}),
    }


def read_the_scheduler(p):
    """Minute by minute: who runs is decided anew, with what is left of every job."""
    minutes = [round(x / 60) for x in (p.a, p.b, p.c, p.d)]
    came, left = [round(i * p.gap / 60) for i in range(4)], list(minutes)
    need, running, used, t = [p.devices * 3 // 4, p.devices, p.devices // 4, p.devices // 4], set(), 0, 0
    started, stopped = {}, False
    while any(left):
        there = [i for i in range(4) if came[i] <= t and left[i]]
        if p.policy == "shortest":
            room, chosen = p.devices, set()
            for i in sorted(there, key=lambda i: (left[i], i not in running, i)):
                if need[i] <= room:
                    chosen.add(i)
                    room -= need[i]
            stopped = stopped or any(left[i] for i in running - chosen)
            running = chosen
        else:
            running = {i for i in running if left[i]}
            free = p.devices - sum(need[i] for i in running)
            waiting = [i for i in there if i not in running]
            while waiting and need[waiting[0]] <= free:
                free -= need[waiting[0]]
                running.add(waiting.pop(0))
            if waiting and p.policy == "backfill":          # only the job that needs everything ever heads the line
                turn = t + max(left[i] for i in running)
                for i in waiting[1:]:
                    if need[i] <= free and t + left[i] <= turn:
                        free -= need[i]
                        running.add(i)
        for i in running:
            started.setdefault(i, t)
            left[i] -= 1
            used += need[i]
        t += 1
    passed = [started[i] for i in range(4)] != sorted(started[i] for i in range(4))
    share = used / (p.devices * t)
    return {"policy": "shortest" if stopped else "backfill" if passed else "fifo",
            "full": (share, {"idle share": 1 - share, "jobs alike": sum(minutes) / 4 / t, "as if at once": max(minutes) / t})}


def three_axes(p):
    replicas = p.count // p.tensor // p.stages
    micro = p.batch // replicas // p.each
    work, waiting = micro, p.stages - 1
    every = p.params / p.tensor / p.stages
    state = every * 4 + every * 12 / replicas
    return {
        "replicas": (replicas, {"tensor only": p.count // p.tensor, "stages only": p.count // p.stages}),
        "micro": (micro, {"all replicas": p.batch // p.each}),
        "idle": (waiting / (work + waiting), {"over the work": waiting / work, "whole batch": waiting / (p.batch // p.each + waiting)}),
        "state": (state, {"nothing split": every * 16, "tensor only": state * p.stages}),
    }
