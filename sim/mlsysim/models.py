"""A few named networks: the counts that the closed forms need, each from a published configuration.

MACs are kept as MACs; one MAC is two FLOP, and only `flop` says so.
"""

from dataclasses import dataclass

from .errors import unknown


@dataclass(frozen=True)
class Decoder:
    """A decoder transformer. params counts every weight, embeddings included."""

    name: str
    title: str
    params: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    source: str
    date: str

    @property
    def cache(self):
        """What kv_cache_bytes needs to know: kv_cache_bytes(tokens=8192, **model.cache)."""
        return {"layers": self.layers, "kv_heads": self.kv_heads, "head_dim": self.head_dim}


@dataclass(frozen=True)
class Net:
    """A feed-forward network on one input of a fixed size. activations counts outputs of convolutions and matrices."""

    name: str
    title: str
    params: int
    macs: float
    activations: float
    input_bytes: int
    source: str
    date: str

    @property
    def flop(self):
        return 2.0 * self.macs

    def traffic(self, bytes_per=2):
        """Bytes to and from memory for one input: each weight read once, each activation written and read once."""
        return bytes_per * (self.params + 2.0 * self.activations)


def model(name):
    """The model called `name`, such as "llama-3.1-8b"; a model passes as it is. Raises UnknownName with the nearest."""
    if isinstance(name, Decoder | Net):
        return name
    key = str(name).strip().lower().replace("_", "-").replace(" ", "-")
    if key not in MODELS:
        raise unknown("model", name, list(MODELS))
    return MODELS[key]


_TINY = "MLPerf Tiny reference model, counted layer by layer"
_LIST = [
    Decoder(
        "llama-3.2-1b",
        "Llama 3.2 1B",
        1_235_814_400,
        16,
        32,
        8,
        64,
        "Meta model configuration (torchtune llama3_2_1b)",
        "2024-09",
    ),
    Decoder(
        "llama-3.2-3b",
        "Llama 3.2 3B",
        3_212_749_824,
        28,
        24,
        8,
        128,
        "Meta model configuration (torchtune llama3_2_3b)",
        "2024-09",
    ),
    Decoder("llama-2-7b", "Llama 2 7B", 6_738_415_616, 32, 32, 32, 128, "Touvron et al. 2023, Llama 2", "2023-07"),
    Decoder(
        "llama-3.1-8b",
        "Llama 3.1 8B",
        8_030_261_248,
        32,
        32,
        8,
        128,
        "Meta model configuration (torchtune llama3_1_8b)",
        "2024-07",
    ),
    Decoder(
        "llama-3.1-70b",
        "Llama 3.1 70B",
        70_553_706_496,
        80,
        64,
        8,
        128,
        "Meta model configuration (torchtune llama3_1_70b)",
        "2024-07",
    ),
    Net(
        "resnet-50",
        "ResNet-50",
        25_557_032,
        4.09e9,
        11.1e6,
        224 * 224 * 3,
        "torchvision ResNet50_Weights (params, 4.09 GMAC); activations: Radosavovic et al. 2020",
        "2022",
    ),
    Net(
        "mobilenet-v1-0.25",
        "MobileNetV1 0.25, 96 x 96 (person detection)",
        221_794,
        7_489_664,
        231_554,
        96 * 96 * 3,
        _TINY,
        "2021",
    ),
    Net(
        "ds-cnn",
        "DS-CNN (keyword spotting)",
        24_908,
        2_656_768,
        72_012,
        16_000 * 2,
        _TINY + "; the input is one second of 16-bit sound at 16 kHz",
        "2021",
    ),
]
MODELS = {m.name: m for m in _LIST}
