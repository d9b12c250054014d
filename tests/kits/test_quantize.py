"""Quantisation says what it does: scales, layouts, errors of at most a step; models as plain data; what cannot be is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx

import tinytorch as tt
from boardkit import quantize as q
from boardkit.arena import plan_model
from boardkit.export import header, write_header
from boardkit.quantize import QuantizeError, QuantModel, Scale
from boardkit.reference import activations, forward, run
from tinytorch.layers import normal_


def small(rng, per_channel=True):
    layers = [q.dense(rng.normal(size=(8, 6)) * rng.uniform(0.1, 3, (8, 1)), rng.normal(size=8), relu=True), q.dense(rng.normal(size=(3, 8)))]
    x = rng.normal(size=(300, 6))
    return layers, x, q.quantize(layers, x, name="small", per_channel=per_channel)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_a_scale_holds_zero_exactly_and_its_range_to_half_a_step(a, b):
    scale = q.scale_of(min(a, b), max(a, b))
    assert scale.quantize(0.0) == scale.zero and scale.dequantize(np.int8(scale.zero)) == 0
    for x in (a, b, (a + b) / 2):
        assert abs(float(scale.dequantize(scale.quantize(x))) - x) <= scale.scale * 1.001


def test_rounding_is_away_from_zero_at_halves():
    assert q.round_away([0.5, 1.5, -0.5, -2.5, 0.49999999999999994, 2.4]).tolist() == [1, 2, -1, -3, 0, 2]


@pytest.mark.parametrize("real, pair", [(0.5, (2**30, 0)), (0.75, (3 * 2**29, 0)), (1.0, (2**30, 1)), (0.25, (2**30, -1)), (0.0, (0, 0)), (2.0**-40, (0, 0)), (1 - 2.0**-40, (2**30, 1))])
def test_multipliers_by_hand(real, pair):
    assert q.quantize_multiplier(real) == pair


def test_the_integers_follow_the_floats_to_a_few_steps(rng):
    layers, x, model = small(rng)
    wanted = forward(layers, x[:, None, None])[-1].reshape(300, -1)
    assert np.abs(model.predict(x) - wanted).max() < 4 * model.output.scale
    assert (model.predict(x).argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.97


def test_a_scale_for_each_channel_is_finer_than_one_for_all(rng):
    layers, x, fine = small(rng)
    coarse = small(np.random.default_rng(20260801), per_channel=False)[2]
    wanted = forward(layers, x[:, None, None])[-1].reshape(300, -1)
    error = [np.sqrt(((m.predict(x) - wanted) ** 2).mean()) for m in (fine, coarse)]
    assert error[0] < error[1] and len(coarse.layers[0].multiplier) == 1 and len(fine.layers[0].multiplier) == 8


def test_a_layer_by_hand():
    """x = 0.5 (q + 2), w = 0.25 q: q = 6, -4 are 4 and -1; 4 x 1 - 1 x -0.5 + 1 = 5.5, which is 55 steps of 0.1 from -10."""
    layer = q.quantize_layer(q.dense([[31.75, -0.5]], [1.0]), (1, 1, 2), Scale(0.5, -2), Scale(0.1, -10))
    assert layer.weight.tolist() == [[127, -2]] and layer.bias.tolist() == [8]
    layer = replace(layer, weight=np.array([[4, -2]], dtype=np.int8))
    assert QuantModel(name="hand", layers=(layer,)).run(np.array([[6, -4]], dtype=np.int8)).tolist() == [[45]]


def test_a_model_is_plain_data_and_comes_back_the_same(rng):
    import json

    _, x, model = small(rng)
    again = QuantModel.from_dict(json.loads(json.dumps(model.to_dict())))
    assert again.digest == model.digest and header(again) == header(model)
    xs = model.input.quantize(x)
    np.testing.assert_array_equal(again.run(xs), model.run(xs))
    assert replace(model, layers=(replace(model.layers[0], high=100), *model.layers[1:])).digest != model.digest


def test_convolutions_of_a_channels_first_model_become_channels_last(rng):
    """Convolution, norm, ReLU, pools, depthwise, flatten and Linear: floats as TinyTorch computes them, integers close by."""
    from tinytorch.convolutions import AvgPool2d, BatchNorm2d, Conv2d, Flatten, MaxPool2d

    norm = BatchNorm2d(4)
    for tensor in (norm.running_mean, norm.weight, norm.bias):
        normal_(tensor, rng=rng)
    deep = tt.Sequential(Conv2d(4, 4, 3, padding=1, groups=4, bias=False, rng=rng), tt.ReLU())
    model = tt.Sequential(Conv2d(2, 4, (3, 5), stride=(2, 1), padding=(1, 2), rng=rng), norm, tt.relu, MaxPool2d(2, padding=1), deep,
                          AvgPool2d((1, 2)), Flatten(), tt.Dropout(0.5), tt.Linear(4 * 3 * 3, 3, rng=rng)).eval()  # fmt: skip
    x = rng.normal(size=(40, 2, 8, 12)).astype(np.float32)
    layers, shape = q.from_tinytorch(model, (2, 8, 12))
    assert [layer.kind for layer in layers] == ["conv2d", "max_pool", "depthwise", "mean_pool", "dense"] and shape == (8, 12, 2)
    wanted = model(tt.Tensor(x)).numpy()
    np.testing.assert_allclose(forward(layers, q.channels_last(x))[-1].reshape(40, 3), wanted, rtol=1e-4, atol=1e-5)
    made = q.quantize(model, x)
    assert np.abs(made.predict(q.channels_last(x)) - wanted).max() < 0.1 * np.abs(wanted).max()
    assert made.macs == 4 * 12 * 4 * 15 * 2 + 3 * 7 * 4 * 9 + 108
    assert plan_model(made).size == plan_model(made).lower_bound == 192 + 192


def test_a_series_is_an_image_of_one_row(rng):
    weight, x = rng.normal(size=(3, 2, 5)), rng.normal(size=(4, 1, 11, 2))
    seen = np.lib.stride_tricks.sliding_window_view(np.pad(x[:, 0], ((0, 0), (2, 2), (0, 0))), 5, axis=1)[:, ::2]
    layers = [q.conv1d(weight, stride=2, padding=2)]
    np.testing.assert_allclose(forward(layers, x)[0][:, 0], np.einsum("ntik,oik->nto", seen, weight), rtol=1e-9)
    assert q.quantize(layers, x).out_shape == (1, 6, 3)


def test_the_header_is_replaced_whole_or_not_at_all(rng, tmp_path):
    model = small(rng)[2]
    path = write_header(model, tmp_path / "model.h")
    assert path.read_text() == header(model) and f"0x{model.digest[:8]}" in path.read_text() and "PROGMEM" not in path.read_text()
    with pytest.raises(QuantizeError, match="wanted a C name"):
        write_header(model, path, prefix="my model")
    assert path.read_text() == header(model) and [p.name for p in tmp_path.iterdir()] == ["model.h"]
    with pytest.raises(FileNotFoundError):
        write_header(model, tmp_path / "none" / "model.h")
    strange = header(replace(model, name='a"*/ \\n\u00e9'))
    assert '#define MODEL_NAME "a n"' in strange, "a name cannot leave its string or its comment"


def test_activations_are_kept_and_one_sample_may_come_alone(rng):
    _, x, model = small(rng)
    xs = model.input.quantize(x[:4])
    assert [a.shape for a in activations(model, xs)] == [(4, 1, 1, 6), (4, 1, 1, 8), (4, 1, 1, 3)]
    np.testing.assert_array_equal(run(model, xs[0])[0], run(model, xs)[0])
    for bad in (x[:4], xs[:, :5], np.zeros((0, 6), np.int8)):
        with pytest.raises(QuantizeError, match="wanted"):
            run(model, bad)


def refusals(rng):
    model = small(rng)[2]
    plain = model.to_dict()

    def edited(**changes):
        return {"name": "x", "layers": [plain["layers"][0] | changes, plain["layers"][1]]}

    x = np.ones((3, 4))
    return [
        (lambda: q.quantize([q.dense(np.ones((2, 5)))], x), "layer 0, dense: takes 5 inputs, 4 come"),
        (lambda: q.quantize([q.dense(np.ones((2, 4)), [1e12, 0])], x * 1e-6), "layer 0, dense: a bias is"),
        (lambda: q.quantize([q.softmax(), q.dense(np.ones((2, 4)))], x), "nothing can follow a softmax"),
        (lambda: q.quantize([], x), "no layers"),
        (lambda: q.quantize([q.dense(np.ones((2, 4)))], x[:0]), "wanted \\(N, ...\\) with N >= 1"),
        (lambda: q.quantize([q.dense(np.ones((2, 4)))], x * np.nan), "wanted finite bounds"),
        (lambda: model.input.quantize([np.nan]), "got NaN"),
        (lambda: q.quantize_multiplier(-1.0), "factor -1"),
        (lambda: q.quantize_multiplier(np.inf), "factor inf"),
        (lambda: q.from_tinytorch(tt.Sequential(tt.ReLU(), tt.Linear(2, 2)), (2,)), "layer 0, ReLU: a ReLU is fused"),
        (lambda: q.from_tinytorch(tt.Sequential(tt.Linear(2, 2), tt.Tanh())), "layer 1, Tanh: has no int8 form"),
        (lambda: q.from_tinytorch(tt.Sequential(tt.relu, tt.Linear(2, 2))), "give \\(C, H, W\\)"),
        (lambda: QuantModel.from_dict({"layers": [{}]}), "not what to_dict gives"),
        (lambda: QuantModel.from_dict(edited(kind="lstm")), "layer 0, lstm: unknown"),
        (lambda: QuantModel.from_dict(edited(weight=[[200] * 6] * 8)), "weight wants integers from -128 to 127"),
        (lambda: QuantModel.from_dict(edited(bias=[2**31 - 1] * 8)), "above 2\\^31 - 1"),
        (lambda: QuantModel.from_dict(edited(shift=[31] * 8)), "shifts from -31 to 30"),
        (lambda: QuantModel.from_dict(edited(out_shape=[1, 1, 7])), "its output is \\(1, 1, 8\\)"),
        (lambda: QuantModel.from_dict(edited(output=[0.5, 3])), "layer 1: takes"),
        (lambda: QuantModel.from_dict(edited(low=5, high=4)), "limits 5 to 4"),
    ]


def test_what_cannot_be_quantised_is_refused_in_one_line(rng):
    for call, says in refusals(rng):
        with pytest.raises(QuantizeError, match=says) as caught:
            call()
        assert "\n" not in str(caught.value)


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.integers(-3, 3), st.floats(), st.text(max_size=3), st.lists(st.integers(-3, 300), max_size=4),
    st.lists(st.lists(st.integers(-3, 3), max_size=2), max_size=3), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip


@given(st.data())
@settings(max_examples=200)
def test_any_data_is_a_model_that_runs_or_is_refused(data):
    """What a judge is handed may be anything: either every kernel is defined for it, or one line says why not."""
    rng = np.random.default_rng(0)
    layers = [q.conv2d(rng.normal(size=(2, 1, 2, 2)), relu=True), q.max_pool(2, 1), q.dense(rng.normal(size=(3, 8))), q.softmax()]
    plain = q.quantize(layers, rng.normal(size=(5, 4, 4, 1))).to_dict()
    for _ in range(data.draw(st.integers(1, 2))):
        where, value = data.draw(st.sampled_from(plain["layers"])), data.draw(LEAVES)
        field = data.draw(st.sampled_from(sorted(where)))
        if isinstance(where[field], list) and where[field] and data.draw(st.booleans()):
            where[field][data.draw(st.integers(0, len(where[field]) - 1))] = value
        else:
            where[field] = value
    try:
        model = QuantModel.from_dict(plain)
    except QuantizeError:
        return
    model.run(np.zeros((1, *model.in_shape), dtype=np.int8))
    assert model.digest[:8] in header(model)


def test_a_dead_channel_and_a_constant_input_do_no_harm():
    layers = [q.dense([[0.0, 0.0], [1.0, 1.0]], [0.5, 0.0], relu=True)]
    model = q.quantize(layers, np.zeros((3, 2)))
    assert model.predict(np.zeros((1, 2)))[0] == approx([0.5, 0.0], abs=0.01)
