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
