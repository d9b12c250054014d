"""Serving a decoder in closed form: the prompt, the tokens after it, how many requests fit, and at what rate.

A request of `prompt` and `output` tokens is processed once as a prompt (prefill), then once for each token (decode).
tp devices of one node share each product. Sources: Pope et al. 2023; Yu et al. 2022 (continuous batching).
"""

from dataclasses import dataclass, replace

import numpy as np

from ._check import amount, together
from .collectives import library_all_reduce
from .devices import device as find
from .efficiency import HOST, activation_width, constants, draw, host_seconds, link_share, operator_times, width
from .errors import Infeasible, SimError
from .models import model as named
from .result import Result, Term, require, total
from .solving import graph_of
from .systems import fabric
from .units import format

PREFILL = 8192  # tokens of prompts that are processed in one pass: the default max_num_tokens of TensorRT-LLM
RESERVE = 0.10  # of the memory, for activations, buffers and fragmentation: the default of vLLM


@dataclass(frozen=True, kw_only=True)
class Serving(Result):
    """A batch of equal requests on one replica of tp devices.

    ttft is the time from the start of a request's prefill to its first token, tpot that of each further one with the
    whole batch decoding, seconds that of a request, rate the tokens a second that a replica puts out when prefills and
    decoding take turns, requests the requests a second. max_batch is how many such requests fit the memory at a time.
    """

    seconds: np.ndarray
    ttft: np.ndarray
    tpot: np.ndarray
    rate: np.ndarray
    requests: np.ndarray
    memory: np.ndarray
    capacity: float
    max_batch: np.ndarray
    energy: np.ndarray
    feasible: np.ndarray
    units = {"ttft": "s", "tpot": "s", "requests": "1/s"}


def step_seconds(model, device, *, batch, tokens, context, tp=1, precision="fp16", weights=None, cache=None, link=None,
                 head="last", grouped=True, how="graph", launch=1.0):  # fmt: skip
    """Seconds of one forward pass of `batch` sequences with `tokens` new tokens each on tp devices -> (operators, network).

    how: "graph", or "eager" where operators wait for a host that launches them and the collectives one by one. launch
    multiplies the times of launches, for elasticities.
    """
    m = named(model)
    stored, held = (width(precision if x is None else x, name) for x, name in ((weights, "weights"), (cache, "cache")))
    graph = graph_of(m, batch=batch, tokens=tokens, context=context, tp=tp, logits=head, grouped=grouped)
    times = operator_times(graph, device, precision, weights=stored, activations=activation_width(m, precision), cache=held,
                           launch=launch)  # fmt: skip
    seconds, kernels, network = (times.seconds * graph.count).sum(axis=0), graph.count.sum(axis=0), 0.0
    if tp > 1:
        each, count = m.reduced(batch=batch, tokens=tokens)
        rate = link.per_direction.value * link_share(link.kind)
        start = constants(device.family).launch * launch  # a collective is a kernel too
        network = count * (start + library_all_reduce(each * 2.0, tp, rate, latency=link.latency.value))
        kernels = kernels + count
    return np.maximum(seconds, host_seconds(how, kernels, HOST * launch) - network), network


def serve(model, device, *, batch=1, prompt=512, output=128, tp=1, precision="fp16", weights=None, cache=None,
          grouped=True, launch="eager", allow_infeasible=False):  # fmt: skip
    """A batch of requests of one length on a replica of tp devices -> Serving.

    batch, prompt and output broadcast. weights and cache are the precisions that these are stored in: weights="int4"
    keeps the arithmetic in `precision`. launch="eager": the host launches the operators of a prompt one by one, which a
    short prompt waits for; with "graph" they were captured, as those of a decoding step always are. grouped=False is an
    attention kernel that reads the cache for each query head.
    For rate, prompts are processed several at a time, as many as PREFILL tokens hold. Raises Infeasible if the requests do
    not fit the memory, RangeError if tp does not divide the model, SimError for a model that is no decoder.
    """
    m, device = named(model), find(device)
    if getattr(m, "kind", "") != "decoder":
        raise SimError(f"serve: {m.title} is a {m.kind} model; wanted a decoder, such as 'llama-3.1-8b'")
    tp = m.check_split(tp)
    link = None
    if tp > 1:
        if device.link is None:
            raise SimError(f"tp: got {tp}; {device.title} has no scale-up fabric to split a product over, wanted 1")
        link = fabric(device.link)
    batch = amount("batch", batch, "", least=1, whole=True)
    prompt = amount("prompt", prompt, "", least=1, whole=True)
    output = amount("output", output, "", least=1, whole=True)
    together(batch=batch, prompt=prompt, output=output)
    stored, held = (width(precision if x is None else x, name) for x, name in ((weights, "weights"), (cache, "cache")))
    capacity = device.memory.value
    of_weights = m.params * stored / tp
    of_one = m.cached(batch=1, tokens=prompt + output, tp=tp) * held
    room = capacity * (1 - RESERVE) - of_weights
    if room <= 0 and not allow_infeasible:
        raise Infeasible(f"weights of {m.title} on {tp} x {device.title} need {format(of_weights, 'B')} a device, there is "
                         f"{format(capacity * (1 - RESERVE), 'B')}: {of_weights / capacity / (1 - RESERVE):.3g} times that; "
                         "more tp or fewer bits a weight")  # fmt: skip
    memory = of_weights + batch * of_one + RESERVE * capacity
    fits = require(memory <= capacity, allow_infeasible, f"{m.title} with its requests on {tp} x {device.title}", memory, capacity)
    max_batch = np.floor(np.maximum(room, 0.0) / of_one)

    how = launch

    def run(device=device, link=link, launch=1.0):
        common = dict(tp=tp, launch=launch, precision=precision, weights=weights, cache=cache, link=link, grouped=grouped)
        first = step_seconds(m, device, batch=1, tokens=prompt, context=0, how=how, **common)
        together = np.clip(np.floor(PREFILL / prompt), 1, batch)
        prefills = sum(step_seconds(m, device, batch=together, tokens=prompt, context=0, how=how, **common)) * batch / together
        # a decoding step in the middle of the output stands for all of them: its time is linear in the context
        each = step_seconds(m, device, batch=batch, tokens=1, context=prompt + (output - 1) // 2, **common)
        return first, each, prefills

    (work, net), (step, step_net), prefills = run()
    ttft, tpot = work + net, step + step_net
    cycle = prefills + (output - 1) * tpot  # every request of the batch is prefilled once, then all decode
    seconds = ttft + (output - 1) * tpot
    rate = batch * output / cycle
    busy = np.minimum(m.flop_per_token(prompt) * rate / (tp * device.rate(precision)) + of_weights / (tpot * device.bandwidth.value), 1.0)

    def again(**changed):
        (a, b), (c, d), _ = run(**changed)
        return a + b + (output - 1) * (c + d)

    def quicker(s):
        rate, wait = link.per_direction, link.latency
        return replace(link, per_direction=replace(rate, value=rate.value * s), latency=replace(wait, value=wait.value / s))

    return Serving(
        seconds=seconds[()], ttft=ttft[()], tpot=tpot[()], rate=rate[()], requests=(rate / output)[()], memory=memory[()],
        capacity=capacity, max_batch=max_batch[()], energy=(tp * draw(device, busy) * seconds)[()], feasible=fits,
        grow=lambda: total("request", [
            total("prefill", [Term("operators", work, formula="operator by operator, or all their launches if longer"),
                              Term("all-reduces", net, formula="two a layer")]),
            total("decode", [Term("operators", (output - 1) * step, formula="(output - 1) x one step of the batch"),
                             Term("all-reduces", (output - 1) * step_net, formula="two a layer")]),
        ]),
        knobs={
            "compute": lambda s: again(device=device.scaled(peak=s)),
            "memory bandwidth": lambda s: again(device=device.scaled(bandwidth=s)),
            "launch": lambda s: again(launch=1 / s),
        } | ({"network": lambda s: again(link=quicker(s))} if tp > 1 else {}),
    )  # fmt: skip
