"""State-space models: a state of fixed size takes the place of cached keys and values."""

from dataclasses import dataclass

from .._check import amount
from ..graph import Graph, Op
from .operators import refuse


@dataclass(frozen=True)
class StateSpace:
    """Mamba: each layer widens its input, filters it over `conv` tokens, and scans it into `state` numbers a channel.

    Source: Gu and Dao 2023, Mamba, section 3.
    """

    name: str
    title: str
    layers: int
    width: int
    vocab: int
    source: str
    date: str
    state: int = 16
    conv: int = 4

    kind = "state-space"
    unit = "sequence"

    @property
    def inner(self):
        return 2 * self.width

    @property
    def rank(self):
        """Width from which the step sizes are made."""
        return -(-self.width // 16)

    @property
    def layer_products(self):
        """Weights of the products of one layer: in, to step and state, step, out."""
        d, i, r = self.width, self.inner, self.rank
        return d * 2 * i, i * (r + 2 * self.state), r * i, i * d

    @property
    def params(self):
        # filter and its bias, bias of the step, the matrix A, the direct path, the norm
        small = self.inner * (self.conv + 1 + 1 + self.state + 1) + self.width
        return self.layers * (sum(self.layer_products) + small) + self.vocab * self.width + self.width

    @property
    def active_params(self):
        return self.params

    @property
    def matrix_params(self):
        """Weights that one token is multiplied by; the head counts, though it shares the embeddings."""
        return self.layers * (sum(self.layer_products) + self.inner * self.conv) + self.vocab * self.width

    def flop_per_token(self, context=0):
        """Forward FLOP of the products for one token, whatever its context."""
        return 2.0 * self.matrix_params + 0.0 * amount("context", context, "")

    def cached(self, *, batch=1, **_):
        """Numbers that a batch keeps between tokens, however many came before: states, and inputs of the filters."""
        return (self.layers * self.inner * (self.state + self.conv) * amount("batch", batch, "", least=1))[()]

    def working(self, **shape):
        """Elements of activations that exist at a time in graph(**shape)."""
        return self.graph(**shape).working

    def graph(self, *, batch=1, tokens=1, context=0, logits="last", **other):
        """The operators of one forward pass over `tokens` new tokens of `batch` sequences -> Graph; context changes nothing."""
        refuse(self, other, "batch, tokens, context, logits")
        batch = amount("batch", batch, "", least=1, whole=True)
        rows = batch * amount("tokens", tokens, "", least=1, whole=True)
        rows = rows + 0 * amount("context", context, "", whole=True)
        d, i, r, N, L = self.width, self.inner, self.rank, self.state, self.layers

        def product(name, n, k, besides):
            return Op(name, "gemm", rows, n, k, weights=n * k, reads=rows * k, writes=rows * n, count=L,
                      live=rows * (n + k + besides + d))  # fmt: skip

        ops = [
            Op("embedding", "gather", weights=rows * d, writes=rows * d),
            Op("norms and residuals", "vector", flop=8 * rows * d, weights=d, reads=2 * rows * d, writes=2 * rows * d, count=L + 1),
            product("in", 2 * i, d, 0),
            Op("filter", "depthwise", rows, 1, self.conv, i, weights=i * (self.conv + 1), reads=rows * i, writes=rows * i, count=L,
               live=rows * (3 * i + d)),
            product("to step and state", r + 2 * N, i, i),
            product("step", i, r, 2 * i + 2 * N),
            # exp(step A), step B x, their sum into the state, and what C reads of it: 8 FLOP for each number of the state
            Op("scan", "vector", flop=rows * i * (8 * N + 8), weights=i * (N + 1), reads=rows * (3 * i + 2 * N),
               writes=rows * i + batch * i * N, cache=batch * i * (N + self.conv), count=L, live=rows * (4 * i + 2 * N + d)),
            product("out", d, i, 0),
        ]  # fmt: skip
        last = rows if logits == "all" else batch
        ops.append(Op("head", "gemm", last, self.vocab, d, weights=self.vocab * d, reads=last * d, writes=last * self.vocab))
        return Graph(ops, self.title)


def all():
    source = "Gu and Dao 2023, Mamba, arXiv 2312.00752; config.json of state-spaces/mamba-* on Hugging Face, vocabulary padded to 8s"
    for name, layers, width in (("130m", 24, 768), ("370m", 48, 1024), ("790m", 48, 1536), ("1.4b", 48, 2048), ("2.8b", 64, 2560)):
        yield StateSpace(f"mamba-{name}", f"Mamba {name.upper()}", layers, width, 50_280, source, "2023-12")
