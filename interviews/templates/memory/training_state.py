"""What training keeps for every parameter, and what sharding it over replicas saves."""
import math

from mlsysim import devices, training
from staffml import Misconception, Part, Template

ALL = 3     # ZeRO stage 3 splits weights, gradients and optimizer state: Rajbhandari et al. 2020, figure 1


def state(p, stage):
    return sum(training.state_bytes(p.params, dp=p.replicas, zero=stage))


def whole(p):
    return state(p, 0)


template = Template(
    title="Memory of training state", area="memory", topic="vram-budgeting", track="cloud", level="L4", chapter="V2-05",
    minutes=12,
    space={"params": (2.7e9, 3e9, 6.7e9, 7e9, 8e9, 9e9, 12e9, 13e9, 14e9, 20e9, 24e9, 27e9, 30e9, 34e9),
           "replicas": (4, 6, 8, 12, 16, 24, 32, 64), "gpu": ("a100", "h100", "h200", "mi300x", "l40s", "v100")},
    derive={"card": lambda p: devices.device(p.gpu).title, "memory": lambda p: devices.device(p.gpu).memory.value,
            "low": lambda p: 2, "high": lambda p: 4},
    where=lambda p: whole(p) / p.memory > 1,
    prompt="""
        A decoder of {params:billion} parameters is trained by {replicas} data-parallel replicas on the {card} ({gpu}, {memory:GB}).
        Weights and gradients take {low:B} each; the optimizer is Adam, which keeps the weights and two moments in {high:B} each.
        Activations are left out.""",
    parts=(
        Part("whole", "How much memory do weights, gradients and optimizer state take on a replica without sharding?", "B", whole,
             ("1 GB", "1 TB"), (
            Misconception("no copy", lambda p: whole(p) - p.high * p.params, 0.5, "The optimizer keeps the weights in full precision too."),
            Misconception("weights only", lambda p: p.low * p.params, 0.0, "Gradients and optimizer state are far larger."),
            Misconception("no gradients", lambda p: whole(p) - p.low * p.params, 0.5, "Gradients are kept as well."))),
        Part("first", "And when only the optimizer state is split over the replicas?", "B", lambda p: state(p, 1), ("1 GB", "1 TB"), (
            Misconception("all of it", lambda p: state(p, ALL), 0.25, "Weights and gradients stay whole at this stage."),
            Misconception("gradients too", lambda p: state(p, 2), 0.5, "Gradients stay whole at this stage."),
            Misconception("nothing", whole, 0.0, "The optimizer state is split."))),
        Part("devices", "How many devices does the state need at least when all of it is split evenly?", "",
             lambda p, whole: whole / p.memory, ("1", "100"), (
            Misconception("rounded down", lambda p, whole: whole / p.memory - 1, 0.5, "What is left over needs a device too."),
            Misconception("optimizer twice", lambda p, whole: 2 * whole / p.memory, 0.0, "The state is split, not copied."),
        ), rounding=math.ceil)))
