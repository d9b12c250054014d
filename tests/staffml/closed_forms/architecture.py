"""Closed forms of the templates in architecture: the second path to every answer."""


def separable_conv(p):
    """Multiply-accumulates position by position, two operations each."""
    positions = sum(1 for _ in range(p.side) for _ in range(p.side))
    standard = 2 * positions * p.outputs * p.inputs * p.kernel * p.kernel
    depthwise, pointwise = 2 * positions * p.inputs * p.kernel * p.kernel, 2 * positions * p.inputs * p.outputs
    separable = depthwise + pointwise
    time = separable / (p.peak * p.reached)
    return {
        "standard": (standard, {"MAC as OP": standard / 2, "one channel in": standard / p.inputs,
                                "filter in one direction": standard / p.kernel}),
        "separable": (separable, {"depthwise only": depthwise, "pointwise only": pointwise, "standard": standard}),
        "time": (time, {"at the peak": separable / p.peak, "MAC as OP": time / 2, "standard": standard / (p.peak * p.reached)}),
    }
