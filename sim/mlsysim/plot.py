"""Figures of results, with matplotlib, each with a text that says what it shows: axes.alt.

    ax = plot.roofline("h100", model("llama-3.1-8b").graph(batch=8, tokens=1, context=4096))
    print(ax.alt)

Every function draws on `ax`, or on a new figure, and returns the axes. matplotlib loads on the first call.
"""

import numpy as np

from . import units
from .devices import device as find
from .efficiency import width
from .errors import SimError
from .result import Result, Term

# Distinguishable with every common form of colour blindness. Source: Okabe and Ito 2008.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000")


def _axes(ax, **labels):
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")[1]
    ax.set(**labels)
    return ax


def _done(ax, alt):
    ax.alt = " ".join(alt.split())
    return ax


def roofline(device, graph=None, *, precision="fp16", ax=None):
    """Attainable FLOP/s over arithmetic intensity; the operators of a Graph stand on the roof of their intensity."""
    device = find(device)
    peak, bandwidth = device.rate(precision), device.bandwidth.value
    ridge = peak / bandwidth
    ax = _axes(ax, xscale="log", yscale="log", xlabel="arithmetic intensity (FLOP/B)", ylabel="attainable FLOP/s")
    points = []
    if graph is not None:
        if graph.shape:
            raise SimError(f"roofline draws one workload; this graph holds {graph.shape} of them")
        one = width(precision)
        traffic = graph.traffic(one, one)
        use = (graph.flop > 0) & (traffic > 0)
        points = [(n, f / t) for n, f, t, u in zip(graph.names, graph.flop, np.where(use, traffic, 1.0), use, strict=True) if u]
    low = min([ridge / 100, *(i / 2 for _, i in points)])
    high = max([ridge * 10, *(i * 2 for _, i in points)])
    x = np.geomspace(low, high, 200)
    ax.plot(x, np.minimum(peak, x * bandwidth), color="black")
    for i, (name, intensity) in enumerate(points):
        ax.plot(intensity, min(peak, intensity * bandwidth), "o", color=COLOURS[i % len(COLOURS)], label=name)
    if points:
        ax.legend(fontsize="small")
    ax.set_title(f"{device.title}, {precision}")
    below = [name for name, intensity in points if intensity < ridge]
    where = f" {len(below)} of {len(points)} operators lie left of it, limited by memory: {', '.join(below)}." if points else ""
    return _done(ax, f"Roofline of {device.title}: rises with {units.format(bandwidth, 'B/s')} to the peak of "
                     f"{units.format(peak, 'FLOP/s')}, which it meets at {ridge:.3g} FLOP/B.{where}")  # fmt: skip


def waterfall(result, *, ax=None):
    """The breakdown of a result: each part of the tree's first level starts where the one before ends."""
    tree = result.tree if isinstance(result, Result) else result
    if not isinstance(tree, Term) or np.ndim(tree.value):
        raise SimError("waterfall draws the tree of one point; index an array of results first")
    parts = [p for p in tree.parts if p.value] or [tree]
    ax = _axes(ax, title=tree.name, xlabel=f"{tree.name} ({tree.unit})" if tree.unit else tree.name)
    start = 0.0
    for i, part in enumerate(parts):
        ax.barh(i, part.value, left=start if tree.join == "sum" else 0.0, color=COLOURS[i % len(COLOURS)])
        start += part.value if tree.join == "sum" else 0.0
    ax.set_yticks(range(len(parts)), [p.name for p in parts])
    ax.invert_yaxis()
    listed = ", ".join(f"{p.name} {units.format(float(p.value), p.unit)}" for p in sorted(parts, key=lambda p: -p.value))
    return _done(ax, f"Bars: {tree.name} of {units.format(float(tree.value), tree.unit)} is the {tree.join or 'value'} of {listed}.")


def timeline(spans, *, ax=None, title="timeline"):
    """A Gantt chart of (row, start, end, label) records, such as those of a simulated pipeline or cluster. Seconds."""
    spans = list(spans)
    if not spans:
        raise SimError("timeline: got no spans; wanted (row, start, end, label) records")
    rows = sorted({s[0] for s in spans}, key=lambda r: (str(type(r)), r))
    labels = list(dict.fromkeys(str(s[3]) for s in spans))
    ax = _axes(ax, title=title, xlabel="time (s)")
    for label in labels:
        own = [s for s in spans if str(s[3]) == label]
        ax.barh([rows.index(s[0]) for s in own], [s[2] - s[1] for s in own], left=[s[1] for s in own], height=0.8,
                color=COLOURS[labels.index(label) % len(COLOURS)], edgecolor="white", linewidth=0.3, label=label)  # fmt: skip
    ax.set_yticks(range(len(rows)), [str(r) for r in rows])
    ax.invert_yaxis()
    if len(labels) <= len(COLOURS):
        ax.legend(fontsize="small", ncols=min(len(labels), 4))
    start, end = min(s[1] for s in spans), max(s[2] for s in spans)
    busy = sum(s[2] - s[1] for s in spans) / (len(rows) * (end - start))
    return _done(ax, f"Gantt chart of {len(spans)} spans in {len(rows)} rows from {units.format(start, 's')} to "
                     f"{units.format(end, 's')}; rows are busy {busy:.0%} of the time.")  # fmt: skip


def latency_throughput(result, *, latency="tpot", ax=None):
    """Latency over throughput of an array of Serving results, one point a batch size."""
    if not result.shape:
        raise SimError("latency_throughput draws an array of results: serve(..., batch=np.array([1, 2, 4, 8]))")
    x, y = np.ravel(result.rate), np.ravel(np.broadcast_to(getattr(result, latency), result.shape))
    ax = _axes(ax, xlabel="throughput (token/s)", ylabel=f"{latency} (ms)", title="latency and throughput")
    ax.plot(x, 1e3 * y, "o-", color=COLOURS[0])
    return _done(ax, f"Curve of {x.size} points: throughput from {x.min():.4g} to {x.max():.4g} token/s while {latency} goes "
                     f"from {units.format(float(y[x.argmin()]), 's')} to {units.format(float(y[x.argmax()]), 's')}.")  # fmt: skip


def memory_stack(memories, names=None, *, capacity=None, ax=None):
    """Stacked bars of Memory results, one for each plan, and the capacity as a line."""
    memories = list(memories)
    names = [str(i) for i in range(len(memories))] if names is None else list(names)
    ax = _axes(ax, ylabel="memory of a rank (GB)", title="memory")
    kinds = [p.name for p in memories[0].tree.parts]
    bottom = np.zeros(len(memories))
    for i, kind in enumerate(kinds):
        height = np.array([float(m.tree.find(kind).value) for m in memories]) / 1e9
        ax.bar(names, height, bottom=bottom, color=COLOURS[i % len(COLOURS)], label=kind)
        bottom += height
    if capacity is not None:
        ax.axhline(capacity / 1e9, color="black", linestyle="--", label="capacity")
    ax.legend(fontsize="small")
    listed = ", ".join(f"{n} {units.format(1e9 * b, 'B')}" for n, b in zip(names, bottom, strict=True))
    fits = "" if capacity is None else f" {int((1e9 * bottom <= capacity).sum())} of {len(names)} fit {units.format(capacity, 'B')}."
    return _done(ax, f"Stacked bars of {', '.join(kinds)}: {listed}.{fits}")


def front(x, y, *, larger_x=False, larger_y=True):
    """Which points no other beats in both: a bool array. Small x and large y are good unless told otherwise."""
    x, y = (-np.asarray(x, float) if larger_x else np.asarray(x, float)), (-np.asarray(y, float) if larger_y else np.asarray(y, float))
    beaten = (x[None] <= x[:, None]) & (y[None] <= y[:, None]) & ((x[None] < x[:, None]) | (y[None] < y[:, None]))
    return ~beaten.any(axis=1)


def pareto(x, y, *, xlabel="cost", ylabel="quality", names=None, larger_x=False, larger_y=True, ax=None):
    """Points, and the front of those that no other beats."""
    x, y = np.ravel(np.asarray(x, float)), np.ravel(np.asarray(y, float))
    best = front(x, y, larger_x=larger_x, larger_y=larger_y)
    ax = _axes(ax, xlabel=xlabel, ylabel=ylabel, title="Pareto front")
    ax.plot(x[~best], y[~best], "o", color="#aaaaaa", label="beaten by another")
    order = np.argsort(x[best])
    ax.plot(x[best][order], y[best][order], "o-", color=COLOURS[0], label="on the front")
    for i in np.flatnonzero(best) if names is not None else ():
        ax.annotate(str(names[i]), (x[i], y[i]), fontsize="small", textcoords="offset points", xytext=(4, 4))
    ax.legend(fontsize="small")
    spans = [f"{name} goes from {v[best].min():.4g} to {v[best].max():.4g}" for name, v in ((xlabel, x), (ylabel, y))]
    return _done(ax, f"{x.size} points of {ylabel} over {xlabel}, {int(best.sum())} on the front, whose {' and whose '.join(spans)}.")


def tornado(swings, *, xlabel="change of the result (%)", ax=None):
    """Bars of name -> (low, high), the widest on top: what each input does to the result by itself. Elasticities fit too."""
    pairs = {n: (float(v[0]), float(v[1])) if np.ndim(v) else (-float(v), float(v)) for n, v in swings.items()}
    order = sorted(pairs, key=lambda n: -abs(pairs[n][1] - pairs[n][0]))
    ax = _axes(ax, xlabel=xlabel, title="what it depends on")
    for i, name in enumerate(order):
        low, high = pairs[name]
        ax.barh(i, low, color=COLOURS[0])
        ax.barh(i, high, color=COLOURS[1])
    ax.axvline(0.0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(order)), order)
    ax.invert_yaxis()
    listed = ", ".join(f"{n} {pairs[n][0]:+.3g} to {pairs[n][1]:+.3g}" for n in order)
    return _done(ax, f"Tornado chart, widest first: {listed}.")
