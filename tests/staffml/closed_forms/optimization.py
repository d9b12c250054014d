"""Closed forms of the templates in optimization: the second path to every answer."""


def kernel_fusion(p):
    tensor = p.elements * p.bytes_per
    apart = sum(2 * tensor for _ in range(p.operations))
    each, launches = 2 * tensor / p.bandwidth, p.operations * p.launch
    time, fused = p.operations * each + launches, each + p.launch
    return {
        "traffic": (apart, {"reads only": apart / 2, "once": 2 * tensor}),
        "time": (time, {"one launch": p.operations * each + p.launch, "no launch": p.operations * each}),
        "saved": (time - fused, {"all of it": time, "what is left": fused, "launches only": launches - p.launch}),
    }
