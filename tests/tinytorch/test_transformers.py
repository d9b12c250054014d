"""The exported transformer: norms against their definition, GPT as a whole, sampling against plain loops, probes with teeth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinytorch as tt
from tinytorch import (
    GPT,
    MLP,
    Block,
    LayerNorm,
    RMSNorm,
    ShapeError,
    Tensor,
    attention_entropy,
    autograd,
    backend,
    causality_leak,
    generate,
    gradcheck,
    layers,
    perplexity,
    position_sensitivity,
    sampling_weights,
    tensor,
)
from tinytorch.transformers import ACTIVATIONS, NormalizeRows, bits_per_byte, hidden_width, settled, start_weights

both = pytest.mark.parametrize("which", backend.BACKENDS)
KINDS = {"gpt2": {}, "llama": {"positions": "rotary", "norm": "rms", "activation": "swiglu", "bias": False, "kv_heads": 2},
         "waves": {"positions": "sinusoidal", "activation": "gelu_tanh", "tied": False}}
kinds = pytest.mark.parametrize("kind", KINDS)


def small(kind="gpt2", **options):
    return GPT(11, 16, 2, 4, **({"length": 12, "rng": np.random.default_rng(3)} | KINDS[kind] | options))


def ids(T=7, B=2, seed=0):
    return np.random.default_rng(seed).integers(0, 11, (B, T))


@both
def test_gradients_agree_with_differences(which):
    rng = np.random.default_rng(0)
    x, w, b = (Tensor(rng.normal(size=s), requires_grad=True) for s in ((2, 3, 5), 5, 5))
    with backend.backend(which):
        assert gradcheck(lambda *t: NormalizeRows.apply(*t, eps=0.1) ** 2, x, w, b)
        for layer in (RMSNorm(5, dtype="float64"), MLP(5, 4, "swiglu", dtype="float64"), MLP(5, 4, "gelu", dtype="float64"),
                      Block(6, 2, norm="rms", dtype="float64")):
            source = x if not isinstance(layer, Block) else Tensor(rng.normal(size=(2, 3, 6)), requires_grad=True)
            assert gradcheck(lambda t, layer=layer: layer(t) ** 2, source)


@both
@pytest.mark.parametrize("dtype, tolerance", [("float16", 3e-3), ("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7), (0, 7)])
def test_norms_are_their_definitions(which, dtype, tolerance, shape):
    x = (np.random.default_rng(1).normal(size=shape) * 3 + 50).astype(dtype)
    exact = x.astype("float64")
    layers = LayerNorm(7, dtype=dtype), RMSNorm(7, dtype=dtype)
    wanted = ((exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-5),
              exact / np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-6))
    with backend.backend(which):
        for layer, want in zip(layers, wanted, strict=True):
            y = layer(Tensor(x))
            assert y.dtype == dtype and y.shape == x.shape
            np.testing.assert_allclose(y.numpy(), want, rtol=tolerance, atol=tolerance * 20)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_mlps_train_alike_on_kernels_and_in_numpy(activation, bias):
    found = {}
    for which in backend.BACKENDS:
        with backend.backend(which):
            layer = MLP(6, activation=activation, bias=bias, rng=np.random.default_rng(1))
            x = Tensor(np.random.default_rng(2).normal(size=(2, 3, 6)), "float32", requires_grad=True)
            (layer(x) ** 2).sum().backward()
            found[which] = [layer(x).numpy(), x.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())]
    for a, b in zip(*found.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert layer.up.weight.shape[0] == hidden_width(6, activation) == (16 if activation == "swiglu" else 24)


def losses(model, steps, x):
    optimizer, course = tt.AdamW(model.parameters(), 1e-2), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = tt.cross_entropy(model(x[:, :-1]).reshape(-1, model.vocabulary), Tensor(x[:, 1:].reshape(-1)))
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    return course


@kinds
def test_gpt_trains_alike_on_kernels_and_in_numpy(kind):
    course = {}
    for which in backend.BACKENDS:
        with backend.backend(which):
            course[which] = losses(small(kind), 12, ids(9, 4))
    np.testing.assert_allclose(*course.values(), rtol=2e-3)
    assert course["cython"][0] == pytest.approx(math.log(11), rel=0.1) and course["cython"][-1] < 0.75 * course["cython"][0]


@pytest.mark.skipif(bool(backend.backend_info().missing), reason="some kernels are not compiled here")
def test_a_training_step_of_gpt_goes_through_the_kernels(monkeypatch):
    taken = []

    def noting(name, choose):
        def noted(thing, *arguments):
            result = choose(thing, *arguments)
            if result is not NotImplemented:
                taken.append((name, type(thing).__name__))
            return result

        return noted

    for module, name in ((tensor, "native_forward"), (autograd, "native_backward"), (layers, "native_module")):
        monkeypatch.setattr(module, name, noting(name, getattr(module, name)))
    losses(small(), 1, ids())
    modules = [thing for name, thing in taken if name == "native_module"]
    assert {n: modules.count(n) for n in set(modules)} == {"LayerNorm": 5, "MultiHeadAttention": 2, "MLP": 2, "Linear": 7}
    assert ("native_forward", "Lookup") in taken and ("native_backward", "Lookup") in taken
    taken.clear()
    losses(small("llama"), 1, ids())
    names = [thing for _, thing in taken]
    assert names.count("RMSNorm") == 5 and names.count("TiledAttention") == 4 and names.count("MLP") == 2


class Shelf:
    """A cache that keeps all it was given."""

    def __init__(self):
        self.held = None

    def extend(self, k, v):
        new = k.numpy(), v.numpy()
        self.held = new if self.held is None else [np.concatenate(pair, axis=2) for pair in zip(self.held, new, strict=True)]
        return tuple(map(Tensor, self.held))


@both
@kinds
def test_with_caches_logits_are_those_of_the_whole_text(which, kind):
    model, text = small(kind).eval(), ids(9)
    with backend.backend(which):
        whole, caches, at, parts = model(text).numpy(), [Shelf(), Shelf()], 0, []
        for n in (4, 1, 1, 3):
            parts.append(model(text[:, at:at + n], caches=caches, offset=at).numpy())
            at += n
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-3, atol=1e-5)


@both
@kinds
def test_gpt_is_causal_and_knows_positions(which, kind):
    model = small(kind)
    with backend.backend(which):
        assert causality_leak(model, ids(), 3) == 0 and causality_leak(model, ids(), 6) == 0
        assert position_sensitivity(model, ids()) > 1e-4
        for maps in model.attention_maps(ids()):
            entropy = attention_entropy(maps)
            assert entropy.shape == (4,) and (entropy > 0).all() and (entropy < math.log(7)).all()
    for block in model.blocks:
        block.attention.causal = False
    assert causality_leak(model, ids(), 3) > 1e-4


def test_one_block_without_positions_sees_a_bag_of_words():
    assert position_sensitivity(GPT(11, 16, 1, 4, positions="none", rng=np.random.default_rng(0)), ids()) < 1e-6


def test_padding_changes_nothing_before_it():
    model, text = small().eval(), ids(8)
    padded = model(text, mask=tt.padding_mask([8, 5], 8)).numpy()
    np.testing.assert_allclose(padded[0], model(text).numpy()[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(padded[1, :5], model(text[1:, :5]).numpy()[0], rtol=1e-4, atol=1e-5)


def test_gpt2_has_the_parameters_that_are_published_and_a_tied_head():
    small_count = sum(p.numel() for p in GPT(50257, 8, 1, 1, length=1024).parameters())
    assert small_count == (50257 + 1024) * 8 + (12 * 64 + 13 * 8) + 2 * 8
    model = small()
    names = [name for name, _ in model.named_parameters()]
    assert model.head.weight is model.tokens.weight and "head.weight" not in names and "head.weight" in model.state_dict()
    other = small()
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other(ids()).numpy(), model(ids()).numpy())
    out, qkv = (np.concatenate([getattr(b.attention, n).weight.numpy().ravel() for b in GPT(11, 128, 8, 4).blocks]) for n in ("out", "qkv"))
    assert out.std() == pytest.approx(0.02 / 4, rel=0.02) and qkv.std() == pytest.approx(0.02, rel=0.02)
    assert start_weights(model, 2) is model


logits = st.lists(st.floats(-8, 8), min_size=1, max_size=9).map(np.array)


@given(logits, st.floats(0.2, 4), st.one_of(st.none(), st.integers(1, 12)), st.one_of(st.none(), st.floats(0.01, 1)))
def test_sampling_is_that_of_a_loop_over_ranked_tokens(x, temperature, k, p):
    shares = np.exp((x - x.max()) / temperature)
    ranked = sorted(range(len(x)), key=lambda i: (-x[i], i))[:k]
    total = sum(shares[i] for i in ranked)
    kept, reached = [], 0.0
    for i in ranked:
        if p is not None and reached >= p:
            break
        kept.append(i)
        reached += shares[i] / total
    weights = sampling_weights(x, temperature, k, p)
    if p is None or abs(reached - p) > 1e-9 and (len(kept) < 2 or abs(reached - shares[kept[-1]] / total - p) > 1e-9):
        assert np.flatnonzero(weights).tolist() == sorted(i for i in kept if shares[i] > 0)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights[kept] / weights[kept[0]], shares[kept] / shares[kept[0]], rtol=1e-6, atol=1e-12)


@both
def test_greedy_text_is_the_argmax_of_the_whole_text_at_each_step(which):
    model, text = small(length=6), ids(4)
    with backend.backend(which):
        written = generate(model, text, 5, temperature=0).numpy()
        for end in range(4, 9):
            np.testing.assert_array_equal(written[:, end], settled(model, written[:, max(0, end - 6):end])[:, -1].argmax(-1))
    assert (written[:, :4] == text).all() and model.training and written.dtype == np.int64


def test_seeds_and_the_default_generator():
    model = small()
    a, b, c = (generate(model, ids(3), 9, rng=np.random.default_rng(s)).tolist() for s in (1, 1, 2))
    assert a == b != c
    runs = []
    for _ in range(2):
        tt.manual_seed(5)
        runs.append(generate(model, ids(3), 9).tolist())
    assert runs[0] == runs[1]


def test_perplexity_and_bits():
    x = np.random.default_rng(0).normal(size=(40, 9))
    targets = np.arange(40) % 9
    parts = [(tt.cross_entropy(Tensor(x[a:b]), Tensor(targets[a:b])).item(), b - a) for a, b in ((0, 30), (30, 40))]
    chosen = -(x - np.log(np.exp(x).sum(1, keepdims=True)))[np.arange(40), targets]
    assert perplexity(*zip(*parts, strict=True)) == pytest.approx(math.exp(chosen.mean()), rel=1e-9)
    assert bits_per_byte(*zip(*parts, strict=True), 100) == pytest.approx(chosen.sum() / math.log(2) / 100, rel=1e-9)
    assert perplexity([math.log(6)], [4]) == pytest.approx(6) and perplexity([1e4], [1]) == math.inf


def test_entropy_of_equal_weights_is_the_log_of_their_number():
    np.testing.assert_allclose(attention_entropy(np.full((2, 3, 4, 5), 0.2)), np.log(5))
    assert (attention_entropy(np.eye(4)[None, None]) == 0).all()


@pytest.mark.parametrize("attempt, error, message", [
    (lambda: LayerNorm(4)(tt.zeros((2, 3))), ShapeError, r"x of shape \(2, 3\) wants weight and bias of its last axis"),
    (lambda: RMSNorm(4)(tt.zeros((2, 3))), ShapeError, r"x of shape \(2, 3\) wants a weight of its last axis"),
    (lambda: MLP(4)(tt.zeros((2, 3))), ShapeError, r"in_features = 4 on the last axis, got shape \(2, 3\)"),
    (lambda: MLP(4, activation="gelu_tan"), ValueError, "unknown activation 'gelu_tan': the nearest is gelu_tanh"),
    (lambda: Block(4, 2, norm="batch"), ValueError, "unknown norm 'batch'.*all are layer, rms"),
    (lambda: GPT(5, 6, 1, 4), ValueError, "multiple of heads; got 1, 6 and 4"),
    (lambda: GPT(5, 8, 0, 4), ValueError, "a depth of 1 or more.*got 0"),
    (lambda: GPT(5, 8, 1, 4, positions="learnt"), ValueError, "unknown positions 'learnt': the nearest is learned"),
    (lambda: GPT(5, 8, 1, 4)(np.zeros(3, int)), ShapeError, r"ids are \(B, T\), got shape \(3,\)"),
    (lambda: GPT(5, 8, 1, 4)([[0, 5]]), IndexError, "index 5 is not a row of 5"),
    (lambda: GPT(5, 8, 1, 4, length=3)([[0, 1, 2, 3]]), IndexError, "position 3 is not one of the 3 that were trained"),
    (lambda: causality_leak(small(), ids(4), 4), ValueError, "at is between 0 and 4, the length of the text, got 4"),
    (lambda: perplexity([], []), ValueError, "one token at least, got 0"),
    (lambda: bits_per_byte([1.0], [1], 0), ValueError, "one byte at least, got 0"),
    (lambda: sampling_weights([1.0], temperature=-1), ValueError, "temperature is 0 or more, got -1"),
    (lambda: sampling_weights([1.0], top_k=0), ValueError, "top_k keeps 1 token or more, got 0"),
    (lambda: generate(small(), ids(), 1, top_p=2), ValueError, "top_p is above 0 and at most 1, got 2"),
])
@both
def test_what_is_refused_says_why(which, attempt, error, message):
    with backend.backend(which), pytest.raises(error, match=message) as caught:
        attempt()
    assert "\n" not in str(caught.value)
