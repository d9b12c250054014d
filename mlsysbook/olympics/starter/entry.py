"""An entry. The organiser calls build once, load once in a new process, and predict for every request.

    build(x, y, budget, seed) -> {name: array}      train: x (1000, 64) float32 from 0 to 1, y (1000,) from 0 to 9
    load(model) -> anything                         optional: what predict is given in place of the model
    predict(model, x) -> logits (N, 10)             the class with the largest one is the answer

budget is {"bytes", "flop", "accuracy"} of the track. The model is all that reaches predict: its arrays are counted in bytes.
"""

import numpy as np

from tinytorch import capstone


def build(x, y, budget, seed):
    network = capstone.build(x, y, budget, seed)
    return {f"{name}{k}": array for k, layer in enumerate(network["layers"]) for name, array in layer.items() if array is not None}


def load(model):
    layers = len([name for name in model if name.startswith("weight")])
    return [{name: model.get(f"{name}{k}") for name in ("weight", "scales", "bias")} for k in range(layers)]


def predict(layers, x):
    return np.asarray(capstone.run({"layers": layers}, x))
