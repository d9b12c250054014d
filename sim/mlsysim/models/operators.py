"""Operators of a transformer's layers on one device, for a Transformer `m`.

op(name, kind, m, n, k, groups, reads=..., writes=...) makes an Op beside which the residual vectors are alive.
"""

import numpy as np

from ..errors import SimError
from ..graph import Op

# Instructions of a random number (Philox, ten rounds of eight for four numbers, and a comparison; Salmon et al. 2011, table 2), of a
# softmax and of an activation of a feed-forward layer with an exponential or error function (CUDA Math API, single precision).
RANDOM, EXP, SMOOTH = 25.0, 15.0, 25.0


def refuse(model, other, takes):
    """SimError if there are `other` arguments, naming what the graph of that model takes."""
    if other:
        wrong = ", ".join(sorted(other))
        raise SimError(f"{wrong}: {model.title} is a {model.kind} model and takes no {wrong}; its graph takes {takes}")


def attention(m, op, batch, tokens, context, tp, flash, grouped=True, execution="fused", training=False, widen=1.0):
    d, L, rows = m.width, m.layers, batch * tokens
    h = m.heads // tp
    seen = context + ((tokens + 1) / 2 if m.causal else tokens)  # keys that a query sees, on average
    if m.kv_rank:
        ops, wide = latent(m, op, batch, tokens, context, seen, h), h * m.value_dim
    else:
        kv = max(m.kv_heads // tp, 1)
        q, k = h * m.head_dim, kv * m.head_dim
        biases = q + 2 * k if m.bias in ("qkv", "all") else 0
        ops = [op("query, key, value", "gemm", rows, q + 2 * k, d, weights=d * (q + 2 * k) + biases,
                  reads=rows * d, writes=rows * (q + 2 * k), count=L)]  # fmt: skip
        if not m.positions and not m.alibi:
            ops.append(op("rotary positions", "vector", flop=6 * rows * (q + k), reads=rows * (q + k), writes=rows * (q + k),
                          live=rows * (q + 2 * k), count=L))  # fmt: skip
        else:  # bias, heads apart, keys and values into the cache: a kernel too (FasterTransformer, add_QKV_bias_transpose)
            ops.append(op("heads apart", "vector", reads=rows * (q + 2 * k), writes=rows * (q + 2 * k), count=L))
        wide = q
        if execution != "fused" and not flash:
            ops += apart(m, op, batch, tokens, context, h, execution, training, widen)
        else:
            ops.append(op("attention", "attention", tokens * (h / kv), m.head_dim, context + tokens, batch * kv,
                          flop=4 * rows * h * seen * m.head_dim, reads=rows * (q + 2 * k), writes=rows * q,
                          cache=2 * batch * (k if grouped else q) * context, count=L))  # fmt: skip
    if not flash and execution == "fused":  # scores and probabilities go to memory and come back, the softmax in between
        full = rows * h * (context + tokens)
        ops.append(op("scores in memory", "vector", flop=5 * full, reads=2 * full, writes=2 * full,
                      live=2 * full + rows * wide, count=L))  # fmt: skip
    ops.append(op("attention output", "gemm", rows, d, wide, weights=d * wide + (d if m.bias == "all" else 0),
                  reads=rows * wide, writes=rows * d, count=L))  # fmt: skip
    return ops


def casts(params, widen):
    """Weights are kept in 32 bits by mixed precision: each pass reads them and writes them in 16."""
    return [Op("cast weights", "vector", reads=widen * params, writes=params, back=(params, widen * params, 0.0))] if widen > 1 else []


def apart(m, op, batch, tokens, context, h, execution, training, widen):
    """Attention as a framework runs it: two products of all heads, and what lies between them as passes over the scores.

    Eager: scale, mask, softmax and dropout each read and write them. Compiled: two reductions read them and one pass writes the
    probabilities. Dropout keeps a mask of a byte a score, half an element.
    """
    d, keys, L = m.head_dim, context + tokens, m.layers
    rows, full = batch * tokens * h, batch * tokens * h * keys
    wide = full * widen
    if execution == "eager":
        steps = [("scale", 1, full, full, (full, full, full)), ("mask", 1, full, full, (0.0, 0.0, 0.0)), ("softmax", EXP, wide, wide, None)]
        steps += [("dropout of scores", RANDOM, wide, full * 1.5, (1.5 * wide, wide, 2 * full))] * training
    else:
        steps = [("softmax", EXP + RANDOM * training, 3 * wide, full * (1 + training / 2), (3 * full, full, 8 * full))]
    return [
        op("scores", "gemm", tokens, keys, d, batch * h, reads=rows * d + batch * keys * h * d, writes=full, count=L),
        *[op(name, "vector", flop=each * full, reads=reads, writes=writes, back=back, count=L)
          for name, each, reads, writes, back in steps],
        op("weighted values", "gemm", tokens, d, keys, batch * h, reads=full + batch * keys * h * d, writes=rows * d, count=L),
        op("heads together", "vector", reads=rows * d, writes=rows * d, back=(rows * d, rows * d, 0.0), count=L),
    ]


def between(m, op, rows, execution, training):
    """What eager frameworks do in passes of their own around the norms, which read two vectors and write one as it is:
    dropout, with its mask of a byte an element, and the addition of the residual, which is written and read again.
    """
    wide, count = rows * m.width, m.norms * m.layers
    if execution == "eager":
        yield op("addition", "vector", flop=wide, reads=wide, writes=wide, count=count)
    if training:
        eager = execution == "eager"
        yield op("dropout", "vector", flop=RANDOM * wide, reads=eager * wide, writes=(eager + 0.5) * wide,
                 back=((eager + 0.5) * wide, eager * wide, 2 * wide), count=count)  # fmt: skip


def masked_words(m, op, rows):
    """The head that predicts masked words: a layer, its norm, the product with the embedding, a cross-entropy in fp32."""
    d, V = m.width, m.vocab
    return [
        op("words", "gemm", rows, d, d, weights=d * (d + 1), reads=rows * d, writes=rows * d),
        op("words norm", "vector", flop=13 * rows * d, reads=3 * rows * d, writes=2 * rows * d),
        op("vocabulary", "gemm", rows, V, d, weights=V * (d + 1), reads=rows * d, writes=rows * V),
        op("loss", "vector", flop=5 * rows * V, reads=3 * rows * V, writes=4 * rows * V),
    ]


def latent(m, op, batch, tokens, context, seen, h):
    """Multi-head latent attention: keys and values are kept as one short vector a token.

    A prompt expands that vector into the keys and values of every head, those of the context too; a decoding step
    multiplies the queries into it instead. Whichever takes fewer FLOP. Source: DeepSeek-AI 2024, DeepSeek-V2, section 2.1.
    """
    d, L, rows, r, rope = m.width, m.layers, batch * tokens, m.kv_rank, m.rope_dim
    nope, v, q_rank = m.head_dim - rope, m.value_dim, m.q_rank
    wide, up, keys = h * m.head_dim, m.expansion(h), batch * (context + tokens)
    down = (q_rank or wide) + r + rope
    ops = [op("query and latent", "gemm", rows, down, d, weights=d * down, reads=rows * d, writes=rows * down, count=L)]
    if q_rank:
        ops.append(op("query up", "gemm", rows, wide, q_rank, weights=q_rank * wide, reads=rows * q_rank,
                      writes=rows * wide, count=L))  # fmt: skip
    turned = rows * (h + 1) * rope
    ops.append(op("rotary positions", "vector", flop=6 * turned, reads=turned, writes=turned, count=L))
    expanded = 2.0 * keys * up, 2.0 * rows * h * seen * (m.head_dim + v)
    absorbed = 2.0 * rows * up, 2.0 * rows * h * seen * (2 * r + rope)
    absorb = sum(absorbed) < sum(expanded)

    def pick(a, b):
        return np.where(absorb, a, b)

    latents, new = batch * context * (r + rope), rows * (r + rope)
    ops.append(op("latent up", "gemm", pick(rows, keys), pick(r, h * (nope + v)), pick(nope + v, r), pick(h, 1),
                  flop=pick(absorbed[0], expanded[0]), weights=up, reads=pick(rows * h * (nope + r), rows * r),
                  writes=pick(rows * h * (r + v), keys * h * (nope + v)), cache=pick(0, latents), count=L))  # fmt: skip
    ops.append(op("attention", "attention", pick(tokens * h, tokens), pick(r, m.head_dim), context + tokens,
                  pick(batch, batch * h), flop=pick(absorbed[1], expanded[1]),
                  reads=pick(rows * h * (r + rope) + new, rows * wide + keys * h * (m.head_dim + v)),
                  writes=pick(rows * h * r, rows * h * v), cache=pick(latents, 0), count=L))  # fmt: skip
    return ops


def feed_forward(m, op, name, rows, hidden, count, groups=1, touched=None, smooth=5.0):
    d, wide = m.width, (2 if m.gated else 1)
    touched = groups if touched is None else touched
    bias = m.bias in ("feed-forward", "all")
    return [
        op(f"{name} in", "gemm", rows, wide * hidden, d, groups, weights=touched * wide * hidden * (d + bias),
           reads=rows * groups * d, writes=rows * groups * wide * hidden, count=count),
        op(f"{name} activation", "vector", flop=smooth * rows * groups * hidden, reads=rows * groups * wide * hidden,
           writes=rows * groups * hidden, count=count),
        op(f"{name} out", "gemm", rows, d, hidden, groups, weights=touched * (d * hidden + bias * d),
           reads=rows * groups * hidden, writes=rows * groups * d, count=count),
    ]  # fmt: skip


def mixture(m, op, rows, tp, count):
    """Experts, routed evenly: of E experts, E (1 - (1 - a/E)^rows) are expected to get a token."""
    E, a = m.experts, m.active
    touched = E * (1 - (1 - a / E) ** rows)
    ops = [op("router", "gemm", rows, E, m.width, weights=E * m.width, reads=rows * m.width, writes=rows * E,
              count=count)]  # fmt: skip
    copies = rows * m.width * (1 + a)  # a token goes to each of its experts' rows, and their answers come back as one
    ops.append(op("permutation", "vector", flop=2 * rows * a * m.width, reads=copies, writes=copies, count=count))
    ops += feed_forward(m, op, "experts", rows * a / touched, m.expert_hidden / tp, count, touched)
    if m.shared:
        ops += feed_forward(m, op, "shared experts", rows, m.shared * m.expert_hidden / tp, count)
    return ops
