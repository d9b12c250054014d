"""Forward mode or reverse mode: passes for all derivatives of a function, and how long the better mode takes."""
from staffml import Choice, Misconception, Part, Template


def forward(p):
    return p.inputs * p.push


def reverse(p):
    return p.outputs * p.pull


template = Template(
    title="Which mode of differentiation?", area="cross-cutting", topic="autograd-computational-graphs", track="edge", level="L1",
    chapter="V1-07", minutes=4,
    space={"inputs": (6, 7, 12, 14, 18, 24, 30, 36), "outputs": (2, 3, 4, 5, 6, 9, 12, 48), "push": tuple(us * 1e-6 for us in
           (45, 50, 60, 65, 80, 95, 100, 120, 150)), "pull": tuple(us * 1e-6 for us in (90, 110, 125, 140, 170, 180, 200, 250))},
    where=lambda p: p.push < p.pull and p.inputs != p.outputs,
    prompt="""
        A controller on a robot needs all derivatives of a network with {inputs} inputs and {outputs} outputs, each output with respect
        to each input. A pass in forward mode takes {push:µs}, one in reverse mode {pull:µs}; passes run one after the other.""",
    parts=(
        Choice("passes", "How many passes does reverse mode need?", "", lambda p: p.outputs, ("1", "100"), (
            Misconception("inputs", lambda p: p.inputs, 0.25, "Forward mode takes one for each input; reverse starts at an output."),
            Misconception("every pair", lambda p: p.inputs * p.outputs, 0.0, "One pass in reverse gives the derivatives by all inputs."),
            Misconception("one", lambda p: 1, 0.25, "One pass is enough for a loss, which is a single output."))),
        Part("time", "How long do all derivatives take in the quicker of the two modes?", "s", lambda p: min(forward(p), reverse(p)),
             ("50 µs", "50 ms"), (
            Misconception("the slower", lambda p: max(forward(p), reverse(p)), 0.25, "The other mode is quicker here."),
            Misconception("one pass", lambda p: min(p.push, p.pull), 0.0, "One pass gives one row or one column of the derivatives."),
            Misconception("every pair", lambda p: p.inputs * p.outputs * p.push, 0.0, "A pass gives a whole row or column.")))))
