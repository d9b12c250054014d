"""Closed forms of the templates in precision: the second path to every answer."""


def block_scale(p):
    bits = (p.block * p.width + p.scale) / p.block                          # a block, shared out
    size = p.params * bits / 8
    token = size / p.bandwidth
    return {
        "bits": (bits, {"no scale": p.width}),
        "size": (size, {"no scale": p.params * p.width / 8, "bits as bytes": p.params * bits, "GiB as GB": size / 1024**3 * 1000**3}),
        "token": (token, {"bandwidth in bits": 8 * token, "written back": 2 * token, "unquantized": 2 * p.params / p.bandwidth}),
    }


def int8_flash(p):
    room = p.flash - p.code
    return {
        "size": (p.params, {"fp32": 4 * p.params, "half": 2 * p.params, "bits as bytes": 8 * p.params}),
        "fit": (room, {"fp32": room / 4, "no program": p.flash, "bits": 8 * room}),
    }


def weight_only(p):
    """Two lines of time over tokens of answer, and where they cross."""
    work = 2 * p.params * p.prompt_tokens
    first, first8 = work / (p.half * p.reached), work / (p.whole * p.reached)
    token, token8, token16 = ((p.params * b + p.cache) / p.bandwidth for b in (p.bits / 8, 1, 2))
    cross = (first - first8) / (token8 - token)
    assert abs(first + cross * token - (first8 + cross * token8)) < 1e-9 * first
    return {
        "first": (first, {"fewer bits": first / 4, "int8 rate": first8}),
        "token": (token, {"no cache": token - p.cache / p.bandwidth, "all quantized": token16 / 4, "fp16": token16}),
        "even": (cross, {"prompt in turn": first / (token8 - token), "over the token": (first - first8) / token,
                         "against fp16": (first - first8) / (token16 - token)}),
    }


def mixed_training(p):
    before = {"products": p.step * p.arithmetic, "traffic": p.step * p.traffic}
    optimizer = p.step - sum(before.values())
    products = before["products"] * p.high / p.low
    step = products + before["traffic"] / 2 + optimizer
    return {
        "products": (products, {"half": before["products"] / 2, "whole step": p.step * p.high / p.low}),
        "step": (step, {"traffic as before": step + before["traffic"] / 2, "optimizer too": step - optimizer / 2, "products only": products}),
        "gain": (p.step / step, {"ratio of peaks": p.low / p.high, "half the bytes": 2,
                                 "products alone": p.step / (products + before["traffic"] + optimizer)}),
    }


def binary_weights(p):
    """Cycles: the int8 kernel's from its multiply-adds, the binary one's word by word."""
    macs = p.inputs * p.outputs
    whole, words = macs / (p.peak / 2 * p.reached), p.outputs * (p.inputs // p.word)
    binary = words * p.steps / p.clock
    return {
        "saved": (macs * 7 / 8, {"what is left": macs / 8, "bits as bytes": 7 * macs}),
        "whole": (whole, {"MAC as OP": whole / 2, "at the peak": macs / (p.peak / 2)}),
        "binary": (binary, {"one cycle a word": words / p.clock, "bit by bit": macs * p.steps / p.clock}),
        "gain": (whole / binary, {"bits": 8, "bits of a word": 32, "upside down": binary / whole}),
    }
