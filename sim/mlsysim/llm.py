"""Decoder transformers in closed form: bytes of weights and cache, and the time of one decoding step."""

import numpy as np

from ._check import amount


def weight_bytes(params, *, bytes_per=2):
    """Bytes of `params` weights. bytes_per is 2 for fp16, 1 for int8, 0.5 for 4 bits. Both broadcast."""
    return (amount("params", params, "") * amount("bytes_per", bytes_per, "B", above=0.0))[()]


def kv_cache_bytes(*, layers, kv_heads, head_dim, tokens, batch=1, bytes_per=2):
    """Bytes of the key-value cache: a key and a value for every layer, KV head, token and sequence.

    2 layers kv_heads head_dim tokens batch bytes_per; all broadcast. With grouped queries kv_heads is smaller than the
    number of attention heads. tokens counts prompt and output of one sequence. Source: Pope et al. 2023, section 3.
    """
    per_token = (
        2
        * amount("layers", layers, "", least=1, whole=True)
        * amount("kv_heads", kv_heads, "", least=1, whole=True)
        * amount("head_dim", head_dim, "", least=1, whole=True)
        * amount("bytes_per", bytes_per, "B", above=0.0)
    )
    return (
        per_token * amount("tokens", _count(tokens), "", whole=True) * amount("batch", batch, "", least=1, whole=True)
    )[()]


def decode_seconds(weights, kv, bandwidth, *, flop=0.0, peak=None):
    """Lower bound on one decoding step: every weight and every cached token is read once, then the token is written.

    (weights + kv) / bandwidth, in B, B and B/s; with flop (FLOP) and peak (FLOP/s) the larger of that and flop / peak.
    All broadcast. A step gives each sequence of the batch one token, so a sequence gets 1 / seconds tokens a second.
    Source: Pope et al. 2023, section 2.
    """
    seconds = (amount("weights", weights, "B") + amount("kv", kv, "B")) / amount(
        "bandwidth", bandwidth, "B/s", above=0.0
    )
    if peak is not None:
        seconds = np.maximum(seconds, amount("flop", flop, "FLOP") / amount("peak", peak, "FLOP/s", above=0.0))
    return seconds[()]


def _count(tokens):
    """A count, with or without its unit: 4096 or "4096 token"."""
    from .units import parse

    return parse(tokens, unit="token")[0] if isinstance(tokens, str) and "token" in tokens else tokens
