"""Training a transformer on a cluster: memory of every rank, time of a step, and what stands between it and the peak.

tp devices share each product (with sequence_parallel also the norms), pp stages share the layers, cp devices share each
sequence, and dp = gpus / (tp pp cp) replicas share the batch. Ranks are laid out in that order, tp innermost.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ._check import amount
from .collectives import all_gather, all_to_all, library_all_reduce
from .efficiency import HOST, KERNELS, constants, draw, host_seconds, operator_times, width
from .errors import RangeError, SimError, unknown
from .graph import Graph, Op
from .models import model as named
from .pipeline import in_flight as kept_by_first
from .result import Result, Term, require, total
from .systems import find_cluster
from .topology import links

RECOMPUTE = ("none", "selective", "full")
# Kernels of an all-to-all dispatcher in a layer of experts, forward and back, besides those of the graph: tokens of each expert are
# summed, gathered from all devices and copied to the host, places in both orders are worked out, tokens and probabilities sent.
# Source: Megatron-LM, megatron/core/transformer/moe/token_dispatcher.py, MoEAlltoAllTokenDispatcher without drops.
DISPATCH = 23, 8


@dataclass(frozen=True, kw_only=True)
class Memory(Result):
    """Bytes on the fullest rank, by what they are for."""

    headline = "memory"

    memory: np.ndarray
    weights: np.ndarray
    gradients: np.ndarray
    optimizer: np.ndarray
    activations: np.ndarray
    units = {"weights": "B", "gradients": "B", "optimizer": "B", "activations": "B"}


def state_bytes(params, *, dp=1, zero=0, weights=2.0, gradients=2.0, optimizer=12.0):
    """Bytes of weights, gradients and optimizer state on one of dp replicas -> three arrays.

    Mixed-precision Adam keeps 2 B of weights, 2 of gradients and 12 of optimizer state (fp32 weights and two moments) a
    parameter. zero=1 splits the optimizer state over the replicas, 2 the gradients too, 3 the weights too.
    Source: Rajbhandari et al. 2020, figure 1.
    """
    params = amount("params", params, "")
    dp = amount("dp", dp, "", least=1, whole=True)
    if zero not in (0, 1, 2, 3):
        raise RangeError(f"zero: got {zero!r}; wanted 0, 1, 2 or 3")
    split = [np.where(zero >= stage, dp, 1.0) for stage in (3, 2, 1)]
    given = zip(("weights", "gradients", "optimizer"), (weights, gradients, optimizer), split, strict=True)
    return tuple((params * amount(name, each, "B") / n)[()] for name, each, n in given)


def activation_bytes(model, *, micro_batch, tokens, tp=1, recompute="none", sequence_parallel=False, flash=True, dropout=False,
                     bytes_per=2.0):  # fmt: skip
    """Bytes of activations that one layer keeps for the backward pass of one micro-batch.

    Per token and layer of a plain transformer with dropout 34 width + 5 heads tokens bytes in fp16, of which tp divides
    24 width and the scores, and sequence_parallel the rest; written here for any heads, hidden length and gating. Without
    dropout there are no masks of 2 width bytes and of heads tokens bytes, and one copy of the scores instead of two.
    "selective" (and flash) drops the scores, "full" keeps the layer's input alone. Source: Korthikanti et al. 2022, eqs. 1-6.
    """
    m = named(model)
    rows = amount("micro_batch", micro_batch, "", least=1) * amount("tokens", tokens, "", least=1)
    if recompute not in RECOMPUTE:
        raise unknown("recompute", recompute, list(RECOMPUTE))
    if recompute == "full":
        return (rows * m.width * bytes_per / (tp if sequence_parallel else 1))[()]
    used = m.hidden if not m.experts else m.expert_hidden * (m.active + m.shared)
    heads = m.heads * (m.value_dim or m.head_dim)
    kv = 2 * m.kv_heads * m.head_dim if not m.kv_rank else m.kv_rank + 2 * m.heads * m.head_dim
    inside = heads * 2 + kv + used * (3 if m.gated else 2)  # q and what attention gives, k and v, the feed-forward
    around = 4 * m.width  # inputs of two norms and of the two products behind them
    around = around * bytes_per + 2 * m.width * dropout  # a mask is a byte an element
    scores = m.heads * amount("tokens", tokens, "") * (2 * bytes_per + 1 if dropout else bytes_per)
    scores = 0.0 * scores if flash or recompute == "selective" else scores
    return (rows * ((inside * bytes_per + scores) / tp + around / (tp if sequence_parallel else 1)))[()]


def loss(vocab, rows):
    """The operators of a cross-entropy in fp32 on 16-bit logits: read and copied, log of the softmax read and written.

    An fp32 number counts twice. Source: PyTorch, automatic mixed precision, operators that autocast to float32.
    """
    each = rows * vocab
    return Graph([Op("loss", "vector", flop=5 * each, reads=3 * each, writes=4 * each)])


def casts(graph):
    """The operators that round the inputs of products to 8 bits: read in 16, written in 8 as they are and turned for the backward pass.

    Weights are rounded once a step, which is not counted. Source: NVIDIA Transformer Engine, Linear with FP8 recipes.
    """
    return Graph([Op(f"{op.name} cast", "vector", reads=op.reads, writes=op.reads, count=op.count)
                  for op, wide in zip(graph.ops, graph.wide, strict=True) if op.kind == "gemm" and not wide])  # fmt: skip


def rearranged(m, rows, times):
    """Copies of all routed tokens before and after a layer's experts, `times` each way, besides sorting and weighting them once.

    Experts on several devices: tokens come ordered by sender, are sorted by expert, and go back as they came. 8 bits: the
    tokens of every expert are padded to whole blocks. Source: Megatron-LM, sort_chunks_by_idxs of its token dispatcher and
    fp8_padding of TEGroupedMLP.
    """
    moved = 2.0 * times * rows * m.active * m.width
    return Graph([Op("tokens by expert", "vector", reads=moved, writes=moved, count=m.layers - m.dense_layers)])


def kernels(graph, experts):
    """How many operators a host launches for a graph: products of experts, and the casts before them, are one for each that a device has.

    Source: NVIDIA Transformer Engine, GroupedLinear, which gives cuBLAS one expert after the other, and multi_tensor_quantize,
    which has one kernel for all of them with delayed scales alone: with current and block scales it takes one after the other.
    """
    of_experts = [op.name.startswith("experts ") and (op.kind == "gemm" or " cast" in op.name) for op in graph.ops]
    return sum(op.count * (experts if each else 1) for op, each in zip(graph.ops, of_experts, strict=True))


@lru_cache(maxsize=64)
def passes(m, batch, tokens, context, tp, flash, eight, spread):
    """Graphs of the layers and of the whole model, each forward and back, kept for the next layout with these shapes.

    eight: products in 8 bits, with activations in 16 around them. spread: experts on several devices.
    """
    shape = dict(batch=batch, tokens=tokens, context=context, tp=tp, flash=flash, logits="all")
    layers, whole = m.graph(head=False, **shape), m.graph(**shape) + loss(m.vocab / tp, batch * tokens)
    if eight:
        layers, whole = layers + casts(layers), whole + casts(whole)
    if m.experts and (spread or eight):
        copies = rearranged(m, batch * tokens / tp, spread + eight)
        layers, whole = layers + copies, whole + copies
    return layers, layers.backward(), whole, whole.backward()


@dataclass(frozen=True, kw_only=True)
class Training(Result):
    """One step of training, and the whole run if its tokens are given. rate counts tokens a second, all devices together.

    mfu counts the FLOP that the model needs, hfu also those computed twice; memory is that of the fullest rank. bubble is
    the share of the step in which a stage waits for its first or after its last micro-batch.
    """

    seconds: np.ndarray
    rate: np.ndarray
    flop: np.ndarray
    mfu: np.ndarray
    hfu: np.ndarray
    bubble: np.ndarray
    memory: np.ndarray
    capacity: float
    energy: np.ndarray
    feasible: np.ndarray
    run_seconds: np.ndarray
    gpu_hours: np.ndarray
    layout: dict
    parts: Memory
    units = {"run_seconds": "s"}


def _divides(name, got, what, n):
    if n % got:
        near = sorted((d for d in range(1, n + 1) if n % d == 0), key=lambda d: abs(d - got))[:4]
        raise RangeError(f"{name}: got {got}, which does not divide {what} ({n}); the nearest are "
                         f"{', '.join(map(str, sorted(near)))}")  # fmt: skip


def _whole(name, value):
    return int(amount(name, value, "", least=1, whole=True))


def train(model, on, *, batch, tokens, tp=1, pp=1, cp=1, ep=1, micro_batch=1, interleave=1, zero=0, recompute="none",
          sequence_parallel=False, flash=True, precision="bf16", overlap=True, overlap_experts=False, uneven=False,
          launch="eager", run_tokens=None, allow_infeasible=False):  # fmt: skip
    """One step of training `batch` sequences of `tokens` tokens on a Cluster -> Training.

    on is a Cluster or (name of a node, number of devices, which may be fewer than it has). tp, pp, cp, ep: tensor,
    pipeline, context and expert parallelism; interleave is model chunks a stage, zero and recompute as in state_bytes and
    activation_bytes. overlap: gradients travel while the backward pass of the last micro-batch runs. overlap_experts:
    tokens travel to and from experts while another micro-batch computes. uneven: stages may differ by a layer a chunk, and the
    longest sets the pace. launch: "eager", where the
    host launches operators one by one, or a captured "graph". run_tokens: the whole run, for its time. In 8 bits only products
    with weights are: attention, the head and what lies between two operators keep 16.

    batch may be an array. Raises Infeasible if a rank does not fit its memory, RangeError if a degree does not divide
    what it splits. Sources: Narayanan et al. 2021; Rajbhandari et al. 2020; Korthikanti et al. 2022.
    """
    m, on = named(model), find_cluster(on)
    if not getattr(m, "causal", False):
        raise SimError(f"train: {m.title} is a {m.kind}; wanted a decoder, such as 'llama-3.1-8b'")
    device, gpus = on.device, on.devices
    peak = gpus * device.rate(precision)
    tp, pp, cp, ep, interleave = (_whole(k, v) for k, v in
                                  dict(tp=tp, pp=pp, cp=cp, ep=ep, interleave=interleave).items())  # fmt: skip
    m.check_split(tp)
    if not uneven or pp * interleave > m.layers:
        _divides("pp", pp, f"the layers of {m.title}", m.layers)
        _divides("interleave", interleave, "the layers of a stage", m.layers // pp)
    longest = -(-m.layers // (pp * interleave)) * interleave  # layers of the stage that has most
    part = longest / m.layers
    _divides("tp x pp x cp", tp * pp * cp, "the devices", gpus)
    dp = gpus // (tp * pp * cp)
    if ep > 1:
        _divides("ep", ep, f"the experts of {m.title}", m.experts or 1)
        _divides("ep", ep, "the replicas", dp)
    micro_batch = _whole("micro_batch", micro_batch)
    batch = amount("batch", batch, "", least=1, whole=True)
    tokens = _whole("tokens", tokens)
    _divides("cp", cp, "the tokens of a sequence", tokens)
    rest = np.asarray(batch % (dp * micro_batch))
    if rest.any():
        got = int(np.asarray(batch)[rest != 0].flat[0]) if np.ndim(batch) else int(batch)
        raise RangeError(f"batch: got {got}, which is not a multiple of {dp} replicas x {micro_batch} sequences a micro-batch")
    micro = batch / (dp * micro_batch)

    # Memory of the first stage, which holds the most micro-batches at a time.
    expert = m.feed_forward(m.expert_hidden) * m.experts * (m.layers - m.dense_layers) if m.experts else 0
    share = (m.params - expert - m.embedding_params) / tp * part + m.vocab * m.width / tp
    held = state_bytes(share, dp=dp * cp, zero=zero)
    of_experts = state_bytes(expert / (tp * ep) * part, dp=max(dp * cp // ep, 1), zero=zero)
    weights, gradients, optimizer = (a + b for a, b in zip(held, of_experts, strict=True))
    rows = tokens // cp
    kept = activation_bytes(m, micro_batch=micro_batch, tokens=rows, tp=tp, recompute=recompute,
                            sequence_parallel=sequence_parallel, flash=flash)  # fmt: skip
    in_flight = kept_by_first(pp, micro, schedule="interleaved" if interleave > 1 else "1f1b", interleave=interleave)
    working = activation_bytes(m, micro_batch=micro_batch, tokens=rows, tp=tp, flash=flash) if recompute == "full" else 0.0
    logits = 4.0 * micro_batch * rows * m.vocab / tp if pp == 1 else 0.0
    activations = kept * longest * in_flight + working + logits
    memory = weights + gradients + optimizer + activations
    capacity = device.memory.value
    fits = require(memory <= capacity, allow_infeasible, f"a rank of {m.title} (tp={tp}, pp={pp}, dp={dp}, zero={zero}, "
                   f"recompute={recompute}) on {device.title}", memory, capacity)  # fmt: skip
    parts = Memory(memory=memory, weights=weights, gradients=gradients, optimizer=optimizer, activations=activations,
                   grow=lambda: total("memory of a rank", [
                       Term("weights", weights, "B", "2 B a parameter"), Term("gradients", gradients, "B", "2 B a parameter"),
                       Term("optimizer", optimizer, "B", "12 B a parameter: fp32 weights and two moments"),
                       Term("activations", activations, "B", f"{recompute} recomputed, {longest} layers"),
                   ], "B"))  # fmt: skip

    # Work of one micro-batch: the layers of a stage, and the embedding and head that the last one has besides.
    layers, back_layers, whole, back_whole = passes(m, micro_batch, rows, (tokens - rows) // 2, tp, bool(flash),
                                                     width(precision) < 2, ep > 1)  # fmt: skip

    moe = m.layers - m.dense_layers if m.experts else 0
    how, between = launch, max(width(precision), 2.0)

    def step(device=device, on=on, launch=1.0):
        def work(graph, back=False):
            seconds = graph.over(operator_times(graph, device, precision, activations=between, launch=launch).seconds)
            besides = DISPATCH[back] / KERNELS * moe if ep > 1 else 0.0
            host = host_seconds(how, kernels(graph, m.experts / ep) + besides, HOST * launch)
            return seconds + host if m.experts and (overlap_experts or not back) else np.maximum(seconds, host)

        # Forward, every layer of experts asks the device how many tokens each of them gets, so that the host launches nothing ahead.
        # Where tokens travel while another micro-batch computes, one thread launches the layers of both in turn, and waits for both.
        ahead, behind = work(layers) * part, work(back_layers, back=True) * part
        again = {"none": 0.0, "selective": 0.0 if flash else 0.1 * ahead, "full": ahead}[recompute]
        head = work(whole) + work(back_whole, back=True) - (ahead + behind) / part
        # tensor parallelism: two all-reduces a layer each way, and again when the layer is computed again
        each, count = m.reduced(batch=micro_batch, tokens=rows)
        near = links(on, tp, 1)
        start = constants(device.family).launch * launch  # a collective is a kernel too
        reduce = start + library_all_reduce(each * 2.0, tp, near.bandwidth, latency=near.latency) if tp > 1 else 0.0
        tensor = reduce * count * part * (3 if recompute == "full" else 2)
        # context parallelism: keys and values go round the ring while attention works on those that are here
        around = links(on, cp, tp)
        kv = 2 * 2.0 * micro_batch * rows * max(m.kv_heads // tp, 1) * m.head_dim
        context = all_gather(kv * cp, cp, around.bandwidth, latency=around.latency) * longest * 2 if cp > 1 else 0.0
        context = np.maximum(context - (ahead + behind) * 0.5, 0.0)
        # expert parallelism: tokens to their experts and back, each way
        far = links(on, ep, tp * cp, pattern="all-to-all")
        routed = 2.0 * micro_batch * rows * m.active * m.width / tp
        experts = 4 * all_to_all(routed, ep, far.bandwidth, latency=far.latency) * moe * part if ep > 1 else 0.0
        experts = np.maximum(experts - (ahead + behind + again), 0.0) if overlap_experts else experts
        # pipeline: activations to the next stage, gradients back; interleaved chunks send each time
        hop = links(on, pp, tp * cp * dp, pattern="halves")
        sent = 2.0 * micro_batch * rows * m.width / (tp if sequence_parallel or tp > 1 else 1)
        send = 2 * interleave * (hop.latency + sent / hop.bandwidth) if pp > 1 else 0.0
        one = ahead + behind + again + tensor + context + experts + send
        steady = micro * (one + head)
        bubble = (pp - 1) / interleave * one
        # data parallelism: gradients to all replicas and the sum, or new weights, back
        group = links(on, dp * cp, tp, ring=True)
        size = 2.0 * (share + expert / (tp * ep) * part)
        one_way = all_gather(size, dp * cp, group.bandwidth, latency=group.latency) if dp * cp > 1 else 0.0
        trips = {2: micro + 1, 3: 3 * micro}.get(zero, 2)  # split gradients are scattered, split weights gathered, each time
        beside = {2: micro * (behind + head), 3: steady}.get(zero, behind + head) if overlap else 0.0
        data = np.maximum(trips * one_way - beside, 0.0)
        states = (share + expert / (tp * ep) * part) / (dp * cp if zero else 1)
        update = 30.0 * states / (device.bandwidth.value * constants(device.family).memory)
        return steady + bubble + data + update, dict(
            forward=micro * ahead, backward=micro * behind, recompute=micro * again, head=micro * head, tensor=micro * tensor,
            context=micro * context, experts=micro * experts, send=micro * send, bubble=bubble, data=data, update=update)  # fmt: skip

    seconds, spent = step()
    count = batch * tokens
    flop = 3.0 * m.flop_per_token((tokens - 1) / 2) * count
    twice = (4.0 if recompute == "full" else 3.0) / 3.0
    mfu = flop / (peak * seconds)
    steps = 1.0 if run_tokens is None else amount("run_tokens", run_tokens, "token" if isinstance(run_tokens, str) else "") / count
    power = on.nodes * (on.node.count * draw(device, mfu) + (on.node.host_power.value if on.node.host_power else 0.0))
    formulas = {
        "forward": "micro-batches x layers of a stage, operator by operator", "backward": "two products for each one",
        "recompute": "the forward pass once more", "head": "vocabulary and embedding, on the last stage",
        "tensor": "all-reduces of tensor parallelism, not hidden", "context": "keys and values round the ring, what is not hidden",
        "experts": "all-to-alls, not hidden", "send": "activations between stages", "bubble": "(pp - 1) / interleave x one micro-batch",
        "data": "gradients between replicas, what the backward pass does not hide", "update": "optimizer state read and written",
    }  # fmt: skip
    return Training(
        seconds=seconds, rate=count / seconds, flop=flop, mfu=mfu, hfu=mfu * twice, bubble=spent["bubble"] / seconds,
        memory=memory, capacity=capacity, energy=power * seconds * steps, feasible=fits, run_seconds=seconds * steps,
        gpu_hours=seconds * steps * gpus / 3600.0, layout=dict(tp=tp, pp=pp, cp=cp, ep=ep, dp=dp, micro_batches=micro), parts=parts,
        grow=lambda: total("step", [Term(name, value, formula=formulas[name]) for name, value in spent.items()]),
        knobs={
            "compute": lambda s: step(device.scaled(peak=s))[0],
            "memory bandwidth": lambda s: step(device.scaled(bandwidth=s))[0],
            "launch": lambda s: step(launch=1 / s)[0],
            "scale-up network": lambda s: step(on=faster(on, scale_up=s))[0],
            "scale-out network": lambda s: step(on=faster(on, scale_out=s))[0],
        },
    )  # fmt: skip


def faster(on, **scales):
    """The cluster with the rate of a fabric multiplied, for elasticities: scale_up=, scale_out=."""
    new = {}
    for which, scale in scales.items():
        fabric = getattr(on.node, which)
        figure = fabric.per_direction
        new[which] = replace(fabric, per_direction=replace(figure, value=figure.value * scale))
    return replace(on, node=replace(on.node, **new))
