"""Attention: forward, backward, and one step of decoding. These twins do hold the scores, those of one batch row."""

import numpy as np

from tinytorch._ext._reference import checks


def attention_forward(q, k, v, out, lse, causal=True, threads=0):
    """Write softmax(q k' / sqrt(D)) v into out, and the log of the sum of exponentials of each query into lse.

    q, out (B, T, H, D); k, v (B, S, G, D), where H / G neighbouring heads of q share one of k and v; lse (B, H, T). All but
    lse may be views in which D alone is contiguous. causal: query i, at position S - T + i, sees no later key.
    """
    _check("attention_forward", q, k, v, lse, causal, {}, {"out": (out, q.shape), "lse": (lse, lse.shape)})
    for b in range(len(q)):
        scores = _scores(q[b], k[b], causal)
        with np.errstate(all="ignore"):
            top = scores.max(-1, keepdims=True)
            weights = np.exp(scores - top)
            total = weights.sum(-1, keepdims=True)
            lse[b] = (top + np.log(total))[..., 0]
            out[b] = (weights / total @ _by_head(v[b], q.shape[2])).swapaxes(0, 1)


def attention_backward(q, k, v, out, lse, grad, dq, dk, dv, causal=True, threads=0):
    """Write the gradients for q, k and v, given that for out; out and lse are what attention_forward wrote.

    Shapes and layouts as there; grad and dq are like q, dk and dv like k.
    """
    _check("attention_backward", q, k, v, lse, causal, {"out": (out, q.shape), "grad": (grad, q.shape)},
           {"dq": (dq, q.shape), "dk": (dk, k.shape), "dv": (dv, k.shape)})
    heads, shared = q.shape[2], k.shape[2]
    for b in range(len(q)):
        queries, grads = q[b].swapaxes(0, 1), grad[b].swapaxes(0, 1)                            # (H, T, D)
        with np.errstate(all="ignore"):
            weights = np.exp(_scores(q[b], k[b], causal) - lse[b][..., None])                   # (H, T, S)
            delta = (out[b] * grad[b]).sum(-1).swapaxes(0, 1)[..., None]                        # (H, T, 1)
            slopes = weights * (grads @ _by_head(v[b], heads).swapaxes(1, 2) - delta) / q.dtype.type(q.shape[3] ** 0.5)
            dq[b] = (slopes @ _by_head(k[b], heads)).swapaxes(0, 1)
            for target, parts in ((dk, slopes.swapaxes(1, 2) @ queries), (dv, weights.swapaxes(1, 2) @ grads)):
                target[b] = parts.reshape(shared, heads // shared, *parts.shape[1:]).sum(1).swapaxes(0, 1)


def attention_decode(q, k, v, lengths, out, table=None, threads=0):
    """Write softmax(q k' / sqrt(D)) v into out, for one query a head and the keys and values of a cache.

    q, out (B, H, D); lengths (B,), int64, says how many keys each sequence has. Without a table, k and v are (B, S, G, D).
    With one, (B, N) of int64, they are (pages, S, G, D), and keys n S to n S + S - 1 of sequence b are in page table[b, n].
    k and v may be views in which D alone is contiguous.
    """
    table = _check_decode(q, k, v, lengths, out, table)
    for b, length in enumerate(lengths):
        pages = table[b, :-(-length // k.shape[1])]
        keys, values = (cache[pages].reshape(-1, *cache.shape[2:])[:length] for cache in (k, v))
        scores = _scores(q[b][None], keys, causal=False)
        with np.errstate(all="ignore"):
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[b] = (weights / weights.sum(-1, keepdims=True) @ _by_head(values, q.shape[1]))[:, 0]


def _by_head(x, heads):
    """(S, G, D) as (heads, S, D), each of the G repeated for the heads that share it."""
    return np.repeat(x.swapaxes(0, 1), heads // x.shape[1], 0)


def _scores(q, k, causal):
    """q k' / sqrt(D), (H, T, S); -inf where a query does not see a key."""
    with np.errstate(all="ignore"):
        scores = q.swapaxes(0, 1) @ _by_head(k, q.shape[1]).swapaxes(1, 2) / q.dtype.type(q.shape[2] ** 0.5)
    queries, keys = scores.shape[1:]
    if causal:
        scores[:, np.arange(queries)[:, None] + keys - queries < np.arange(keys)] = -np.inf
    return scores


def _wrong(kernel, text):
    return ValueError(f"{kernel}: {text}")


def _same(kernel, name, value, dtype, shape, writable=False):
    if value.dtype != dtype or not value.dtype.isnative or value.shape != shape or (writable and not value.flags.writeable):
        wanted = f"{'writable, ' if writable else ''}{dtype}, shape {shape}"
        raise _wrong(kernel, f"{name} must be {wanted}; got {value.dtype}, shape {value.shape}, writable {value.flags.writeable}")


def _fit_heads(kernel, q, k, heads):
    """heads is the axis of heads in q; that of k is the last but one."""
    if q.dtype not in (np.float32, np.float64):
        raise _wrong(kernel, f"q must be float32 or float64; got {q.dtype}")
    if q.shape[-1] != k.shape[-1] or q.shape[-1] == 0:
        raise _wrong(kernel, f"heads of q and k must be equally wide, 1 or more; got {q.shape[-1]} and {k.shape[-1]}")
    if k.shape[2] == 0 or q.shape[heads] % k.shape[2]:
        raise _wrong(kernel, f"heads of q must be a multiple of those of k and v; got {q.shape[heads]} and {k.shape[2]}")


def _check(kernel, q, k, v, lse, causal, inputs, targets):
    for name, value in (("q", q), ("k", k), ("v", v)):
        if value.ndim != 4:
            raise _wrong(kernel, f"{name} must have the axes (batch, position, head, width); got shape {value.shape}")
    _fit_heads(kernel, q, k, heads=2)
    _same(kernel, "k", k, q.dtype, (q.shape[0], *k.shape[1:]))
    _same(kernel, "v", v, q.dtype, k.shape)
    if k.shape[1] == 0:
        raise _wrong(kernel, "k and v hold no position; a query needs one at least")
    if causal and q.shape[1] > k.shape[1]:
        raise _wrong(kernel, f"causal attention of {q.shape[1]} queries needs as many keys or more; got {k.shape[1]}")
    checks.array(kernel, "lse", lse, q.dtype, (q.shape[0], q.shape[2], q.shape[1]))
    for name, (value, shape) in inputs.items():
        _same(kernel, name, value, q.dtype, shape)
    for name, (value, shape) in targets.items():
        _same(kernel, name, value, q.dtype, shape, writable=True)
    sources = [q, k, v, *(value for value, _ in inputs.values())] + ([] if "lse" in targets else [lse])
    outputs = [value for value, _ in targets.values()]
    for k, target in enumerate(outputs):
        if any(np.shares_memory(target, other) for other in sources + outputs[:k]):
            raise _wrong(kernel, "an output shares memory with another array; give it memory of its own")


def _check_decode(q, k, v, lengths, out, table):
    """Raise ValueError unless the arguments of attention_decode fit -> the table, made if there is none."""
    kernel = "attention_decode"
    if q.ndim != 3 or k.ndim != 4:
        raise _wrong(kernel, f"q must be (batch, head, width), k and v (page, position, head, width); got {q.shape} and {k.shape}")
    _fit_heads(kernel, q, k, heads=1)
    checks.array(kernel, "q", q, q.dtype, q.shape)
    checks.array(kernel, "out", out, q.dtype, q.shape, writable=True)
    checks.array(kernel, "lengths", lengths, np.int64, (len(q),))
    _same(kernel, "k", k, q.dtype, k.shape if table is not None else (len(q), *k.shape[1:]))
    _same(kernel, "v", v, q.dtype, k.shape)
    if table is None:
        table = np.arange(len(q), dtype=np.int64)[:, None]
    checks.array(kernel, "table", table, np.int64, (len(q), None))
    room = table.shape[1] * k.shape[1]
    if len(q) and not 1 <= lengths.min() <= lengths.max() <= room:
        raise _wrong(kernel, f"lengths must be 1 to {room}, what the cache holds; got {lengths.min()} to {lengths.max()}")
    if table.size and not 0 <= table.min() <= table.max() < len(k):
        raise _wrong(kernel, f"pages are 0 to {len(k) - 1}; the table names {table.min()} to {table.max()}")
    if any(np.may_share_memory(out, other) for other in (q, k, v, lengths, table)):
        raise _wrong(kernel, "out shares memory with another array; give it memory of its own")
    return table
