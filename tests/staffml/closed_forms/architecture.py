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


def mixture_of_experts(p):
    """The chance that no token of the batch wants an expert, token by token."""
    expert = 3 * p.width * p.hidden * p.bytes_per
    whole = p.layers * p.experts * expert
    nobody = 1.0
    for _ in range(p.batch):
        nobody *= (p.experts - p.active) / p.experts
    read, rate = whole * (1 - nobody), p.devices * p.bandwidth
    one = p.layers * p.active * expert
    return {
        "whole": (whole, {"active only": one, "one layer": p.experts * expert, "two matrices": whole * 2 / 3}),
        "read": (read, {"one token": one, "all different": one * p.batch, "everything": whole}),
        "step": (read / rate, {"one device": read / p.bandwidth, "one token": one / rate, "everything": whole / rate}),
    }


def image_tokens(p):
    """Twelve matrices of width squared a layer; a score and a weighted value for every pair of tokens."""
    tokens = (p.side // p.patch) ** 2
    weights = 2 * 12 * p.layers * tokens * p.width**2
    scores = 2 * 2 * p.layers * tokens**2 * p.width
    share = scores / (scores + weights)
    return {
        "tokens": (tokens, {"one side": p.side // p.patch, "pixels of a patch": p.patch**2}),
        "scores": (scores, {"scores only": scores / 2, "one layer": scores / p.layers}),
        "share": (share, {"over the rest": scores / weights, "no feed-forward": scores / (scores + weights / 3)}),
        "growth": (4 + 12 * share, {"linear": 4, "all quadratic": 16, "weighted the other way": 16 - 12 * share}),
    }


def embedding_tables(p):
    row = p.dim * p.bytes_per
    size, read = p.tables * p.rows * row, p.batch * p.tables * p.lookups * row
    devices = -(-size // int(p.memory))
    return {
        "size": (size, {"one table": p.rows * row, "three zeros": size / 1000}),
        "read": (read, {"one sample": read / p.batch, "one lookup": p.batch * p.tables * row, "the tables": size}),
        "devices": (devices, {"rounded down": devices - 1, "bits as bytes": -(-8 * size // int(p.memory))}),
    }


def search_energy(p):
    """Hours are what is compared: both ways keep the same devices busy."""
    space = 1
    for _ in range(p.layers):
        space *= p.options
    count = 1
    while count * p.scratch < p.supernet + count * p.test:
        count += 1
    free = 1
    while free * p.scratch < p.supernet:
        free += 1
    tests = 1
    while tests * p.test < p.supernet:
        tests += 1
    one = p.scratch * p.power
    return {
        "space": (space, {"added": sum(p.options for _ in range(p.layers)), "the other way round": p.layers**p.options}),
        "scratch": (p.candidates * p.devices * one, {"one device": p.candidates * one, "one candidate": p.devices * one}),
        "break": (count, {"tests are free": free, "over the test": tests}),
    }


def token_embedding(p):
    entries = p.vocab * p.width
    size = entries * p.bytes_per
    return {
        "size": (size, {"two copies": size + size, "bits as bytes": 8 * size, "width squared": p.width * p.width * p.bytes_per}),
        "share": (entries / p.params, {"bytes over parameters": size / p.params, "over the rest": entries / (p.params - entries)}),
    }


def encode_once(p):
    def prompt(params):
        return params * p.frames / (p.peak / 2 * p.reached)                 # multiply-adds over multiply-adds a second

    read = p.bytes_per / p.bandwidth
    encode, token, both = prompt(p.encoder), p.decoder * read, p.encoder + p.decoder
    whole = encode + sum(token for _ in range(p.tokens))
    return {
        "encode": (encode, {"at the peak": encode * p.reached, "MAC as OP": encode / 2, "decoder too": prompt(both)}),
        "token": (token, {"encoder too": both * read, "bits a second": 8 * token}),
        "whole": (whole, {"encoded again": p.tokens * encode + p.tokens * token, "one token": encode + token}),
        "more": ((prompt(both) + p.tokens * both * read) / whole, {
            "the same": 1, "parameters over the encoder's": both / p.encoder, "parameters over the decoder's": both / p.decoder}),
    }


def decoder_cost(p):
    """Matrix by matrix."""
    kv = p.kv_heads * p.head_dim
    attention, gated = p.width * p.width + 2 * p.width * kv + p.width * p.width, 3 * p.width * p.hidden
    layer, words = attention + gated, p.vocab * p.width
    whole = p.layers * layer + words
    scores = p.layers * p.heads * p.seen * (2 * p.head_dim + 2 * p.head_dim)
    return {
        "layer": (layer, {"a head for each query": 4 * p.width * p.width + gated, "two matrices": layer - gated / 3, "attention only": attention}),
        "whole": (whole, {"no vocabulary": whole - words, "head apart": whole + words}),
        "token": (2 * whole, {"MAC as FLOP": whole, "training": 6 * whole}),
        "scores": (scores, {"scores only": scores / 2, "KV heads": scores * p.kv_heads / p.heads, "one layer": scores / p.layers}),
    }
