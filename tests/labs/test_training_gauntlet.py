"""Lab V1-08: keys agree with formulas written out, slips are told apart, and both remedies do less than their names promise."""

import numpy as np
import pytest
from pytest import approx

from mlsysbook.labs.tracks import TRACKS
from mlsysim import device, model
from tests.labs.lab import failing, reference

WIDTH, RATE = {"fp32": 4, "mixed": 2}, {"fp32": "fp32", "mixed": "fp16"}
EACH = {"adam": 16, "momentum": 12}  # B a parameter, in either precision: Rajbhandari et al. 2020, section 3.1
PLACES = {"cloud": ("llama-3.2-3b", "h100", 2048), "edge": ("llama-3.2-1b", "jetson-agx-orin", 2048), "mobile": ("gpt-2", "tensor-g3", 1024),
          "tiny": ("mobilenet-v1-0.25", "cortex-m55", 1)}


@pytest.fixture(scope="module")
def lab():
    return reference("labs/v1_08_training_gauntlet")


def layers(network, precision, tokens):
    """Bytes that layers keep and take in, written out: Korthikanti et al. 2022 without dropout and scores, for any heads and gating."""
    m, w = model(network), WIDTH[precision]
    if network not in ("mobilenet-v1-0.25", "ds-cnn", "resnet-8", "autoencoder"):
        inside = 2 * m.heads * m.head_dim + 2 * m.kv_heads * m.head_dim + (3 if m.gated else 2) * m.hidden + 4 * m.width
        taken = w * tokens * m.width
        return np.array([w * tokens * inside] * m.layers + [taken + 4.0 * tokens * m.vocab]), np.full(m.layers + 1, float(taken))
    ls = [x for x in m.layers if x.kind in ("gemm", "depthwise")]
    return np.array([w * (x.reads + x.writes) for x in ls], float), np.array([w * x.reads for x in ls], float)


def kept(inside, taken, every, *, last=True, stretch=max, checkpoints=True):
    if every == 0:
        return float(sum(inside))
    cuts = [i for i in range(0, len(inside), every) if last or i + every <= len(inside)]
    return float(checkpoints * sum(taken[i] for i in cuts) + stretch(sum(inside[i:i + every]) for i in cuts))


def step(batch, flop, moved, weights, states, peak, bandwidth, recompute=False, *, again=4, roof=np.maximum, share=True, update=2):
    n = again if recompute else 3
    work, traffic = n * batch * flop / peak, ((n if share else n * batch) * weights + 2 * batch * moved + update * states) / bandwidth
    return roof(work, traffic) / batch


def forward(network, tokens):
    m = model(network)
    return m.flop if tokens == 1 else tokens * m.flop_per_token((tokens - 1) / 2)


def test_keys_agree_with_the_formulas_written_out(lab):
    for v in lab.pool:
        m, d = model(v["network"]), device(v["device"])
        inside, taken = layers(v["network"], v["precision"], v["tokens"])
        states, held = EACH[v["optimizer"]] * m.params, kept(inside, taken, v["every"])
        assert lab.key("states", v).value == approx(states)
        assert lab.key("kept", v).value == approx(held)
        assert lab.key("largest", v).value == (d.memory.value - states) // held >= 2
        work = forward(v["network"], v["tokens"]), inside.sum(), WIDTH[v["precision"]] * m.params, states
        rates = d.peak[RATE[v["precision"]]].value, d.bandwidth.value
        took = step(v["batch"], *work, *rates, recompute=True)
        found = "states" if states > v["batch"] * held else "activations"
        if states + v["batch"] * held <= d.memory.value:
            found = "arithmetic" if took == approx(4 * work[0] / rates[0]) else "memory bandwidth"
        assert lab.ruling("stop", v).binding == found


@pytest.mark.parametrize("track", TRACKS)
def test_half_the_bits_save_a_fifth_at_most_and_keeping_inputs_alone_is_far_from_one_layer_of_many(lab, track):
    network, where, tokens = PLACES[track]
    states, room = 16 * model(network).params, device(where).memory.value
    (full, _), (half, taken) = (layers(network, p, tokens) for p in ("fp32", "mixed"))
    saved = (states + full.sum()) / (states + half.sum())
    assert lab.key("halved", {"track": track}).value == approx(saved) and 1 < saved < 1.25
    grown = ((room - states) // kept(half, taken, 1)) / ((room - states) // half.sum())
    assert lab.key("stretch", {"track": track}).value == approx(grown) and 1.5 < grown < len(half) / 2


SLIPS = [
    ("kept_bytes", "none", kept, set()),
    ("kept_bytes", "checkpoints alone", lambda i, t, e: kept(i, t, e, stretch=lambda x: 0), {0, 1, 2, 4}),
    ("kept_bytes", "the stretch alone", lambda i, t, e: kept(i, t, e, checkpoints=False), {0, 1, 2, 4}),
    ("kept_bytes", "all stretches", lambda i, t, e: kept(i, t, e, stretch=sum), {0, 1, 2}),
    ("kept_bytes", "the first stretch", lambda i, t, e: kept(i, t, e, stretch=lambda x: next(iter(x))), {2}),
    ("kept_bytes", "whole stretches only", lambda i, t, e: kept(i, t, e, last=False) if 0 < e <= len(i) else kept(i, t, e), {2}),
    ("kept_bytes", "one large layer", lambda i, t, e: kept(i, t, e, stretch=lambda x: max(i)), {0, 1, 4}),
    ("kept_bytes", "0 is 1", lambda i, t, e: kept(i, t, max(e, 1)), {3}),
    ("largest_batch", "none", lambda m, s, e: np.floor(np.maximum(m - np.asarray(s), 0) / e).astype(int), set()),
    ("largest_batch", "without states", lambda m, s, e: np.asarray(m // (e + 0 * np.asarray(s))).astype(int), {0, 1, 2, 3}),
    ("largest_batch", "one too many", lambda m, s, e: np.ceil(np.maximum(m - np.asarray(s), 0) / e).astype(int), {0, 2}),
    ("largest_batch", "below zero", lambda m, s, e: np.floor((m - np.asarray(s)) / e).astype(int), {1}),
    ("largest_batch", "one at least", lambda m, s, e: np.maximum(np.floor((m - np.asarray(s)) / e), 1).astype(int), {1, 2}),
    ("largest_batch", "scalars only", lambda m, s, e: int(max(m - s, 0) // e), {3}),
    ("seconds_per_input", "none", step, set()),
    ("seconds_per_input", "both added", lambda *a, **k: step(*a, **k, roof=np.add), {0, 1, 2}),
    ("seconds_per_input", "arithmetic alone", lambda *a, **k: step(*a, **k, roof=lambda x, y: x), {0, 1}),
    ("seconds_per_input", "traffic alone", lambda *a, **k: step(*a, **k, roof=lambda x, y: y), {0, 1}),
    ("seconds_per_input", "the step", lambda b, *a, **k: b * step(b, *a, **k), {0, 1, 2}),
    ("seconds_per_input", "weights for each input", lambda *a, **k: step(*a, **k, share=False), {2}),
    ("seconds_per_input", "no update", lambda *a, **k: step(*a, **k, update=0), {0, 1}),
    ("seconds_per_input", "recomputing is free", lambda *a, **k: step(*a, **k, again=3), {1}),
]


@pytest.mark.parametrize(("name", "slip", "function", "wanted"), SLIPS, ids=lambda x: x if isinstance(x, str) else None)
def test_a_slip_fails_its_own_behaviours(lab, name, slip, function, wanted):
    for seed in range(5):
        wrong = failing(lab, name, function, seed)
        assert wanted <= wrong and (wanted or not wrong), (seed, wrong)
