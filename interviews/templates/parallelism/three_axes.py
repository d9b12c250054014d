"""A layout of tensor, pipeline and data parallelism: replicas, micro-batches, bubble, memory of state, and a better layout."""
from mlsysim import devices, pipeline, training
from staffml import Design, Misconception, Part, Template


def replicas(p):
    return p.count / (p.tensor * p.stages)


def micro(p, replicas):
    return p.batch / (replicas * p.each)


def state(p, replicas, split=1):
    return sum(training.state_bytes(p.params / (p.tensor * p.stages), dp=max(round(replicas), 1), zero=split))


template = Template(
    title="Three axes of parallelism", area="parallelism", topic="3d-parallelism", track="cloud", level="L6+", chapter="V2-05",
    minutes=35, requires=("parallelism/pipeline_bubble", "parallelism/tensor_limits", "memory/training_state"),
    space={"params": (34e9, 65e9, 70e9, 104e9, 123e9, 175e9), "count": (512, 768, 1024, 2048, 3072), "tensor": (2, 4, 8), "stages": (4, 8,
           16), "batch": (1536, 3072, 6144), "each": (1, 2), "gpu": ("a100", "h100"), "node": (8,)},
    derive={"card": lambda p: devices.device(p.gpu).title, "memory": lambda p: devices.device(p.gpu).memory.value,
            "low": lambda p: 2, "full": lambda p: 4},
    where=lambda p: state(p, replicas(p)) < p.memory / 2 and p.batch % (replicas(p) * p.each) == 0,
    figures={"state": lambda p: state(p, replicas(p)), "idle": lambda p: pipeline.bubble(p.stages, micro(p, replicas(p))),
             "flight": lambda p: pipeline.in_flight(p.stages, micro(p, replicas(p)))},
    prompt="""
        A decoder of {params:billion} parameters is trained on {count} devices ({card}, {gpu}, {memory:GB} each), {node} to a node. Its
        layers are cut into {stages} stages, every stage is spread over {tensor} devices by tensor parallelism, and the rest is data
        parallelism. A step takes {batch} sequences, in micro-batches of {each} for each replica, one forward, one backward in turn, not
        interleaved. Weights and gradients take {low:B} a parameter; Adam keeps the weights and two moments in {full:B} each, and only
        that optimizer state is split over the replicas.""",
    parts=(
        Part("replicas", "How many replicas are there?", "", replicas, ("2", "1000"), (
            Misconception("tensor only", lambda p: p.count / p.tensor, 0.25, "The stages of a pipeline belong to one replica too."),
            Misconception("stages only", lambda p: p.count / p.stages, 0.25, "The devices of a stage belong to one replica too.")),
            rounding=round),
        Part("micro", "How many micro-batches does a replica send through its pipeline in a step?", "", micro, ("1", "10000"), (
            Misconception("all replicas", lambda p: p.batch / p.each, 0.25, "The replicas share the batch between them."),)),
        Part("idle", "What share of a step is a stage idle?", "%", lambda p, micro: pipeline.bubble(p.stages, max(round(micro), 1)),
             ("0.1 %", "80 %"), (
            Misconception("over the work", lambda p, micro: (p.stages - 1) / micro, 0.5, "A share is over the whole step, idle time too."),
            Misconception("whole batch", lambda p: pipeline.bubble(p.stages, round(p.batch / p.each)), 0.25,
                          "A pipeline sees the micro-batches of its own replica only."))),
        Part("state", "How much do weights, gradients and optimizer state take on a device?", "B", state, ("0.5 GB", "100 GB"), (
            Misconception("nothing split", lambda p, replicas: state(p, replicas, 0), 0.5, "Optimizer state is split over the replicas."),
            Misconception("tensor only", lambda p, replicas: state(p, replicas) * p.stages, 0.25, "A stage holds its own layers only."))),
        Design("layout", "Propose a better layout of the same devices for the same batch. What limits this one, and what do you measure?", (
            (0.3, "Keeps tensor parallelism inside a node and no wider than it must be: its all-reduces have nothing to hide behind."),
            (0.3, "Trades stages against micro-batches: {idle:%} is idle now; says what fewer stages or interleaving costs in memory or "
                  "transfers."),
            (0.2, "Does the memory: {state:GB} of state, activations of {flight:plain} micro-batches on the first stage; names "
                  "recomputation or more sharding."),
            (0.2, "Measures a step term by term before and after, and keeps the batch or argues for the change in convergence.")))))
