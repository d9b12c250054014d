"""Named networks, each from its published configuration.

    model("llama-3.1-8b").params                      exact, embeddings included
    model("resnet-50").graph(batch=64)                its operators, for solve()
    models("decoder")                                 what there is

Every model has name, title, kind, source, date, params, active_params, graph(batch=..., ...) and cached(batch=..., ...),
the numbers that it keeps between calls, and working(batch=..., ...), the activations that exist at a time. MACs are
kept as MACs; one MAC is two FLOP, and only `flop` says so. A family of models loads when one of them is asked for.
"""

from functools import cache
from importlib import import_module

from ..errors import unknown

_FAMILIES = {
    "gpt": """
        gpt-2 gpt-2-medium gpt-2-large gpt-2-xl gpt-3-6.7b gpt-3-175b megatron-1.7b megatron-3.6b megatron-7.5b
        megatron-18.4b megatron-22b megatron-39.1b megatron-76.1b megatron-145.6b megatron-175b megatron-310.1b
        megatron-529.6b megatron-1008b opt-6.7b opt-13b opt-30b opt-66b opt-175b bloom-176b gpt-j-6b gpt-neox-20b phi-2
        palm-540b falcon-7b falcon-40b
    """,
    "language": """
        llama-1-7b llama-1-13b llama-1-33b llama-1-65b llama-2-7b llama-2-13b llama-2-70b llama-3-8b llama-3-70b
        llama-3.1-8b llama-3.1-70b llama-3.1-405b llama-3.2-1b llama-3.2-3b mistral-7b qwen2.5-0.5b qwen2.5-1.5b
        qwen2.5-3b qwen2.5-14b qwen2.5-7b qwen2.5-32b qwen2.5-72b qwen3-0.6b qwen3-1.7b qwen3-4b qwen3-14b qwen3-8b
        qwen3-32b codellama-34b tinyllama-1.1b gemma-2b gemma-7b phi-3-mini
    """,
    "mixtures": """
        mixtral-8x7b mixtral-8x22b qwen3-30b-a3b qwen3-235b-a22b deepseek-v2-lite deepseek-v3
    """,
    "encoders": """
        bert-base bert-large distilbert roberta-base roberta-large
    """,
    "vision": """
        alexnet vgg-11 vgg-16 vgg-19 resnet-18 resnet-34 resnet-50 resnet-101 resnet-152 resnext-50-32x4d
        resnext-101-32x4d se-resnext-101-32x4d wide-resnet-50 densenet-121 mobilenet-v1 mobilenet-v2 mobilenet-v3-large efficientnet-b0
        efficientnet-b4 vit-b-16 vit-b-32 vit-l-16 convnext-tiny yolo-v8n yolo-v8s yolo-v8m yolo-v8l yolo-v8x
    """,
    "recommend": """
        dlrm dlrm-dcnv2
    """,
    "diffusion": """
        stable-diffusion-1.5 stable-diffusion-xl dit-xl-2
    """,
    "ssm": """
        mamba-130m mamba-370m mamba-790m mamba-1.4b mamba-2.8b
    """,
    "tiny": """
        mobilenet-v1-0.25 ds-cnn resnet-8 autoencoder
    """,
}
_HOME = {name: family for family, names in _FAMILIES.items() for name in names.split()}


@cache
def _family(family):
    return {m.name: m for m in import_module(f".{family}", __name__).all()}


def model(name):
    """The model called `name`, such as "llama-3.1-8b"; a model passes as it is. Raises UnknownName with the nearest."""
    if hasattr(name, "graph") and hasattr(name, "params"):
        return name
    key = str(name).strip().lower().replace("_", "-").replace(" ", "-")
    if key not in _HOME:
        raise unknown("model", name, list(_HOME))
    return _family(_HOME[key])[key]


def models(kind=None):
    """All models, or those of one kind: "decoder", "encoder", "vision", "recommend", "diffusion", "state-space", "tiny"."""
    found = [m for family in _FAMILIES for m in _family(family).values()]
    if kind is not None and kind not in {m.kind for m in found}:
        raise unknown("kind of model", kind, sorted({m.kind for m in found}))
    return [m for m in found if kind in (None, m.kind)]
