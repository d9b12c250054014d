"""Transformers from their configuration: exact parameters, and a graph of operators for any batch, prompt and context."""

from dataclasses import dataclass

import numpy as np

from .._check import amount
from ..errors import RangeError
from ..graph import Graph, Op


@dataclass(frozen=True)
class Transformer:
    """A stack of attention and feed-forward layers; causal for decoders.

    width is the length of a token's vector, hidden that of the feed-forward layer, kv_heads < heads with grouped
    queries. experts > 0 makes a mixture: `active` of them (and `shared` ones always) work on a token, each of hidden
    length `expert_hidden`; the first `dense_layers` layers stay dense with `hidden`. kv_rank > 0 makes multi-head latent
    attention: the cache holds kv_rank + rope_dim numbers a token and layer. positions counts learned position vectors,
    types segment vectors, bias is which products add one: "", "qkv", or "all".
    """

    name: str
    title: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int
    source: str
    date: str
    causal: bool = True
    tied: bool = False
    gated: bool = True
    norm: str = "rms"
    bias: str = ""
    positions: int = 0
    types: int = 0
    pooler: bool = False
    parallel: bool = False
    head_norm: bool = False
    experts: int = 0
    active: int = 0
    shared: int = 0
    expert_hidden: int = 0
    dense_layers: int = 0
    q_rank: int = 0
    kv_rank: int = 0
    rope_dim: int = 0
    value_dim: int = 0

    unit = "sequence"

    @property
    def kind(self):
        return "decoder" if self.causal else "encoder"

    @property
    def cache(self):
        """What kv_cache_bytes needs to know: kv_cache_bytes(tokens=8192, **model.cache)."""
        return {"layers": self.layers, "kv_heads": self.kv_heads, "head_dim": self.head_dim}

    # Parameters, exactly.

    @property
    def attention_params(self):
        """Weights and biases of one layer's attention."""
        d, h = self.width, self.heads
        if self.kv_rank:
            nope = self.head_dim - self.rope_dim
            q = d * self.q_rank + self.q_rank + self.q_rank * h * self.head_dim if self.q_rank else d * h * self.head_dim
            kv = d * (self.kv_rank + self.rope_dim) + self.kv_rank + self.kv_rank * h * (nope + self.value_dim)
            return q + kv + h * self.value_dim * d
        q, kv = h * self.head_dim, self.kv_heads * self.head_dim
        bias = (q + 2 * kv if self.bias else 0) + (d if self.bias == "all" else 0)
        return d * (2 * q + 2 * kv) + bias + (2 * self.head_dim if self.head_norm else 0)

    def feed_forward(self, hidden):
        """Weights and biases of a feed-forward layer of that hidden length."""
        bias = hidden * (2 if self.gated else 1) + self.width if self.bias == "all" else 0
        return (3 if self.gated else 2) * self.width * hidden + bias

    @property
    def norm_params(self):
        return self.width * (2 if self.norm == "layer" else 1)

    @property
    def layer_params(self):
        """Parameters of a dense layer, of a sparse one, and of a sparse one as far as a token uses it."""
        around = self.attention_params + (1 if self.parallel else 2) * self.norm_params
        router = self.width * self.experts
        each = self.feed_forward(self.expert_hidden) if self.experts else 0
        sparse = around + router + each * (self.experts + self.shared)
        used = around + router + each * (self.active + self.shared)
        return around + self.feed_forward(self.hidden), sparse, used

    @property
    def embedding_params(self):
        vectors = (self.vocab + self.positions + self.types) * self.width
        return vectors + (self.norm_params if self.types else 0)

    @property
    def head_params(self):
        last = self.norm_params if self.causal else 0
        pooled = self.width * (self.width + 1) if self.pooler else 0
        return last + pooled + (0 if self.tied or not self.causal else self.vocab * self.width)

    def _sum(self, sparse):
        dense = self.dense_layers if self.experts else self.layers
        return (self.embedding_params + self.head_params + dense * self.layer_params[0]
                + (self.layers - dense) * self.layer_params[sparse])  # fmt: skip

    @property
    def params(self):
        """Every weight, embeddings included."""
        return self._sum(1)

    @property
    def active_params(self):
        """Weights that one token uses: all but the experts that do not work on it."""
        return self._sum(2)

    @property
    def matrix_params(self):
        """Weights that one token is multiplied by: active ones without embedding rows; the head counts, tied or not."""
        return self.active_params - self.embedding_params + (self.vocab * self.width if self.tied and self.causal else 0)

    # Work.

    def flop_per_token(self, context=0):
        """Forward FLOP for one token that sees `context` tokens before it. Training is three times that."""
        scores = self.head_dim + (self.value_dim or self.head_dim)
        return 2.0 * self.matrix_params + 2.0 * self.layers * self.heads * scores * (amount("context", context, "") + 1)

    @property
    def cached_per_token(self):
        """Numbers that one token leaves in the cache, all layers together."""
        if not self.causal:
            return 0
        return self.layers * (self.kv_rank + self.rope_dim if self.kv_rank else 2 * self.kv_heads * self.head_dim)

    def cached(self, *, batch=1, tokens=1, context=0, tp=1, **_):
        """Numbers in the cache of one device when all tokens are in it."""
        share = 1.0 if self.kv_rank else np.maximum(self.kv_heads / np.asarray(tp), 1) / self.kv_heads
        return self.cached_per_token * share * np.asarray(batch) * (np.asarray(tokens) + np.asarray(context))

    def check_split(self, tp):
        """tp as an int that divides heads, feed-forward layer and vocabulary evenly. Raises RangeError."""
        tp = int(amount("tp", tp, "", least=1, whole=True))
        hidden = self.expert_hidden if self.experts and not self.dense_layers else self.hidden
        for what, n in (("attention heads", self.heads), ("feed-forward columns", hidden)):
            if n % tp:
                fits = [t for t in (1, 2, 4, 8, 16, 32, 64) if self.heads % t == 0 and hidden % t == 0]
                raise RangeError(f"tp: got {tp}, which does not divide {n} {what} of {self.title}; "
                                 f"wanted one of {', '.join(map(str, fits))}")  # fmt: skip
        return tp

    def graph(self, *, batch=1, tokens=1, context=0, tp=1, logits="last", flash=True, head=True):
        """The operators of one forward pass on one of `tp` devices -> Graph.

        batch sequences bring `tokens` new tokens each and see `context` cached ones before them: a prompt is tokens=2048,
        a decoding step tokens=1 with context=2047. logits: "last" token or "all" (training). flash=False writes the
        scores to memory. The all-reduces between tp devices are not here; network.py times them.
        """
        batch = amount("batch", batch, "", least=1, whole=True)
        tokens = amount("tokens", tokens, "", least=1, whole=True)
        context = amount("context", context, "", whole=True)
        tp = self.check_split(tp)
        rows, d, L = batch * tokens, self.width, self.layers
        ops = [Op("embedding", "gather", weights=rows * d, writes=rows * d)]
        ops += self._attention(batch, tokens, context, tp, flash)
        dense = self.dense_layers if self.experts else L
        if dense:
            ops += self._feed_forward("feed-forward", rows, self.hidden / tp, dense)
        if self.experts:
            ops += self._mixture(rows, tp, L - dense)
        norms = 1 if self.parallel else 2
        ops.append(Op("norms and residuals", "vector", flop=8 * rows * d, weights=self.norm_params,
                      reads=2 * rows * d, writes=2 * rows * d, count=norms * L))  # fmt: skip
        if head and self.causal:
            last = rows if logits == "all" else batch
            ops.append(Op("head", "gemm", last, np.ceil(self.vocab / tp), d, weights=self.vocab * d / tp,
                          reads=last * d, writes=last * self.vocab / tp))  # fmt: skip
            if logits == "all":  # read, copied to fp32, log of the softmax read and written: an fp32 number counts twice
                each = last * self.vocab / tp
                ops.append(Op("loss", "vector", flop=5 * each, reads=3 * each, writes=4 * each))
        return Graph(ops, self.title)

    def _attention(self, batch, tokens, context, tp, flash):
        d, L, rows = self.width, self.layers, batch * tokens
        h = self.heads // tp
        seen = context + ((tokens + 1) / 2 if self.causal else tokens)  # keys that a query sees, on average
        ops = []
        if self.kv_rank:
            ops += self._latent(batch, tokens, context, seen, h)
        else:
            kv = max(self.kv_heads // tp, 1)
            q, k = h * self.head_dim, kv * self.head_dim
            ops.append(Op("query, key, value", "gemm", rows, q + 2 * k, d, weights=d * (q + 2 * k) + (q + 2 * k if self.bias else 0),
                          reads=rows * d, writes=rows * (q + 2 * k), count=L))  # fmt: skip
            if not self.positions:
                ops.append(Op("rotary positions", "vector", flop=6 * rows * (q + k), reads=rows * (q + k), writes=rows * (q + k),
                              count=L))  # fmt: skip
            scores = rows * h * seen
            ops.append(Op("attention", "attention", tokens * (h / kv), self.head_dim, context + tokens, batch * kv,
                          4 * scores * self.head_dim, reads=rows * (q + 2 * k), writes=rows * q,
                          cache=2 * batch * k * context, count=L))  # fmt: skip
            if not flash:  # scores and probabilities go to memory and come back, the softmax in between
                full = rows * h * (context + tokens)
                ops.append(Op("scores in memory", "vector", flop=5 * full, reads=2 * full, writes=2 * full, count=L))
            wide = q
        wide = h * self.value_dim if self.kv_rank else wide
        ops.append(Op("attention output", "gemm", rows, d, wide, weights=d * wide + (d if self.bias == "all" else 0),
                      reads=rows * wide, writes=rows * d, count=L))  # fmt: skip
        return ops

    def _latent(self, batch, tokens, context, seen, h):
        """Multi-head latent attention: keys and values are kept as one short vector a token.

        A prompt expands that vector into heads; a decoding step multiplies the queries into it instead, since expanding
        every cached token would cost more. Source: DeepSeek-AI 2024, DeepSeek-V2, section 2.1.
        """
        d, L, rows, r, rope = self.width, self.layers, batch * tokens, self.kv_rank, self.rope_dim
        nope, v, q_rank = self.head_dim - rope, self.value_dim, self.q_rank
        wide = h * self.head_dim
        down = (q_rank or wide) + r + rope
        ops = [Op("query and latent", "gemm", rows, down, d, weights=d * down, reads=rows * d, writes=rows * down, count=L)]
        if q_rank:
            ops.append(Op("query up", "gemm", rows, wide, q_rank, weights=q_rank * wide, reads=rows * q_rank,
                          writes=rows * wide, count=L))  # fmt: skip
        absorb = bool(np.all(np.asarray(tokens) == 1))
        up = r * h * (nope + v)
        if absorb:
            ops.append(Op("latent up, absorbed", "gemm", rows, r, nope + v, h, flop=2.0 * rows * up, weights=up,
                          reads=rows * h * (nope + r), writes=rows * h * (r + v), count=L))  # fmt: skip
            ops.append(Op("attention", "attention", tokens * h, r, context + tokens, batch,
                          2 * rows * h * seen * (2 * r + rope), reads=rows * h * (r + rope), writes=rows * h * r,
                          cache=batch * context * (r + rope), count=L))  # fmt: skip
        else:
            ops.append(Op("latent up", "gemm", rows, h * (nope + v), r, weights=up, reads=rows * r,
                          writes=rows * h * (nope + v), count=L))  # fmt: skip
            ops.append(Op("attention", "attention", tokens, self.head_dim, context + tokens, batch * h,
                          2 * rows * h * seen * (self.head_dim + v), reads=rows * h * (2 * self.head_dim + v),
                          writes=rows * h * v, cache=batch * context * (r + rope), count=L))  # fmt: skip
        return ops

    def _feed_forward(self, name, rows, hidden, count, groups=1, touched=None):
        d, wide = self.width, (2 if self.gated else 1)
        touched = groups if touched is None else touched
        bias = self.bias == "all"
        return [
            Op(f"{name} in", "gemm", rows, wide * hidden, d, groups, weights=touched * wide * hidden * (d + bias),
               reads=rows * groups * d, writes=rows * groups * wide * hidden, count=count),
            Op(f"{name} activation", "vector", flop=5 * rows * groups * hidden, reads=rows * groups * wide * hidden,
               writes=rows * groups * hidden, count=count),
            Op(f"{name} out", "gemm", rows, d, hidden, groups, weights=touched * (d * hidden + bias * d),
               reads=rows * groups * hidden, writes=rows * groups * d, count=count),
        ]  # fmt: skip

    def _mixture(self, rows, tp, count):
        """Experts, routed evenly: of E experts, E (1 - (1 - a/E)^rows) are expected to get a token."""
        E, a = self.experts, self.active
        touched = E * (1 - (1 - a / E) ** rows)
        ops = [Op("router", "gemm", rows, E, self.width, weights=E * self.width, reads=rows * self.width, writes=rows * E,
                  count=count)]  # fmt: skip
        ops += self._feed_forward("experts", rows * a / touched, self.expert_hidden / tp, count, touched)
        if self.shared:
            ops += self._feed_forward("shared experts", rows, self.shared * self.expert_hidden / tp, count)
        return ops

    def reduced(self, *, batch=1, tokens=1):
        """Elements that each of the 2 layers all-reduces of tensor parallelism carries, and how many there are."""
        each = amount("batch", batch, "") * amount("tokens", tokens, "") * self.width
        return each, (1 if self.parallel else 2) * self.layers
