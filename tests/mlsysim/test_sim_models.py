"""Are named models counted as published, and do all ways to the same number agree?"""

import sys
from dataclasses import replace
from subprocess import run

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from
from pytest import approx

from mlsysim import RangeError, SimError, UnitError, UnknownName, kv_cache_bytes, megatron, model, solve
from mlsysim.graph import KINDS
from mlsysim.models import _FAMILIES, _family, models
from mlsysim.models.nets import Stack

DECODERS = models("decoder")
TRANSFORMERS = [*DECODERS, *models("encoder")]
NETS = [*models("vision"), *models("diffusion"), *models("tiny")]
PLAIN = [m for m in DECODERS if not m.experts and not m.kv_rank]
MIXTURES = [m for m in DECODERS if m.experts]

# Parameters of the published weights: model cards on Hugging Face, or its implementation built from the same configuration
WEIGHTS = {
    "gpt-2": 124_439_808, "gpt-2-medium": 354_823_168, "gpt-2-large": 774_030_080, "gpt-2-xl": 1_557_611_200,
    "opt-6.7b": 6_658_473_984, "opt-13b": 12_853_473_280, "opt-66b": 65_719_701_504, "opt-175b": 174_604_468_224,
    "bloom-176b": 176_247_271_424, "opt-30b": 29_974_540_288, "gpt-j-6b": 6_050_882_784, "gpt-neox-20b": 20_554_567_680,
    "phi-2": 2_779_683_840, "falcon-7b": 6_921_720_704, "falcon-40b": 41_303_293_952,
    "llama-1-7b": 6_738_415_616, "llama-1-13b": 13_015_864_320, "llama-1-33b": 32_528_943_616, "llama-1-65b": 65_285_660_672,
    "llama-2-7b": 6_738_415_616, "llama-2-13b": 13_015_864_320, "llama-2-70b": 68_976_648_192, "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496, "llama-3.1-405b": 405_853_388_800, "llama-3.2-1b": 1_235_814_400, "llama-3.2-3b": 3_212_749_824,
    "mistral-7b": 7_241_732_096, "mixtral-8x7b": 46_702_792_704, "mixtral-8x22b": 140_630_071_296,
    "qwen2.5-0.5b": 494_032_768, "qwen2.5-1.5b": 1_543_714_304, "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-14b": 14_770_033_664, "qwen3-1.7b": 1_720_574_976, "qwen3-4b": 4_022_468_096, "qwen3-14b": 14_768_307_200,
    "codellama-34b": 33_743_970_304, "tinyllama-1.1b": 1_100_048_384, "resnext-101-32x4d": 44_177_704,
    "qwen2.5-7b": 7_615_616_512, "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648, "qwen3-0.6b": 596_049_920, "qwen3-8b": 8_190_735_360, "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624, "qwen3-235b-a22b": 235_093_634_560, "gemma-2b": 2_506_172_416, "gemma-7b": 8_537_680_896,
    "phi-3-mini": 3_821_079_552, "deepseek-v2-lite": 15_706_484_224, "deepseek-v3": 671_026_404_352,
    "bert-base": 109_482_240, "bert-large": 335_141_888, "distilbert": 66_362_880, "roberta-base": 124_645_632,
    "roberta-large": 355_359_744, "mamba-130m": 129_135_360, "mamba-370m": 371_516_416, "mamba-790m": 793_204_224,
    "mamba-1.4b": 1_372_178_432, "mamba-2.8b": 2_768_345_600, "stable-diffusion-1.5": 859_520_964, "stable-diffusion-xl": 2_567_463_684,
    "dit-xl-2": 675_129_632,
}  # fmt: skip

# torchvision 0.20, metadata of the first weights of each model: num_params and _ops, which counts billions of multiply-adds
TORCHVISION = {
    "alexnet": (61_100_840, 0.714), "vgg-11": (132_863_336, 7.609), "vgg-16": (138_357_544, 15.47), "vgg-19": (143_667_240, 19.632),
    "resnet-18": (11_689_512, 1.814), "resnet-34": (21_797_672, 3.664), "resnet-50": (25_557_032, 4.089),
    "resnet-101": (44_549_160, 7.801), "resnet-152": (60_192_808, 11.514), "resnext-50-32x4d": (25_028_904, 4.23),
    "wide-resnet-50": (68_883_240, 11.398), "densenet-121": (7_978_856, 2.834), "mobilenet-v2": (3_504_872, 0.301),
    "mobilenet-v3-large": (5_483_032, 0.217), "efficientnet-b0": (5_288_548, 0.386), "efficientnet-b4": (19_341_616, 4.394),
    "vit-b-16": (86_567_656, 17.564), "vit-b-32": (88_224_232, 4.409), "vit-l-16": (304_326_632, 61.555),
    "convnext-tiny": (28_589_128, 4.456),
}  # fmt: skip


def products(graph, kinds=("gemm", "attention", "depthwise")):
    """FLOP of the products of a graph."""
    chosen = np.isin(graph.kinds, [KINDS.index(k) for k in kinds])
    return (graph.flop * graph.count)[chosen].sum(axis=0)


# Published counts.


@pytest.mark.parametrize("name, published", WEIGHTS.items())
def test_parameters_are_those_of_the_published_weights(name, published):
    assert model(name).params == published


@pytest.mark.parametrize("name, published", TORCHVISION.items())
def test_classifiers_are_counted_as_torchvision_prints_them(name, published):
    net = model(name)
    assert net.params == published[0] and net.macs == approx(published[1] * 1e9, rel=0.02)
    assert round(net.macs / 1e9, 3) == published[1]  # to the last digit, in fact


@pytest.mark.parametrize("size, params, gflop", [  # Ultralytics: yolov8.yaml, and the table of detection models for FLOP
    ("n", 3_157_200, 8.7), ("s", 11_166_560, 28.6), ("m", 25_902_640, 78.9), ("l", 43_691_520, 165.2), ("x", 68_229_648, 257.8),
])  # fmt: skip
def test_detectors_are_counted_as_their_makers_print_them(size, params, gflop):
    net = model(f"yolo-v8{size}")
    assert net.params == params and net.flop == approx(gflop * 1e9, abs=0.06e9)  # these count FLOP, not multiply-adds


@pytest.mark.parametrize("name, billions", [
    ("megatron-1.7b", 1.7), ("megatron-3.6b", 3.6), ("megatron-7.5b", 7.5), ("megatron-18.4b", 18.4), ("megatron-39.1b", 39.1),
    ("megatron-22b", 22.1), ("megatron-175b", 174.6), ("megatron-76.1b", 76.1), ("megatron-145.6b", 145.6), ("megatron-310.1b", 310.1), ("megatron-529.6b", 529.6),
    ("megatron-1008b", 1008.0), ("palm-540b", 540.35), ("gpt-3-175b", 174.6),
])  # fmt: skip
def test_parameters_agree_with_the_printed_billions(name, billions):
    assert model(name).params == approx(billions * 1e9, abs=0.05e9)


def test_parameters_of_megatron_follow_its_own_formula():  # Narayanan et al. 2021, equation 2, without the last norm
    for m in (megatron(96, 12_288, 96), model("megatron-1008b"), model("megatron-1.7b")):
        h, layers = m.width, m.layers
        formula = 12 * layers * h**2 * (1 + 13 / (12 * h) + (51_200 + 2048) / (12 * layers * h))
        assert m.params - 2 * h == approx(formula, rel=1e-12)


@pytest.mark.parametrize("name, billions", [
    ("mixtral-8x7b", 12.9), ("mixtral-8x22b", 39.1), ("deepseek-v3", 37.55), ("qwen3-30b-a3b", 3.35), ("qwen3-235b-a22b", 22.2),
])  # fmt: skip
def test_a_token_uses_the_published_share_of_a_mixture(name, billions):
    assert model(name).active_params == approx(billions * 1e9, rel=3e-3)


@pytest.mark.parametrize("name, bytes_per_token", [
    ("llama-2-7b", 524_288), ("llama-2-70b", 327_680), ("llama-3-8b", 131_072), ("llama-3.1-405b", 516_096), ("opt-13b", 819_200),
    ("opt-175b", 4.5 * 2**20), ("deepseek-v3", 70_272),
])  # fmt: skip
def test_bytes_of_keys_and_values_a_token(name, bytes_per_token):
    m = model(name)
    assert 2 * m.cached_per_token == 2 * m.cached(tokens=1) == kv_cache_bytes(tokens=1, **m.cache) == bytes_per_token


def test_slots_of_the_cache_that_vllm_reports():  # Kwon et al. 2023, table 1: 12 GB for OPT-13B, 264 GB for OPT-175B
    slots = [gib * 2**30 / kv_cache_bytes(tokens=1, **model(m).cache) for m, gib in (("opt-13b", 12), ("opt-175b", 264))]
    assert slots == approx([15.7e3, 60.1e3], rel=0.01)


@pytest.mark.parametrize("name, params, macs, arena", [  # Banbury et al. 2021; MACs and arenas by hand, layer by layer
    ("ds-cnn", 24_908, 125 * 64 * (40 + 4 * (9 + 64)) + 64 * 12, 2 * 25 * 5 * 64),
    ("mobilenet-v1-0.25", 221_794, 7_489_664, 48 * 48 * (8 + 16)),
    ("resnet-8", 78_666, 12_501_632, 3 * 32 * 32 * 16),
    ("autoencoder", 269_992, 2 * 640 * 128 + 6 * 128 * 128 + 2 * 8 * 128, 640 + 128),
])  # fmt: skip
def test_the_models_of_mlperf_tiny(name, params, macs, arena):
    net = model(name)
    assert (net.params, net.macs, net.working()) == (params, macs, arena)


def test_a_step_of_stable_diffusion_with_and_without_the_scores_of_attention():
    net = model("stable-diffusion-1.5")
    attention = sum(x.work for x in net.layers if x.kind == "attention") / 2
    assert net.macs == 401_636_720_640  # what torch.utils.flop_counter counts in diffusers' U-Net of that configuration
    assert net.macs - attention == approx(0.339e12, rel=2e-3)  # what tools count that hook convolutions and linear layers only
    assert model("stable-diffusion-xl").macs == 3_380_618_199_040  # likewise
    assert model("dit-xl-2").macs == approx(118.64e9, rel=1e-3)  # Peebles and Xie 2022, table 1, "Gflops"


def test_a_recommender_is_its_tables():
    old, new = model("dlrm"), model("dlrm-dcnv2")
    assert old.crossed == 479 and old.params == approx(24e9, rel=0.01) and old.table_params > 0.999 * old.params
    assert new.params * 4 == approx(104.6e9, rel=1e-3)  # B in fp32
    assert old.macs == sum(a * b for a, b in ((13, 512), (512, 256), (256, 128), (479, 1024), (1024, 1024), (1024, 512),
                                              (512, 256), (256, 1))) + 27 * 27 * 128  # fmt: skip
    graph = new.graph(batch=1000)
    assert graph.weights[0] == 1000 * 214 * 128 == 1000 * sum(new.lookups) * new.dim


def test_a_state_takes_the_place_of_a_cache():
    m = model("mamba-2.8b")
    assert m.cached(batch=3, tokens=10) == m.cached(batch=3, tokens=10_000) == 3 * 64 * 5120 * (16 + 4)
    assert m.graph(tokens=7, context=1000).total("flop") == m.graph(tokens=7).total("flop")


# Names and laziness.


def test_the_index_of_names_is_what_the_families_hold():
    for family, names in _FAMILIES.items():
        assert list(_family(family)) == names.split()
    everything = models()
    assert len(everything) >= 50 and len({m.name for m in everything}) == len(everything)
    assert {m.kind for m in everything} == {"decoder", "encoder", "vision", "recommend", "diffusion", "state-space", "tiny"}
    for m in everything:
        assert m.source and m.date[:2] == "20" and m.title and m.unit and model(m.name.upper().replace("-", "_")) is m


def test_one_model_loads_one_family():
    code = "import sys, mlsysim; mlsysim.model('resnet-50'); print(*('mlsysim.models.' + f in sys.modules for f in ('gpt', 'ssm')))"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["False", "False"]


@pytest.mark.parametrize("m", models(), ids=lambda m: m.name)
def test_every_model_makes_a_graph_and_can_be_solved(m):
    graph = m.graph(batch=2)
    assert graph.total("flop") > 0 and graph.working == m.working(batch=2) > 0 and (graph.live >= 0).all()
    assert graph.total("weights") > 0 and m.active_params <= m.params
    found = solve(m, "h100", batch=2, allow_infeasible=True)
    assert found.seconds > 0 and 0 < found.mfu < 1
    assert found.memory == approx(2 * (m.params + m.cached(batch=2) + m.working(batch=2)))


# One quantity, several ways.


@given(m=sampled_from(TRANSFORMERS), batch=integers(1, 9), tokens=integers(1, 3000))
def test_forward_flop_is_two_a_weight_and_attention(m, batch, tokens):
    graph = m.graph(batch=batch, tokens=tokens, logits="all")
    seen = (tokens + 1) / 2 if m.causal else tokens
    scores = 2 * m.layers * m.heads * (m.head_dim + (m.value_dim or m.head_dim)) * seen
    pooled = 2 * batch * m.width**2 if m.pooler else 0
    if m.kv_rank and tokens == 1:
        return
    assert products(graph) == approx(batch * tokens * (2 * m.matrix_params + scores) + pooled, rel=1e-9)
    assert graph.macs == approx(products(graph) / 2)


@given(m=sampled_from([*DECODERS, *models("state-space")]), tokens=integers(2, 2000))
def test_tokens_one_by_one_are_the_sequence_at_once(m, tokens):
    alone = m.flop_per_token(np.arange(tokens)).sum()
    assert products(m.graph(tokens=tokens, logits="all")) == approx(alone, rel=1e-9)


def test_flop_of_an_iteration_as_megatron_counts_them():  # Narayanan et al. 2021, equation 3: full attention, recomputed layers
    m, B, s = megatron(96, 12_288, 96), 1536, 2048
    graph = m.graph(batch=B, tokens=s, logits="all")
    attention, head = products(graph, ["attention"]) * 2 * s / (s + 1), 2 * B * s * m.width * m.vocab
    layers = products(graph) - products(graph, ["attention"]) - head + attention
    published = 96 * B * s * 96 * 12_288**2 * (1 + s / (6 * 12_288) + 51_200 / (16 * 96 * 12_288))
    assert published == approx(4.511e18, rel=1e-3)
    assert 4 * layers + 3 * head == approx(published, rel=1e-3)


@given(m=sampled_from([*TRANSFORMERS, *NETS]), batch=integers(1, 4))
def test_going_back_takes_twice_the_flop_of_going_forward(m, batch):
    graph = m.graph(batch=batch)
    back = graph.backward()
    images = sum(op.numbers()[0] for op in graph.ops if not op.inner)  # which have no gradient
    assert products(back, ["gemm", "depthwise"]) == approx(2 * products(graph, ["gemm", "depthwise"]) - images, rel=1e-12)
    assert products(back, ["attention"]) == approx(2.5 * products(graph, ["attention"]), rel=1e-12)  # scores computed again


@given(m=sampled_from(models()), batch=integers(1, 50))
def test_work_is_linear_in_the_batch(m, batch):
    one, many = m.graph(), m.graph(batch=batch)
    assert products(many) == approx(batch * products(one), rel=1e-9)
    assert many.total("reads") == approx(batch * one.total("reads"), rel=1e-9)
    assert many.total("weights") >= one.total("weights") * (1 - 1e-12)


@given(m=sampled_from(PLAIN), tp=sampled_from([2, 4, 8]), tokens=integers(1, 300), context=integers(0, 300))
def test_the_parts_of_a_split_model_sum_to_the_whole(m, tp, tokens, context):
    if m.heads % tp or m.kv_heads % tp:
        return
    whole, part = (m.graph(tokens=tokens, context=context, tp=n) for n in (1, tp))
    assert tp * products(part) == approx(products(whole), rel=1e-9)
    assert tp * part.total("cache") == approx(whole.total("cache")) and tp * m.cached(tokens=9, tp=tp) == m.cached(tokens=9)


@given(m=sampled_from(DECODERS), batch=integers(1, 64), tokens=integers(1, 10_000))
def test_the_cache_after_a_prompt_is_the_closed_form(m, batch, tokens):
    held = kv_cache_bytes(batch=batch, tokens=tokens, **m.cache)
    assert 2 * m.cached(batch=batch, tokens=tokens) == held
    step = m.graph(batch=batch, context=tokens)  # and a decoding step reads all of it
    assert 2 * step.total("cache") == held


@given(m=sampled_from(MIXTURES), rows=integers(1, 5000))
def test_tokens_touch_no_more_experts_than_there_are(m, rows):
    graph = m.graph(tokens=rows)
    touched = graph.groups[graph.names.index("experts in")]
    assert m.active * (1 - 1e-9) <= touched <= min(m.experts, rows * m.active) * (1 + 1e-9)
    experts = graph.weights[graph.names.index("experts in")] + graph.weights[graph.names.index("experts out")]
    assert experts == approx(touched * m.feed_forward(m.expert_hidden))


@given(m=sampled_from([m for m in DECODERS if m.kv_rank]), context=integers(0, 20_000))
def test_latent_attention_takes_the_cheaper_of_its_two_ways(m, context):
    step = products(m.graph(context=context, logits="all"))
    expanded = m.flop_per_token(context) + 2.0 * m.layers * m.expansion(m.heads) * context
    absorbed = m.flop_per_token(0) + 2.0 * m.layers * m.heads * (2 * m.kv_rank + m.rope_dim) * (context + 1)
    assert step <= min(expanded, absorbed) * (1 + 1e-9) and 1 - 1e-9 <= step / m.flop_per_token(context) < 3.5


@settings(max_examples=30)
@given(m=sampled_from(TRANSFORMERS), tokens=sampled_from([[1, 2, 500], [3, 1, 1]]), context=integers(0, 4000))
def test_arrays_are_loops(m, tokens, context):
    batch = np.array([[1], [7]])
    whole = m.graph(batch=batch, tokens=tokens, context=context)
    held = m.cached(batch=batch, tokens=tokens, context=context)
    assert whole.shape == whole.working.shape == (2, 3) and np.shape(held) == ((2, 3))
    for i in range(2):
        for j in range(3):
            one = m.graph(batch=int(batch[i, 0]), tokens=tokens[j], context=context)
            for number in ("flop", "weights", "reads", "writes", "cache"):
                assert whole.total(number)[i, j] == approx(one.total(number), rel=1e-12)
            assert whole.working[i, j] == one.working


@given(m=sampled_from([*NETS, *models("recommend"), *models("state-space")]))
def test_an_array_of_batches_is_a_loop(m):
    whole = m.graph(batch=[1, 8, 3])
    for i, batch in enumerate((1, 8, 3)):
        one = m.graph(batch=batch)
        assert whole.working[i] == one.working == m.working(batch=batch)
        for number in ("flop", "weights", "reads", "writes"):
            assert whole.total(number)[i] == approx(one.total(number), rel=1e-12)


@given(m=sampled_from([*TRANSFORMERS, *models("state-space")]))
def test_a_step_reads_the_weights_that_a_token_uses(m):
    head = m.vocab * m.width if m.kind == "state-space" or m.causal and m.tied else 0
    table = m.embedding_params if m.kind != "state-space" else m.vocab * m.width
    assert m.graph().total("weights") == approx(m.active_params - table + head, rel=1e-3)


@given(m=sampled_from(NETS), batch=integers(1, 9))
def test_the_graph_of_a_net_is_its_layers(m, batch):
    fused, apart = m.graph(batch=batch), m.graph(batch=batch, execution="eager")
    assert fused.macs == apart.macs == batch * m.macs and m.flop == 2 * m.macs
    assert apart.total("flop") >= fused.total("flop") and apart.total("reads") >= fused.total("reads")


# Activations.


def test_a_residual_keeps_its_input_alive():
    net = Stack((4, 8, 8)).keep().conv(16).conv(4).add()
    small, wide = 4 * 64, 16 * 64
    assert [x.live for x in net.layers] == [small + wide, wide + small + small, 3 * small]  # the input counts once while read
    net = Stack((4, 8, 8)).keep().conv(16).keep().conv(16).add().cat()
    assert [x.live for x in net.layers] == [small + wide, 2 * wide + small, 3 * wide + small, 2 * (small + wide)]
    net = Stack((4, 8, 8)).keep().conv(16, 3, 2).project(16, 2).add()
    half = 16 * 16
    assert [x.live for x in net.layers] == [small + half, small + 2 * half, 3 * half]


def test_half_of_a_kept_tensor_counts_once():
    net = Stack((8, 4, 4)).keep().view(4, 4, 4).conv(4)
    assert net.layers[0].live == 8 * 16 + 4 * 16
    assert net.cat().shape == (12, 4, 4) and net.layers[1].live == 2 * 12 * 16


def test_what_flows_and_what_is_kept_change_places():
    net = Stack((8, 4, 4)).keep().conv(2).back().conv(4)
    assert net.kept == [(1, (2, 4, 4))] and net.shape == (4, 4, 4)
    assert [x.live for x in net.layers] == [10 * 16, (8 + 4 + 2) * 16]


def test_working_sets_by_hand():
    assert model("vgg-16").working(batch=2) == 2 * (2 * 64 * 224 * 224)  # the second convolution
    assert model("mobilenet-v2").working() == 96 * (112 * 112 + 56 * 56)  # the first filter with a stride
    assert model("resnet-50").working() == 3 * 256 * 56 * 56  # the first addition
    m = model("llama-3.1-8b")
    rows = 3 * 700  # the residual vectors, two that the gate reads and one that it writes; then the logits of all rows
    assert m.working(batch=3, tokens=700) == rows * (4096 + 3 * 14_336)
    assert m.working(batch=3, tokens=700, logits="all") == rows * (2 * 4096 + 128_256)
    assert m.working(batch=3, tokens=700, tp=8) == rows * 4 * 4096  # the norms are not split
    full = 700 * 700 * 32
    assert m.working(tokens=700, flash=False) == 2 * full + 700 * 2 * 4096


def test_activations_are_linear_in_the_batch_and_grow_with_tokens():
    for m in models():
        assert m.working(batch=[1, 5])[1] == approx(5 * m.working())
    for m in TRANSFORMERS:
        assert (np.diff(m.working(tokens=np.arange(1, 200))) > 0).all()


# What is refused.


@pytest.mark.parametrize("call, error, words", [
    (lambda: model("llama-3.1-8b").graph(tokens=0), RangeError, "tokens: got 0; wanted a whole number, at least 1"),
    (lambda: model("llama-3.1-8b").graph(tokens=-5), RangeError, "tokens: got -5"),
    (lambda: model("llama-3.1-8b").graph(tokens=float("nan")), RangeError, "tokens: got nan"),
    (lambda: model("llama-3.1-8b").graph(tokens=2.5), RangeError, "tokens: got 2.5; wanted a whole number"),
    (lambda: model("llama-3.1-8b").graph(tokens=[4, float("inf")]), RangeError, "tokens: got inf"),
    (lambda: model("llama-3.1-8b").graph(tokens="8 GB"), UnitError, "tokens"),
    (lambda: model("llama-3.1-8b").graph(context=-1), RangeError, "context: got -1"),
    (lambda: model("llama-3.1-8b").graph(batch=0), RangeError, "batch: got 0"),
    (lambda: model("llama-3.1-8b").cached(tokens=-1), RangeError, "tokens: got -1"),
    (lambda: model("llama-3.1-8b").graph(tp=3), RangeError, "tp: got 3, which does not divide 32 attention heads of Llama 3.1 8B; "
     "wanted one of 1, 2, 4, 8, 16, 32"),
    (lambda: model("gpt-2").graph(tp=5), RangeError, "wanted one of 1, 2, 3, 4, 6, 12"),
    (lambda: model("falcon-7b").graph(tp=2), RangeError, "wanted one of 1, 71"),
    (lambda: replace(model("gpt-2"), kv_heads=4).graph(tp=6), RangeError, "does not divide 4 key-value heads of GPT-2; wanted one of 1, 2, 4, 12"),
    (lambda: model("llama-3.1-8b").graph(tp=0), RangeError, "tp: got 0"),
    (lambda: model("resnet-50").graph(tokens=8), SimError, "tokens: ResNet-50 is a vision model and takes no tokens; its graph takes batch"),
    (lambda: solve("resnet-50", "h100", tokens=8), SimError, "its graph takes batch, execution"),
    (lambda: solve("dlrm", "h100", tokens=8, context=3), SimError, "context, tokens: DLRM"),
    (lambda: model("mamba-130m").graph(tp=2), SimError, "its graph takes batch, tokens, context, logits"),
    (lambda: model("llama-3.1-8b").graph(image=3), SimError, "its graph takes batch, tokens, context, tp, logits, flash, head"),
    (lambda: model("vit-b-16").working(tokens=3), SimError, "takes no tokens"),
    (lambda: model("resnet50"), UnknownName, "did you mean 'resnet-50'"),
    (lambda: model("lama-2-70b"), UnknownName, "did you mean 'llama-2-70b'"),
    (lambda: models("decoders"), UnknownName, "did you mean 'decoder'"),
])  # fmt: skip
def test_nonsense_is_refused_in_one_line_that_names_the_argument(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_variant_is_a_copy_with_something_else():
    wide = replace(model("llama-3.1-8b"), kv_heads=32, name="mine", title="Mine")
    assert wide.cached_per_token == 4 * model("llama-3.1-8b").cached_per_token
    assert solve(wide, "h100", tokens=128).seconds > 0
