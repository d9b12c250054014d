"""computation_graph: what an operation leaves behind for its backward, as a panel in which one walks back step by step.

It reads the graph of module 06 through what every node has, `inputs`, `function`, `name`, `number` and `pull`, and so shows a
student's own autograd as it is. Nothing in the graph changes: no gradient is kept, no hook runs, no node is released.
"""

import math

import numpy as np

from .explore import SIZE, SettingError, explore, pick, slider

ALL = "the whole graph"
MOST = 400                              # nodes; beyond, a picture says nothing


def computation_graph(output, names=None):
    """The graph behind a tensor as an Explore panel: walk back, zoom, and look at one place.

    names: {name: leaf tensor}, for leaves that the picture should call by name; parameters may be given so. The gradient starts
    as ones of output's shape. Raises SettingError for a tensor without a graph, one that was released, or more than 400 nodes.
    """
    root = getattr(output, "grad_fn", None)
    if root is None:
        raise SettingError("computation_graph: this tensor has no graph; wants the result of operations on a tensor that requires grad")
    nodes = _nodes(root)
    if len(nodes) > MOST:
        raise SettingError(f"computation_graph: {len(nodes)} operations; a picture can show {MOST}. Take a smaller model or fewer steps")
    if any(node.function is None for node in nodes):
        raise SettingError("computation_graph: the graph was released by backward(); compute the result again, or draw it before")
    inputs = {node: [x for x in node.inputs if x is not None] for node in nodes}        # a later backward() makes the nodes forget
    said = _labels(nodes, names or {})
    at = _places(nodes)
    arrived = _gradients(nodes, output)
    label = {said[x]: x for x in at}

    def model(walked, zoom, look_at):
        centre = at[label[look_at]] if look_at != ALL else None
        frame = _frame(at, zoom, centre)
        inside = [x for x, (across, up) in at.items() if frame[0] <= across <= frame[1] and frame[2] <= up <= frame[3]]
        return {"walked": walked, "last": said[nodes[walked - 1]] if walked else None, "frame": frame, "in view": len(inside),
                "gradients": {said[x]: grads[-1] for x in at if (grads := [g for step, g in arrived.get(x, ()) if step <= walked])}}

    def draw(axes, result, settings):
        _draw(axes, inputs, at, said, result)

    def say(result, settings):
        seen = f"{result['in view']} of {len(at)} nodes and leaves in view"
        if not result["walked"]:
            return f"nothing walked yet; the gradient starts at {said[root]} with {_short(result['gradients'][said[root]])}; {seen}"
        node = nodes[result["walked"] - 1]
        gave = [f"{said[x]} {_short(result['gradients'].get(said[x]))}" for x in dict.fromkeys(inputs[node])]
        return f"step {result['walked']} of {len(nodes)}: {result['last']} passes its gradient on; so far {', '.join(gave)}; {seen}"

    controls = {"walked": slider(0, len(nodes), start=len(nodes), steps=len(nodes)),
                "zoom": slider(1.0, 8.0, start=1.0, log=True, steps=12),
                "look_at": pick(ALL, *(said[x] for x in sorted(at, key=lambda x: at[x])))}
    return explore(model, controls, draw=draw, say=say)


def _nodes(root):
    """Operations from which root was computed, root first. A node is younger than what it was computed from."""
    seen, stack = {root}, [root]
    while stack:
        for x in stack.pop().inputs:
            if hasattr(x, "pull") and x not in seen:
                seen.add(x)
                stack.append(x)
    return sorted(seen, key=lambda node: -node.number)


def _labels(nodes, names):
    """{node or leaf: its name in the picture}. Operations of one kind are counted in the order in which they ran."""
    given, said, count, leaves = {id(t): name for name, t in names.items()}, {}, {}, 0
    for node in reversed(nodes):
        count[node.name] = count.get(node.name, 0) + 1
        said[node] = f"{node.name} {count[node.name]}"
        for x in node.inputs:
            if x is not None and not hasattr(x, "pull") and x not in said:
                leaves += 1
                said[x] = given.get(id(x)) or f"leaf {leaves} {tuple(x.shape)}"
    for node in nodes:
        if count[node.name] == 1:
            said[node] = node.name
    return said


def _places(nodes):
    """{node or leaf: (across, up)}: an operation stands right of its operands, near the mean of their heights."""
    across, rows = {}, {}
    for node in reversed(nodes):
        across[node] = 1 + max((across[x] for x in node.inputs if hasattr(x, "pull")), default=0)
    for node in reversed(nodes):            # a leaf stands left of the first operation that reads it
        for x in node.inputs:
            if x is not None and not hasattr(x, "pull"):
                across[x] = min(across.get(x, across[node] - 1), across[node] - 1)
    for x, column in across.items():
        rows.setdefault(column, []).append(x)
    up, order = {}, {x: i for i, x in enumerate(across)}
    for column in sorted(rows):
        wanted = {}
        for row, x in enumerate(rows[column]):
            before = [up[i] for i in getattr(x, "inputs", ()) if i in up]
            wanted[x] = sum(before) / len(before) if before else -float(row)
        taken = math.inf
        for x in sorted(rows[column], key=lambda x: (-wanted[x], order[x])):
            taken = up[x] = min(wanted[x], taken - 1)
    return {x: (float(across[x]), up[x]) for x in across}


def _gradients(nodes, output):
    """{node or leaf: [(steps walked, the sum of what has arrived by then)]}, without a trace in the graph."""
    arrived = {nodes[0]: [(0, np.ones(output.shape, output.dtype))]}
    for step, node in enumerate(nodes, 1):
        if node not in arrived:             # nothing wanted its gradient
            continue
        hooks, owner = node.hooks, node.owner
        node.hooks = node.owner = None
        try:
            parts = node.pull(arrived[node][-1][1])
        finally:
            node.hooks, node.owner = hooks, owner
        for x, part in zip(node.inputs, parts, strict=True):
            if x is not None and part is not None:
                sums = arrived.setdefault(x, [])
                sums.append((step, sums[-1][1] + part if sums else part))
    return arrived


def _frame(at, zoom, centre):
    """What is in view: (left, right, bottom, top)."""
    xs, ys = [x for x, _ in at.values()], [y for _, y in at.values()]
    wide, high = max(xs) - min(xs) + 1.2, max(ys) - min(ys) + 1.4
    middle = centre or ((max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2 + 0.1)
    return (middle[0] - wide / zoom / 2, middle[0] + wide / zoom / 2, middle[1] - high / zoom / 2, middle[1] + high / zoom / 2)


def _draw(axes, inputs, at, said, result):
    from matplotlib.patches import FancyArrowPatch

    left, right, bottom, top = result["frame"]
    axes.set_position([0.01, 0.02, 0.98, 0.9])
    size = max(4.0, min(10.0, 54 / max(right - left, 1.4 * (top - bottom))))
    scale = 72 * 0.98 * SIZE[0] / (right - left), 72 * 0.9 * SIZE[1] / (top - bottom)       # points a unit
    for node, operands in inputs.items():
        for x in operands:
            run, rise = ((at[node][k] - at[x][k]) * scale[k] for k in (0, 1))
            length = math.hypot(run, rise)
            edge = [min((0.33 * len(said[end]) + 0.8) * size * length / max(abs(run), 1e-9), 1.1 * size * length / max(abs(rise), 1e-9))
                    for end in (x, node)]           # from the middle of a box to its side
            back = said[x] in result["gradients"] and said[node] in result["gradients"]
            past = at[node][0] - at[x][0] > 1           # an arrow past other places goes around them
            axes.add_patch(FancyArrowPatch(at[x], at[node], arrowstyle="-|>", mutation_scale=size, shrinkA=edge[0], shrinkB=edge[1],
                                           connectionstyle=f"arc3,rad={0.4 if past else 0}", color="#b5330f" if back else "0.6",
                                           lw=0.12 * size, zorder=1))
    for x, (across, up) in at.items():
        if not (left <= across <= right and bottom <= up <= top):
            continue
        leaf = not hasattr(x, "pull")
        axes.text(across, up, said[x], ha="center", va="center", size=size, clip_on=True,
                  bbox={"boxstyle": "round,pad=0.35", "fc": "#dceefb" if leaf else "white", "ec": "0.3"})
        if said[x] in result["gradients"]:
            axes.annotate(_short(result["gradients"][said[x]]), (across, up), (0, 1.2 * size), textcoords="offset points",
                          ha="center", va="bottom", color="#b5330f", size=0.9 * size, annotation_clip=True)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.axis("off")
    axes.set_title("blue: leaves; red: gradients that have arrived", fontsize=9)


def _short(gradient):
    """A gradient in few characters: the number, or its Euclidean norm and shape."""
    if gradient is None:
        return "no gradient"
    if gradient.size == 1:
        return f"{float(gradient.reshape(-1)[0]):.3g}"
    return f"|g| {float(np.linalg.norm(gradient)):.3g} {tuple(gradient.shape)}"
