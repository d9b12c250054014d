"""MLSys·im: a modelling library for machine learning systems.

Plain SI floats inside, text such as "3.35 TB/s" at the edge, arrays everywhere:

>>> from mlsysim import kv_cache_bytes, model, roofline, units
>>> llama = model("llama-3.1-8b")
>>> units.format(kv_cache_bytes(tokens=8192, **llama.cache), "B")
'1.07 GB'
>>> bound = roofline(2 * llama.params, 2 * llama.params, "h100")
>>> units.format(bound.seconds, "s"), str(bound.roof)
('4.79 ms', 'memory')

Names load on first use, so that `import mlsysim` and `mlsysim.units` cost no NumPy.
"""

_PUBLIC = {
    "Bound": "bounds",
    "ridge": "bounds",
    "roofline": "bounds",
    "Net": "models.nets",
    "Transformer": "models.transformer",
    "Recommender": "models.recommend",
    "StateSpace": "models.ssm",
    "megatron": "models.gpt",
    "model": "models",
    "Device": "devices",
    "device": "devices",
    "Fabric": "systems",
    "fabric": "systems",
    "Node": "systems",
    "node": "systems",
    "Cluster": "systems",
    "cluster": "systems",
    "StorageTier": "systems",
    "storage_tier": "systems",
    "Site": "systems",
    "site": "systems",
    "Price": "systems",
    "price": "systems",
    "Figure": "constants",
    "LIGHT": "constants",
    "FIBRE_INDEX": "constants",
    "decode_seconds": "llm",
    "kv_cache_bytes": "llm",
    "weight_bytes": "llm",
    "propagation_seconds": "network",
    "transfer_seconds": "network",
    "Graph": "graph",
    "Op": "graph",
    "Result": "result",
    "Term": "result",
    "solve": "solving",
    "serve": "serving",
    "spread": "uncertainty",
    "tornado": "uncertainty",
    "Normal": "uncertainty",
    "LogNormal": "uncertainty",
    "Uniform": "uncertainty",
    "Triangular": "uncertainty",
    "training_flop": "scaling",
    "expected_tokens": "scaling",
    "speculate": "speculation",
    "footprint": "sustainability",
    "machine_energy": "sustainability",
    "shift": "sustainability",
    "own": "costs",
    "run_cost": "costs",
    "token_cost": "costs",
    "break_even": "costs",
    "compress": "compression",
    "distill": "compression",
    "feed": "storage",
    "staging": "storage",
    "checkpoint": "storage",
    "predict": "tinyml",
    "battery_life": "tinyml",
    "train": "training",
    "train_net": "training_nets",
    "collective": "topology",
    "dragonfly": "topology",
    "fat_tree": "topology",
    "torus": "topology",
    "layouts": "layout",
    "bubble": "pipeline",
    "failures": "reliability",
    "checkpointing": "reliability",
    "job_goodput": "reliability",
    "slowest": "reliability",
    "simulate_pipeline": "simulate.pipeline",
    "simulate_failures": "simulate.failures",
    "simulate_cluster": "simulate.cluster",
    "jobs": "simulate.cluster",
    "mmc": "queueing",
    "md1": "queueing",
    "mg1": "queueing",
    "Infeasible": "errors",
    "SimError": "errors",
    "RangeError": "errors",
    "UnitError": "errors",
    "UnknownName": "errors",
}
_MODULES = (
    "bounds", "collectives", "compression", "constants", "costs", "devices", "efficiency", "errors", "graph",
    "layout", "llm", "models", "network", "pipeline", "plan", "plot", "queueing", "reliability", "result",
    "scaling", "serving", "simulate", "solving", "speculation", "storage", "sustainability", "sweep", "systems",
    "tables", "tinyml", "topology", "training", "training_nets", "uncertainty", "units", "validate",
)  # fmt: skip
__all__ = sorted([*_PUBLIC, *_MODULES])


def __getattr__(name):
    from importlib import import_module

    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mlsysim' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    globals()[name] = value
    return value
