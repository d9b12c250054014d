"""Training: published memory and work by hand, invariants of every layout, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx

from mlsysim import cluster
from mlsysim.errors import Infeasible, RangeError, SimError, UnknownName
from mlsysim.layout import layouts
from mlsysim.models import model
from mlsysim.pipeline import bubble
from mlsysim.result import Why
from mlsysim.topology import collective
from mlsysim.training import activation_bytes, state_bytes, train
from mlsysim.training_nets import train_net

H100 = cluster("dgx-h100", gpus=64)
A100 = cluster("dgx-a100", gpus=1024)
LLAMA = "llama-2-7b"  # 32 layers, 32 heads
SMALL = dict(batch=256, tokens=2048, precision="bf16")


def faster(on, *, compute=1.0, memory=1.0, near=1.0, far=1.0):
    """The same cluster with some rates scaled."""

    def link(fabric, scale):
        rate = fabric.per_direction
        return replace(fabric, per_direction=replace(rate, value=rate.value * scale))

    node = on.node
    return replace(on, node=replace(node, device=node.device.scaled(peak=compute, bandwidth=memory), scale_up=link(node.scale_up, near),
                                    scale_out=link(node.scale_out, far)))  # fmt: skip


# By hand.


@pytest.mark.parametrize("zero, gigabytes", [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_memory_of_zero_is_that_of_its_figure(zero, gigabytes):
    """Rajbhandari et al. 2020, figure 1: 7.5 billion parameters, Adam in mixed precision, 64 replicas."""
    assert sum(state_bytes(7.5e9, dp=64, zero=zero)) / 1e9 == approx(gigabytes, abs=0.05)


@pytest.mark.parametrize("name, batch", [("megatron-175b", 1536), ("megatron-1.7b", 512), ("megatron-1008b", 3072)])
def test_work_of_an_iteration_is_equation_3_of_megatron(name, batch):
    """Narayanan et al. 2021: 96 B s l h² (1 + s/6h + V/16lh), attention not halved, every layer computed again."""
    m, s = model(name), 2048
    h, layers = m.width, m.layers
    formula = 96 * batch * s * layers * h**2 * (1 + s / (6 * h) + m.vocab / (16 * layers * h))
    head = 2 * m.vocab * h  # computed once more in ours, not in theirs
    ours = batch * s * (4 * m.flop_per_token(s - 1) - head)
    assert ours == approx(formula, rel=1e-3)
    if name == "megatron-175b":
        assert formula == approx(4.511e18, rel=1e-3)


@pytest.mark.parametrize("tp", [1, 8])
@pytest.mark.parametrize("b", [1, 4])
def test_activations_of_a_layer_are_the_equations_of_korthikanti(tp, b):
    m, s = model("megatron-175b"), 2048
    h, a = m.width, m.heads
    given = dict(micro_batch=b, tokens=s, tp=tp, flash=False)
    whole = s * b * h
    assert activation_bytes(m, dropout=True, **given) == approx(whole * (10 + 24 / tp + 5 * a * s / (h * tp)))
    assert activation_bytes(m, dropout=True, sequence_parallel=True, **given) == approx(whole * (34 + 5 * a * s / h) / tp)
    assert activation_bytes(m, dropout=True, sequence_parallel=True, recompute="selective", **given) == approx(34 * whole / tp)
    assert activation_bytes(m, recompute="full", **given) == approx(2 * whole)
    masks = activation_bytes(m, dropout=True, **given) - activation_bytes(m, **given)
    assert masks == approx(2 * whole + 3 * a * s * s * b / tp), "two masks of the width, one of the scores, their copy after dropout"


def test_the_bubble_is_that_of_the_closed_form_where_nothing_else_differs():
    run = train(LLAMA, H100, tp=8, pp=4, **SMALL)
    spent = {t.name: t.value for t in run.tree.parts}
    micro = run.layout["micro_batches"]
    one = sum(spent[n] for n in ("forward", "backward", "recompute", "tensor", "context", "experts", "send"))
    assert spent["bubble"] / (one + spent["bubble"]) == approx(bubble(4, micro))
    half = train(LLAMA, H100, tp=8, pp=4, interleave=2, **SMALL)
    assert half.tree.find("bubble").value < 0.55 * spent["bubble"] and half.memory > run.memory


def test_what_zero_and_recomputation_send():
    given = dict(SMALL, overlap=False, allow_infeasible=True)
    plain, two, three = (train(LLAMA, H100, zero=z, **given).tree.find("data").value for z in (0, 2, 3))
    assert two / plain == approx((4 + 1) / 2) and three / plain == approx(3 * 4 / 2), "four micro-batches"
    none, full = (train(LLAMA, H100, tp=8, recompute=r, **given).tree for r in ("none", "full"))
    assert full.find("tensor").value == approx(1.5 * none.find("tensor").value)
    assert full.find("recompute").value == approx(none.find("forward").value)


# Invariants.

layout = st.tuples(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4])).filter(
    lambda x: x[0] * x[1] <= 32
)
options = dict(allow_infeasible=True, **SMALL)


@settings(deadline=None, max_examples=40)
@given(layout, st.sampled_from([0, 1, 2, 3]), st.sampled_from(["none", "selective", "full"]), st.floats(1.01, 8))
def test_more_of_anything_is_never_slower(where, zero, recompute, more):
    tp, pp, micro = where
    given = dict(tp=tp, pp=pp, micro_batch=micro, zero=zero, recompute=recompute, **options)
    one = train(LLAMA, H100, **given).seconds
    for what in ("compute", "memory", "near", "far"):
        assert train(LLAMA, faster(H100, **{what: more}), **given).seconds <= one * (1 + 1e-9), what
    assert train(LLAMA, faster(H100, compute=more, memory=more, near=more, far=more), **given).seconds >= one / more * (1 - 1e-9)


@settings(deadline=None, max_examples=40)
@given(layout, st.sampled_from([0, 1, 2, 3]))
def test_every_layout_does_the_same_work_on_all_devices(where, zero):
    tp, pp, micro = where
    run = train(LLAMA, H100, tp=tp, pp=pp, micro_batch=micro, zero=zero, **options)
    assert run.layout["tp"] * run.layout["pp"] * run.layout["dp"] == 64
    assert run.layout["micro_batches"] * micro * run.layout["dp"] == 256
    assert run.flop == train(LLAMA, H100, **options).flop and run.rate * run.seconds == approx(256 * 2048)
    assert run.mfu == approx(run.flop / (64 * 989e12 * run.seconds), rel=2e-3) and 0 < run.mfu <= run.hfu < 1
    assert run.tree.value == approx(run.seconds) and run.parts.tree.value == approx(run.memory)
    assert run.gpu_hours == approx(64 * run.seconds / 3600)


@settings(deadline=None, max_examples=25)
@given(layout)
def test_what_is_split_takes_less_memory(where):
    tp, pp, micro = where
    need = [train(LLAMA, H100, tp=tp, pp=pp, micro_batch=micro, zero=z, **options).memory for z in (0, 1, 2, 3)]
    assert need == sorted(need, reverse=True)
    for recompute in ("none", "selective"):
        keeps = train(LLAMA, H100, tp=tp, pp=pp, micro_batch=micro, recompute=recompute, flash=False, **options)
        full = train(LLAMA, H100, tp=tp, pp=pp, micro_batch=micro, recompute="full", flash=False, **options)
        assert full.parts.activations <= keeps.parts.activations * 1.3 and full.seconds >= keeps.seconds
    plain, shared = (train(LLAMA, H100, tp=tp, pp=pp, micro_batch=micro, sequence_parallel=s, **options).memory for s in (False, True))
    assert shared <= plain


def test_an_array_of_batches_is_the_batches_one_by_one():
    batch = np.array([64, 128, 256, 1024])
    many = train(LLAMA, H100, tp=8, pp=2, batch=batch, tokens=2048, zero=1)
    for i, b in enumerate(batch):
        one = train(LLAMA, H100, tp=8, pp=2, batch=int(b), tokens=2048, zero=1)
        for name in ("seconds", "rate", "flop", "mfu", "memory", "energy", "bubble"):
            assert np.broadcast_to(getattr(many, name), 4)[i] == approx(getattr(one, name)), name
        assert many[i].seconds == one.seconds and many[i].why().binding == one.why().binding
    assert (np.diff(many.mfu) > 0).all(), "a larger batch hides more of the bubble"


def test_a_run_is_its_steps():
    run = train(LLAMA, H100, tp=8, zero=1, run_tokens="2 Ttoken", **SMALL)
    assert run.run_seconds == approx(2e12 / (256 * 2048) * run.seconds) and run.gpu_hours == approx(64 * run.run_seconds / 3600)


def test_the_binding_limit_moves_from_compute_to_the_network_as_the_fabric_slows():
    given = dict(tp=8, zero=1, **SMALL)
    assert train(LLAMA, H100, **given).why().binding == "compute"
    assert train(LLAMA, faster(H100, near=0.01), **given).why().binding == "scale-up network"
    wide = dict(tp=1, zero=1, recompute="full", batch=64, tokens=2048)
    slow = train(LLAMA, faster(H100, far=0.01), **wide)
    assert slow.why().binding == "scale-out network" and "scale-out" in str(slow.why())


def test_launches_bind_small_work_and_no_knob_counts_twice():
    small = train_net("resnet-50", ("dgx-h100", 8), batch=8).why()
    assert small.binding == "launch" and 0.7 < small.share <= 1
    assert train_net("resnet-50", ("dgx-h100", 8), batch=8 * 512).why().binding == "memory bandwidth"
    assert train("gpt-2", ("dgx-h100", 8), batch=8, tokens=32).why().elasticities["launch"] < -0.4
    for why in (small, train(LLAMA, H100, tp=8, zero=1, **SMALL).why()):
        assert -1.001 < sum(why.elasticities.values()) < -0.85


def test_a_part_of_a_node_is_a_cluster_for_all_who_ask():
    for gpus in (1, 3, 8):
        run = train("gpt-2", ("dgx-a100", gpus), batch=24, tokens=1024)
        assert run.layout["dp"] == gpus and run.rate < gpus * 1.001 * train("gpt-2", ("dgx-a100", 1), batch=24 // gpus, tokens=1024).rate
        assert train_net("resnet-50", ("dgx-a100", gpus), batch=24).feasible
    assert collective(("dgx-a100", 4), "all-reduce", 1e9).ranks == 4
    with pytest.raises(RangeError, match="gpus: got 12; .* nearest are 8 or 16"):
        train("gpt-2", ("dgx-a100", 12), batch=12, tokens=1024)
    with pytest.raises(RangeError, match="gpus: got 0"):
        train("gpt-2", ("dgx-a100", 0), batch=12, tokens=1024)


def test_a_share_is_of_the_headline_even_where_the_knobs_reach_little_of_it():
    assert Why("a", {"a": -0.1, "b": 0.0}, "seconds").share == 0.1
    assert Why("a", {"a": -1.5, "b": 0.5}, "seconds").share == 0.75
    assert Why("a", {"a": 0.0}, "seconds").share == 0


def test_experts_cost_the_host_a_launch_each_and_their_tokens_copies():
    one = dict(batch=64, tokens=4096, micro_batch=1, ep=8, zero=1, precision="fp8", allow_infeasible=True)
    spread = train("qwen3-30b-a3b", ("dgx-b200", 8), **one)
    captured = train("qwen3-30b-a3b", ("dgx-b200", 8), **one, launch="graph")
    alone = train("qwen3-30b-a3b", ("dgx-b200", 8), **one | {"ep": 1}, launch="graph")
    term = {t.name: t.value for t in captured.tree.parts}, {t.name: t.value for t in alone.tree.parts}
    assert term[0]["forward"] > term[1]["forward"], "tokens from other devices are sorted by expert once more"
    # forward, 16 experts a device: 2 products and 2 casts each, 12 other operators and 23 kernels of the dispatcher, 25 us an operator
    waits = sum(t.value for t in spread.tree.parts if t.name == "forward") - term[0]["forward"]
    assert waits == approx(8 * 48 * 25e-6 * (4 * 16 + 12 + 23 / 2.5), rel=0.1)


def test_stages_of_unequal_length_wait_for_the_longest():
    given = dict(batch=64, tokens=2048, pp=8, zero=1, allow_infeasible=True)
    even = train(replace(model("qwen3-235b-a22b"), layers=96), ("dgx-h100", 64), **given)
    fewer = train("qwen3-235b-a22b", ("dgx-h100", 64), **given, uneven=True)
    assert (fewer.seconds, fewer.memory) == approx((even.seconds, even.memory), rel=1e-3), "94 layers take what 96 do"
    with pytest.raises(RangeError, match="pp: got 128"):
        train("qwen3-235b-a22b", ("dgx-h100", 128), **given | {"pp": 128}, uneven=True)


def test_tokens_on_their_way_to_experts_hide_behind_another_micro_batch():
    given = dict(batch=64, tokens=4096, tp=1, pp=1, zero=1, precision="fp8", allow_infeasible=True)
    waits, hides = (train("qwen3-30b-a3b", ("dgx-h100", 64), ep=32, overlap_experts=o, **given) for o in (False, True))
    part = {t.name: t.value for t in waits.tree.parts}, {t.name: t.value for t in hides.tree.parts}
    assert part[1]["experts"] == approx(max(part[0]["experts"] - part[1]["forward"] - part[1]["backward"], 0))
    assert part[1]["backward"] > part[0]["backward"], "one thread launches both"
    assert part[0]["experts"] > part[1]["experts"] and hides.seconds < waits.seconds


def test_published_throughput_is_near():
    """Narayanan et al. 2021: GPT-3 on 1,024 A100, 300 billion tokens in 34 days; tolerance that of a model not told the efficiency."""
    run = train("megatron-175b", A100, batch=1536, tokens=2048, tp=8, pp=8, recompute="full", flash=False, precision="fp16", run_tokens=300e9,
                allow_infeasible=True)  # fmt: skip
    assert run.run_seconds / 86400 == approx(34, rel=0.2)


# Refused.


def test_infeasible_says_by_how_much_and_can_be_looked_into():
    with pytest.raises(Infeasible, match=r"needs 1.17 TB, there is 80 GB: 14.7 times that.*allow_infeasible"):
        train("llama-3.1-70b", H100, **SMALL)
    inside = train("llama-3.1-70b", H100, allow_infeasible=True, **SMALL)
    assert not inside.feasible and inside.memory > inside.capacity and inside.seconds > 0


@pytest.mark.parametrize(
    "change, error, says",
    [
        ({"tp": 256, "on": ("dgx-h100", 256)}, RangeError, "tp: got 256, which does not divide 32 attention heads"),
        ({"pp": 64}, RangeError, r"pp: got 64, which does not divide the layers of .* \(32\); the nearest are"),
        ({"pp": 3}, RangeError, r"pp: got 3.*the nearest are 1, 2, 4, 8"),
        ({"micro_batch": 1000, "batch": 256}, RangeError, "batch: got 256, which is not a multiple of 64 replicas x 1000"),
        ({"batch": 300, "on": ("dgx-h100", 256)}, RangeError, "batch: got 300, which is not a multiple of 256 replicas x 1"),
        ({"batch": np.array([256, 300])}, RangeError, "batch: got 300"),
        ({"tp": 3}, RangeError, "tp: got 3"),
        ({"tp": 8, "pp": 16}, RangeError, "tp x pp x cp: got 128"),
        ({"tokens": -2048}, RangeError, "tokens: got -2,048"),
        ({"batch": 0}, RangeError, "batch: got 0"),
        ({"batch": 1.5}, RangeError, "batch: got 1.5"),
        ({"batch": math.nan}, RangeError, "batch: got nan"),
        ({"zero": 4}, RangeError, "zero: got 4"),
        ({"recompute": "selectiv"}, UnknownName, "did you mean 'selective'"),
        ({"precision": "fp12"}, UnknownName, "fp12"),
        ({"ep": 2}, RangeError, "ep: got 2"),
        ({"cp": 3}, RangeError, "cp: got 3"),
        ({"interleave": 3, "pp": 4}, RangeError, "interleave: got 3"),
        ({"interleave": 2, "pp": 4, "tp": 2, "batch": 8 * 6}, RangeError, "micro_batches: got 6; .*multiple of 4 stages"),
        ({"on": ("dgx-h100", 60)}, RangeError, "gpus: got 60"),
        ({"model": "resnet-50"}, SimError, "wanted a decoder"),
        ({"model": "llama-2-7"}, UnknownName, "did you mean"),
    ],
)
def test_bad_layouts_are_refused_with_the_field(change, error, says):
    given = {"model": LLAMA, "on": H100, **SMALL, **change}
    with pytest.raises(error, match=says):
        train(given.pop("model"), given.pop("on"), **given)


# All layouts.


def test_layouts_are_what_train_says_fastest_first():
    seen = []
    found = layouts(LLAMA, H100, **SMALL, progress=lambda done, of: seen.append((done, of)))
    assert (np.diff(found.seconds) >= 0).all() and (found.memory <= 80e9).all() and len(found) > 20
    assert seen[-1] == (found.tried, found.tried) and len(seen) == found.tried
    for i in (0, len(found) // 2, len(found) - 1):
        x = found[i]
        run = train(LLAMA, H100, tp=int(x.tp), pp=int(x.pp), micro_batch=int(x.micro_batch), zero=int(x.zero), recompute=str(x.recompute),
                    **SMALL)  # fmt: skip
        assert (run.seconds, run.mfu, run.memory) == approx((x.seconds, x.mfu, x.memory)) and run.layout["dp"] == x.dp
    assert found.best.seconds == found.seconds[0] and f"{len(found)} layouts that fit, of {found.tried} tried" in str(found)
    assert str(found[:1]).startswith(f"1 layouts that fit, of {found.tried} tried")
    narrow = layouts(LLAMA, H100, tp=8, pp=(1, 2), micro_batch=1, zero=1, recompute="none", **SMALL)
    assert set(narrow.tp.tolist()) == {8} and len(narrow) <= 2


def test_layouts_that_do_not_exist_say_why():
    with pytest.raises(Infeasible, match=r"none of \d+ fits; the smallest .* times that"):
        layouts("llama-3.1-405b", ("dgx-h100", 8), batch=8, tokens=4096)
    with pytest.raises(RangeError, match="divide a batch of 7"):
        layouts(LLAMA, H100, batch=7, tokens=2048, pp=1)
    with pytest.raises(SimError, match="allow_infeasible"):
        layouts(LLAMA, H100, allow_infeasible=True, **SMALL)
