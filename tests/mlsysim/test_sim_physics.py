"""Do the closed forms agree with arithmetic done another way, and refuse what has no meaning?"""

import doctest
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers, sampled_from
from pytest import approx

import mlsysim
from mlsysim import (
    RangeError,
    UnitError,
    UnknownName,
    decode_seconds,
    device,
    kv_cache_bytes,
    model,
    propagation_seconds,
    ridge,
    roofline,
    transfer_seconds,
    weight_bytes,
)
from mlsysim.devices import DEVICES
from mlsysim.graph import Graph, Op

work = floats(1, 1e18)
cards = sampled_from(["h100", "a100", "l4", "jetson-orin-nano"])


@given(flop=work, traffic=work, name=cards)
def test_the_roofline_is_the_slower_of_arithmetic_and_traffic(flop, traffic, name):
    d = device(name)
    bound = roofline(flop, traffic, d)
    assert bound.seconds == approx(max(flop / d.peak["fp16"].value, traffic / d.bandwidth.value))
    assert bound.roof == ("compute" if flop / traffic >= ridge(d) else "memory")


@given(flop=work, traffic=work, name=cards, more=floats(1, 10))
def test_more_work_never_takes_less_time(flop, traffic, name, more):
    base = roofline(flop, traffic, name).seconds
    assert roofline(flop * more, traffic, name).seconds >= base <= roofline(flop, traffic * more, name).seconds


@given(a=work, b=work, name=cards)
def test_two_kernels_fused_are_never_slower_than_apart(a, b, name):
    apart = roofline(a, b, name).seconds + roofline(b, a, name).seconds
    assert roofline(a + b, a + b, name).seconds <= apart * (1 + 1e-12)


def test_the_roofline_broadcasts():
    bound = roofline(np.logspace(9, 15, 7)[:, None], [1e6, 1e9, 1e12], "h100")
    assert bound.seconds.shape == bound.roof.shape == (7, 3)
    assert bound.seconds[3, 1] == roofline(1e12, 1e9, "h100").seconds


def test_text_with_units_is_taken_at_the_edge():
    assert roofline("8.2 GFLOP", "96 MB", "h100").seconds == roofline(8.2e9, 96e6, "h100").seconds
    assert transfer_seconds("1 MB", "20 Mbit/s", distance="1,500 km") == transfer_seconds(1e6, 2.5e6, distance=1.5e6)


@given(
    layers=integers(1, 100),
    kv_heads=integers(1, 64),
    head_dim=integers(1, 256),
    tokens=integers(0, 64),
    batch=integers(1, 4),
)
def test_the_cache_is_as_large_as_the_arrays_that_hold_it(layers, kv_heads, head_dim, tokens, batch):
    keys = np.broadcast_to(np.float16(0), (layers, batch, kv_heads, tokens, head_dim))
    assert (
        kv_cache_bytes(layers=layers, kv_heads=kv_heads, head_dim=head_dim, tokens=tokens, batch=batch)
        == 2 * keys.size * 2
    )


def test_published_cache_sizes():
    assert kv_cache_bytes(tokens=4096, **model("llama-3.1-70b").cache) == approx(
        1.25 * 2**30
    )  # also that of Llama 2 70B
    assert kv_cache_bytes(tokens=1, **model("llama-2-7b").cache) == 512 * 1024
    assert kv_cache_bytes(layers=40, kv_heads=40, head_dim=128, tokens=2048) == approx(
        1.6e9, rel=0.05
    )  # OPT-13B, Kwon et al. 2023


def test_the_cache_broadcasts_over_every_argument():
    out = kv_cache_bytes(layers=[[16], [32]], kv_heads=8, head_dim=128, tokens=[1, 2, 3], batch=2, bytes_per=[1, 2, 2])
    assert out.shape == (2, 3) and out[1, 2] == 2 * 32 * 8 * 128 * 3 * 2 * 2


def test_a_count_of_tokens_may_carry_its_unit():
    assert kv_cache_bytes(tokens="4,096 token", **model("llama-3.2-1b").cache) == kv_cache_bytes(
        tokens=4096, **model("llama-3.2-1b").cache
    )


@given(weights=floats(1e6, 1e12), kv=floats(0, 1e12), bandwidth=floats(1e6, 1e13))
def test_a_decoding_step_reads_weights_and_cache_once(weights, kv, bandwidth):
    seconds = decode_seconds(weights, kv, bandwidth)
    assert seconds * bandwidth == approx(weights + kv)
    assert decode_seconds(weights, kv, bandwidth, flop=1e30, peak=1e12) == approx(1e18)
    assert decode_seconds(weights, kv, bandwidth, flop=1e-30, peak=1e12) == seconds


def test_decoding_agrees_with_the_roofline_of_the_same_traffic():
    llama, card = model("llama-3.1-8b"), device("a100")
    weights = weight_bytes(llama.params)
    step = decode_seconds(weights, 0, card.bandwidth, flop=2 * llama.params, peak=card.rate("fp16"))
    assert step == roofline(2 * llama.params, weights, card).seconds


# NVIDIA developer blog, "Jetson Orin Nano Developer Kit Gets a Super Boost", 2024-12: int4, MLC, before the boost
@pytest.mark.parametrize("name, published", [("llama-3.1-8b", 14.0), ("llama-3.2-3b", 27.7)])
def test_a_measured_decoding_rate_is_below_the_bound_and_within_twofold(name, published):
    bound = 1 / decode_seconds(weight_bytes(model(name).params, bytes_per=0.5), 0, device("jetson-orin-nano").bandwidth)
    assert published < bound < 2 * published


def test_light_crosses_fibre_at_two_thirds_of_its_speed():
    assert propagation_seconds(1000e3) == approx(4.9e-3, rel=1e-2)
    assert propagation_seconds(299_792_458, index=1) == 1
    assert propagation_seconds("1,000 km", index=[1, 1.468]).shape == (2,)


@given(size=floats(0, 1e12), bandwidth=floats(1, 1e12), distance=floats(0, 4e7))
def test_a_transfer_is_its_sending_and_the_flight_of_its_last_bit(size, bandwidth, distance):
    assert transfer_seconds(size, bandwidth, distance=distance) == approx(
        size / bandwidth + distance / (299_792_458 / 1.468)
    )


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: roofline(-1e9, 1, "h100"), RangeError, "flop: got -1 GFLOP; wanted a finite number, at least 0 FLOP"),
        (lambda: roofline(1, math.nan, "h100"), RangeError, "traffic: got nan B"),
        (lambda: roofline([1, math.inf], 1, "h100"), RangeError, "flop: got inf FLOP"),
        (lambda: roofline("3 GB", 1, "h100"), UnitError, "flop: '3 GB' is in B; wanted FLOP"),
        (lambda: roofline({}, 1, "h100"), UnitError, "flop: got {}"),
        (lambda: roofline(1, 1, "h100", precision="fp12"), UnknownName, "fp16, bf16"),
        (lambda: roofline(1, 1, "h1000"), UnknownName, "did you mean 'h100'"),
        (
            lambda: kv_cache_bytes(layers=0, kv_heads=8, head_dim=128, tokens=1),
            RangeError,
            "layers: got 0; wanted a whole number, at least 1",
        ),
        (lambda: kv_cache_bytes(layers=1, kv_heads=8, head_dim=128, tokens=-1), RangeError, "tokens"),
        (
            lambda: kv_cache_bytes(layers=1, kv_heads=8, head_dim=128, tokens=1, batch=1.5),
            RangeError,
            "batch: got 1.5; wanted a whole",
        ),
        (lambda: kv_cache_bytes(layers=1, kv_heads=8, head_dim=128, tokens="3 s"), UnitError, "tokens: '3 s'"),
        (
            lambda: weight_bytes(1e9, bytes_per=0),
            RangeError,
            "bytes_per: got 0 B; wanted a finite number, more than 0 B",
        ),
        (lambda: decode_seconds(1, 1, 0), RangeError, "bandwidth"),
        (lambda: decode_seconds(1, 1, 1, flop=1, peak=-1), RangeError, "peak"),
        (lambda: propagation_seconds(-1), RangeError, "distance: got -1 m"),
        (lambda: propagation_seconds(1, index=0.9), RangeError, "index: got 0.9; wanted a finite number, at least 1"),
        (lambda: transfer_seconds("1 MB", "20 MB"), UnitError, "bandwidth: '20 MB' is in B; wanted B/s"),
        (lambda: model("lama-3.1-8b"), UnknownName, "did you mean 'llama-3.1-8b'"),
    ],
)
def test_nonsense_is_refused_in_one_line_that_names_the_argument(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)


# vocabulary, width, width of the MLP, embeddings shared between input and output: from the published configurations
SHAPES = {
    "llama-3.2-1b": (128_256, 2048, 8192, True),
    "llama-3.2-3b": (128_256, 3072, 8192, True),
    "llama-2-7b": (32_000, 4096, 11_008, False),
    "llama-3.1-8b": (128_256, 4096, 14_336, False),
    "llama-3.1-70b": (128_256, 8192, 28_672, False),
}


@pytest.mark.parametrize("m", [model(name) for name in SHAPES], ids=lambda m: m.name)
def test_parameters_of_a_decoder_follow_from_its_shape(m):
    vocabulary, width, hidden, shared = SHAPES[m.name]
    attention = 2 * width * m.heads * m.head_dim + 2 * width * m.kv_heads * m.head_dim
    layer = attention + 3 * width * hidden + 2 * width
    assert m.params == vocabulary * width * (1 if shared else 2) + m.layers * layer + width


def separable(side, channels, blocks, first, classes):
    """Parameters (biases, four batch-norm numbers a channel), MACs and activations of depthwise separable blocks."""
    params, macs = channels * first + channels * 5, side[0] * side[1] * channels * first
    activations = side[0] * side[1] * channels
    for out, stride in blocks:
        side = [math.ceil(n / stride) for n in side]
        pixels = side[0] * side[1]
        params += channels * (9 + 5) + channels * out + out * 5
        macs += pixels * channels * (9 + out)
        activations += pixels * (channels + out)
        channels = out
    return params + (channels + 1) * classes, macs + channels * classes, activations + classes


@pytest.mark.parametrize(
    "name, counted",
    [
        ("ds-cnn", separable([25, 5], 64, [(64, 1)] * 4, 10 * 4, 12)),
        (
            "mobilenet-v1-0.25",
            separable(
                [48, 48],
                8,
                [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)],
                27,
                2,
            ),
        ),
    ],
)
def test_a_tiny_net_is_counted_layer_by_layer(name, counted):
    net = model(name)
    assert (net.params, net.macs, net.activations) == counted


def test_one_mac_is_two_flop_and_traffic_counts_weights_once():
    net = model("resnet-50")
    assert net.flop == 2 * net.macs and net.traffic(2) == approx(2 * 25.557e6 + 4 * 11.1e6, rel=1e-3)


@pytest.mark.parametrize(("name", "precision"), [("t4", "fp16"), ("t4", "fp32"), ("l4", "bf16")])
def test_a_power_limit_holds_long_products_at_the_rate_that_was_measured(name, precision):
    card, graph = mlsysim.device(name), Graph([Op("product", "gemm", 8192, 8192, 8192, weights=8192**2, reads=8192**2, writes=8192**2)])
    free, held = (mlsysim.solve(graph, d, precision=precision) for d in (replace(card, sustained={}), card))
    assert 0.9 < held.flop / held.seconds / card.sustained[precision].value <= 1.0 < held.seconds / free.seconds
    decoding = dict(batch=1, tokens=1, context=512, precision="fp16")  # memory is slow, and leaves the arithmetic little to spend
    assert mlsysim.solve("gpt-2", card, **decoding).seconds == mlsysim.solve("gpt-2", replace(card, sustained={}), **decoding).seconds


def test_every_name_of_the_package_loads_and_its_examples_hold():
    for name in mlsysim.__all__:
        assert getattr(mlsysim, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'rooflin'"):
        mlsysim.rooflin  # noqa: B018
    assert doctest.testmod(mlsysim).failed == 0


def test_units_load_without_numpy():
    code = "import sys, mlsysim; mlsysim.units.parse('3 GB'); print('numpy' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


@pytest.mark.parametrize("d", DEVICES.values(), ids=str)
def test_every_listed_precision_can_be_modelled(d):
    for precision in d.peak:
        assert roofline(1e6, 1e6, d, precision=precision).seconds > 0
