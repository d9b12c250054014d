"""Transformers from their configuration: exact parameters, and a graph of operators for any batch, prompt and context."""

from dataclasses import dataclass
from functools import cached_property
from math import gcd

import numpy as np

from .._check import amount, plain
from ..errors import RangeError, unknown
from ..graph import EXECUTIONS, Graph, Op
from .operators import SMOOTH, attention, between, casts, feed_forward, masked_words, mixture, refuse


@dataclass(frozen=True)
class Transformer:
    """A stack of attention and feed-forward layers; causal for decoders.

    width is the length of a token's vector, hidden that of the feed-forward layer, kv_heads < heads with grouped
    queries. experts > 0 makes a mixture: `active` of them (and `shared` ones always) work on a token, each of hidden
    length `expert_hidden`; the first `dense_layers` layers stay dense with `hidden`. kv_rank > 0 makes multi-head latent
    attention: the cache holds kv_rank + rope_dim numbers a token and layer. positions counts learned position vectors
    (with none of them and no alibi, positions are rotary), types segment vectors; bias is which products add one: "",
    "qkv", "feed-forward", or "all"; norm is "rms" (a scale) or "layer" (and a shift), norms of them a layer; parallel: attention and
    feed-forward layer read the same input.
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
    norms: int = 2
    embedding_norm: bool = False
    alibi: bool = False
    head_bias: bool = False

    unit = "sequence"

    @property
    def kind(self):
        return "decoder" if self.causal else "encoder"

    @property
    def cache(self):
        """What kv_cache_bytes needs to know: kv_cache_bytes(tokens=8192, **model.cache).

        A latent vector counts as one key and one value of half its length.
        """
        if self.kv_rank:
            return {"layers": self.layers, "kv_heads": 1, "head_dim": (self.kv_rank + self.rope_dim) // 2}
        return {"layers": self.layers, "kv_heads": self.kv_heads, "head_dim": self.head_dim}

    # Parameters, exactly.

    @property
    def attention_weights(self):
        """Weights of the products of one layer's attention."""
        d, h = self.width, self.heads
        if self.kv_rank:
            q = self.q_rank * (d + h * self.head_dim) if self.q_rank else d * h * self.head_dim
            return q + d * (self.kv_rank + self.rope_dim) + self.expansion(h) + h * self.value_dim * d
        return 2 * d * (h + self.kv_heads) * self.head_dim

    @property
    def attention_params(self):
        """Weights and biases of one layer's attention, and the norms inside it."""
        inside = self.q_rank + self.kv_rank + (2 * self.head_dim if self.head_norm else 0)
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim if self.bias in ("qkv", "all") else 0
        return self.attention_weights + inside + biases + (self.width if self.bias == "all" else 0)

    def expansion(self, heads):
        """Weights that turn a latent vector into the keys and values of that many heads."""
        return self.kv_rank * heads * (self.head_dim - self.rope_dim + self.value_dim)

    def feed_forward(self, hidden):
        """Weights and biases of a feed-forward layer of that hidden length."""
        bias = hidden * (2 if self.gated else 1) + self.width if self.bias in ("feed-forward", "all") else 0
        return (3 if self.gated else 2) * self.width * hidden + bias

    @property
    def norm_params(self):
        return self.width * (2 if self.norm == "layer" else 1)

    @property
    def layer_params(self):
        """Parameters of a dense layer, of a sparse one, and of a sparse one as far as a token uses it."""
        around = self.attention_params + self.norms * self.norm_params
        router = self.width * self.experts
        each = self.feed_forward(self.expert_hidden) if self.experts else 0
        sparse = around + router + each * (self.experts + self.shared)
        used = around + router + each * (self.active + self.shared)
        return around + self.feed_forward(self.hidden), sparse, used

    @property
    def embedding_params(self):
        vectors = (self.vocab + self.positions + self.types) * self.width
        return vectors + (self.norm_params if self.embedding_norm else 0)

    @property
    def head_params(self):
        last = self.norm_params if self.causal else 0
        pooled = self.width * (self.width + 1) if self.pooler else 0
        own = 0 if self.tied or not self.causal else self.vocab * self.width
        return last + pooled + own + (self.vocab if self.head_bias else 0)

    @property
    def plain_layers(self):
        """Layers without experts."""
        return self.dense_layers if self.experts else self.layers

    def _sum(self, sparse):
        dense = self.plain_layers
        return (self.embedding_params + self.head_params + dense * self.layer_params[0]
                + (self.layers - dense) * self.layer_params[sparse])  # fmt: skip

    @cached_property
    def params(self):
        """Every weight, embeddings included."""
        return self._sum(1)

    @property
    def active_params(self):
        """Weights that one token uses: all but the experts that do not work on it."""
        return self._sum(2)

    @cached_property
    def matrix_params(self):
        """Weights that one token is multiplied by: no embedding rows, norms or biases; the head counts, tied or not."""
        wide = (3 if self.gated else 2) * self.width
        sparse = wide * self.expert_hidden * (self.active + self.shared) + self.width * self.experts
        return (self.layers * self.attention_weights + self.plain_layers * wide * self.hidden
                + (self.layers - self.plain_layers) * sparse + (self.vocab * self.width if self.causal else 0))  # fmt: skip

    # Work.

    def flop_per_token(self, context=0):
        """Forward FLOP of the products for one token that sees `context` tokens before it; training is three times that.

        Latent attention is counted with keys and values expanded, as in training.
        """
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
        whole = self.kv_rank or type(tp) is int and tp == 1
        share = 1.0 if whole else np.maximum(self.kv_heads / np.asarray(tp), 1) / self.kv_heads
        return (self.cached_per_token * share * amount("batch", batch, "", least=1)
                * (amount("tokens", tokens, "") + amount("context", context, "")))[()]  # fmt: skip

    def check_split(self, tp):
        """tp as an int that divides heads and feed-forward columns evenly. Raises RangeError that names what does."""
        tp = int(amount("tp", tp, "", least=1, whole=True))
        parts = {"attention heads": self.heads}
        if self.plain_layers:
            parts["feed-forward columns"] = self.hidden
        if self.experts:
            parts["columns of an expert"] = self.expert_hidden
        kv = self.kv_heads

        def even(t):
            return not kv % t or not t % kv or bool(self.kv_rank)

        for what, n in [*parts.items(), *([] if even(tp) else [("key-value heads", kv)])]:
            if n % tp:
                common = gcd(*parts.values())
                fits = [t for t in range(1, min(common, 1024) + 1) if common % t == 0 and even(t)]
                raise RangeError(f"tp: got {tp}, which does not divide {n} {what} of {self.title}; "
                                 f"wanted one of {', '.join(map(str, fits))}")  # fmt: skip
        return tp

    def graph(self, *, batch=1, tokens=1, context=0, tp=1, logits="last", flash=True, head=True, grouped=True, execution="fused",
              training=False, widen=1.0, predicted=0, **other):  # fmt: skip
        """The operators of one forward pass on one of `tp` devices -> Graph.

        batch sequences bring `tokens` new tokens each and see `context` cached ones before them: a prompt is tokens=2048,
        a decoding step tokens=1 with context=2047. logits: "last" token or "all" (training). flash=False writes the
        scores to memory, grouped=False reads the cache again for each query head of a group, as kernels did before
        TensorRT-LLM 0.8. execution: "eager" frameworks run dropout, addition and norm as passes of their own, "compiled" ones
        together, and both the products of an attention that is not flash; training adds dropout; widen: elements that a number
        takes which mixed precision keeps in 32 bits (norms, residuals, softmax). predicted: words a sequence that an encoder's
        head for masked words predicts. The all-reduces between tp devices are not here; network.py times them.
        """
        refuse(self, other, "batch, tokens, context, tp, logits, flash, head, grouped, execution, training, widen, predicted")
        if execution not in EXECUTIONS:
            raise unknown("execution", execution, list(EXECUTIONS))
        batch = plain(amount("batch", batch, "", least=1, whole=True))
        tokens = plain(amount("tokens", tokens, "", least=1, whole=True))
        context = plain(amount("context", context, "", whole=True))
        tp = self.check_split(tp)
        rows, d, L = batch * tokens, self.width, self.layers

        def op(name, kind, *shape, reads, writes, live=None, **numbers):  # the residual is alive besides
            return Op(name, kind, *shape, reads=reads, writes=writes,
                      live=rows * d + (reads + writes if live is None else live), **numbers)  # fmt: skip

        vectors = 1 + bool(self.positions) + bool(self.types)
        ops = [Op("embedding", "gather", weights=rows * d * vectors, writes=rows * d)]
        ops += attention(self, op, batch, tokens, context, tp, flash, grouped, execution, training, widen)
        dense = self.plain_layers
        if dense:
            ops += feed_forward(self, op, "feed-forward", rows, self.hidden / tp, dense, smooth=5.0 if execution == "fused" else SMOOTH)
        if self.experts:
            ops += mixture(self, op, rows, tp, L - dense)
        ops.append(Op("norms and residuals", "vector", flop=8 * rows * d, weights=self.norm_params,
                      reads=2 * rows * d * widen, writes=2 * rows * d * widen,
                      count=self.norms * L + (self.causal or self.embedding_norm)))  # fmt: skip
        if execution != "fused":
            ops += casts(self.params, widen)
            ops += between(self, op, rows, execution, training)
        if predicted:
            ops += masked_words(self, op, batch * predicted)
        if head and self.causal:
            last = rows if logits == "all" else batch
            ops.append(op("head", "gemm", last, np.ceil(self.vocab / tp), d, flop=2 * last * d * self.vocab / tp,
                          weights=self.vocab * d / tp, reads=last * d, writes=last * self.vocab / tp))  # fmt: skip
        if head and self.pooler:
            ops.append(op("pooler", "gemm", batch, d, d, weights=d * (d + 1), reads=batch * d, writes=batch * d))
        return Graph(ops, self.title, execution)

    def working(self, **shape):
        """Elements of activations that exist at a time in graph(**shape), on one device."""
        return self.graph(**shape).working

    def reduced(self, *, batch=1, tokens=1):
        """Elements that each of the 2 layers all-reduces of tensor parallelism carries, and how many there are."""
        each = amount("batch", batch, "") * amount("tokens", tokens, "") * self.width
        return each, (1 if self.parallel else 2) * self.layers
