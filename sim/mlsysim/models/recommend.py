"""Recommenders: large tables of which a sample reads a few rows, and small networks."""

from dataclasses import dataclass

from .._check import amount
from ..graph import Graph, Op
from .operators import refuse


@dataclass(frozen=True)
class Recommender:
    """DLRM: dense features through a network, categories as rows of tables, their interaction, another network.

    tables are numbers of rows of `dim` elements, lookups how many of each a sample sums up. Interaction is the products of
    all pairs of vectors, or with cross > 0 that many low-rank cross layers of that `rank`. Source: Naumov et al. 2019.
    """

    name: str
    title: str
    tables: tuple
    lookups: tuple
    dim: int
    bottom: tuple
    top: tuple
    source: str
    date: str
    cross: int = 0
    rank: int = 0

    kind = "recommend"
    unit = "sample"

    @property
    def table_params(self):
        return sum(self.tables) * self.dim

    @property
    def vectors(self):
        return len(self.tables) + 1

    @property
    def crossed(self):
        """Elements that the interaction hands over."""
        n = self.vectors
        return n * self.dim if self.cross else n * (n - 1) // 2 + self.dim

    def _products(self):
        """(name, n, k) of every product with weights, in order; None where the interaction takes place."""
        wide = self.vectors * self.dim
        for k, n in zip(self.bottom, self.bottom[1:], strict=False):
            yield "bottom", n, k
        yield None
        for _ in range(self.cross):
            yield "cross down", self.rank, wide
            yield "cross up", wide, self.rank
        sizes = self.crossed, *self.top
        for k, n in zip(sizes, sizes[1:], strict=False):
            yield "top", n, k

    @property
    def network_params(self):
        """Weights and biases outside the tables."""
        return sum(n * (k + (name != "cross down")) for name, n, k in filter(None, self._products()))

    @property
    def params(self):
        return self.table_params + self.network_params

    @property
    def active_params(self):
        """Weights that a sample uses: its rows of the tables, and the networks."""
        return self.network_params + sum(self.lookups) * self.dim

    @property
    def macs(self):
        """Multiply-adds of the products for one sample."""
        return self.graph().macs

    def cached(self, **_):
        return 0

    def working(self, **shape):
        """Elements of activations that exist at a time in graph(**shape)."""
        return self.graph(**shape).working

    def graph(self, *, batch=1, **other):
        """The operators of one forward pass -> Graph. Rows of tables are read anew for every sample."""
        refuse(self, other, "batch")
        batch = amount("batch", batch, "", least=1, whole=True)
        rows, made = sum(self.lookups) * self.dim, len(self.tables) * self.dim
        ops = [Op("embeddings", "gather", flop=batch * (rows - made), weights=batch * rows, writes=batch * made)]
        for product in self._products():
            if product is None:
                n = self.vectors
                if not self.cross:
                    ops.append(Op("interaction", "gemm", n, n, self.dim, batch, reads=batch * n * self.dim,
                                  writes=batch * self.crossed))  # fmt: skip
                continue
            name, n, k = product
            besides = made if name == "bottom" else self.crossed if self.cross and name != "top" else 0
            bias = name != "cross down"
            ops.append(Op(name, "gemm", batch, n, k, weights=n * (k + bias), reads=batch * k, writes=batch * n,
                          live=batch * (n + k + besides)))  # fmt: skip
            if name == "cross up":  # times the input of all layers, plus that of this one
                ops.append(Op("cross", "vector", flop=2 * batch * n, reads=3 * batch * n, writes=batch * n))
        return Graph(ops, self.title)


def all():
    network = dict(dim=128, bottom=(13, 512, 256, 128), top=(1024, 1024, 512, 256, 1))
    rows = (39_884_406, 39_043, 17_289, 7_420, 20_263, 3, 7_120, 1_543, 63, 38_532_951, 2_953_546, 403_346, 10, 2_208, 11_938, 155,
            4, 976, 14, 39_979_771, 25_641_295, 39_664_984, 585_935, 12_972, 108, 36)  # fmt: skip
    yield Recommender("dlrm", "DLRM, Criteo 1 TB (MLPerf 0.7 to 2.1)", rows, (1,) * 26, **network, date="2020-07",
                      source="MLCommons DLRM reference with --max-ind-range=40000000 (facebookresearch/dlrm)")  # fmt: skip
    rows = (40_000_000, 39_060, 17_295, 7_424, 20_265, 3, 7_122, 1_543, 63, 40_000_000, 3_067_956, 405_282, 10, 2_209, 11_938, 155,
            4, 976, 14, 40_000_000, 40_000_000, 40_000_000, 590_152, 12_973, 108, 36)  # fmt: skip
    lookups = (3, 2, 1, 2, 6, 1, 1, 1, 1, 7, 3, 8, 1, 6, 9, 5, 1, 1, 1, 12, 100, 27, 10, 3, 1, 1)
    yield Recommender("dlrm-dcnv2", "DLRM-DCNv2, multi-hot Criteo (MLPerf 3.0 on)", rows, lookups, **network, cross=3, rank=512,
                      source="MLCommons reference recommendation_v2/torchrec_dlrm", date="2023-05")  # fmt: skip
