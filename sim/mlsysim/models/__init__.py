"""Named networks, each from its published configuration.

    model("llama-3.1-8b").params                      exact, embeddings included
    model("resnet-50").graph(batch=64)                its operators, for solve()
    models("decoder")                                 what there is

Every model has name, title, kind, source, date, params, active_params, graph(batch=..., ...) and cached(batch=..., ...),
the numbers that it keeps between calls. MACs are kept as MACs; one MAC is two FLOP, and only `flop` says so.
"""

from functools import cache
from importlib import import_module

from ..errors import unknown

_FAMILIES = ("language", "vision", "tiny")


@cache
def _all():
    found = {}
    for family in _FAMILIES:
        for m in import_module(f".{family}", __name__).all():
            if m.name in found:
                raise ValueError(f"two models are called {m.name}")
            found[m.name] = m
    return found


def model(name):
    """The model called `name`, such as "llama-3.1-8b"; a model passes as it is. Raises UnknownName with the nearest."""
    if hasattr(name, "graph") and hasattr(name, "params"):
        return name
    key = str(name).strip().lower().replace("_", "-").replace(" ", "-")
    if key not in _all():
        raise unknown("model", name, list(_all()))
    return _all()[key]


def models(kind=None):
    """All models, or those of one kind: "decoder", "encoder", "vision", "recommend", "diffusion", "state-space", "tiny"."""
    kinds = {m.kind for m in _all().values()}
    if kind is not None and kind not in kinds:
        raise unknown("kind of model", kind, sorted(kinds))
    return [m for m in _all().values() if kind in (None, m.kind)]

