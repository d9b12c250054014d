"""The exported layers: trees of names against a plain recursion, state through files, draws against their statistics."""

import copy
import io
import math
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinytorch as tt
from tinytorch import DTypeError, ShapeError, Tensor
from tinytorch.layers import (
    Dropout,
    Linear,
    Module,
    Parameter,
    Sequential,
    StateError,
    default_rng,
    fans,
    gain,
    kaiming_normal_,
    kaiming_uniform_,
    manual_seed,
    normal_,
    overwrite,
    uniform_,
    xavier_normal_,
    xavier_uniform_,
)

NAMES = st.sampled_from(["weight", "bias", "inner", "0", "1", "mean", "query"])
trees = st.recursive(st.sampled_from(["parameter", "buffer", "nothing", "number"]), lambda inner: st.dictionaries(NAMES, inner, max_size=4),
                     max_leaves=12).filter(lambda tree: isinstance(tree, dict))


def build(tree):
    """A module by assignments alone."""
    module = Module()
    for name, what in tree.items():
        if what == "buffer":
            module.register_buffer(name, tt.ones(2))
        elif what == "nothing":
            setattr(module, name, Parameter(tt.zeros(2)))
            setattr(module, name, None)
        else:
            setattr(module, name, build(what) if isinstance(what, dict) else Parameter(tt.zeros(2)) if what == "parameter" else 0.5)
    return module


def paths(tree, kinds, prefix=""):
    """Paths of the members of these kinds, a module's own first."""
    own = [prefix + name for kind in kinds for name, what in tree.items() if what == kind]
    return own + [path for name, what in tree.items() if isinstance(what, dict) for path in paths(what, kinds, f"{prefix}{name}.")]


def relu(x):
    return x * (x > 0)


def network(seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return Sequential(Linear(6, 5, rng=rng, dtype=dtype), relu, Sequential(Dropout(0.5), Linear(5, 3, bias=False, rng=rng, dtype=dtype)))


def standard_errors(values, std, kurtosis):
    """How many standard errors the mean and the standard deviation of a sample are away from 0 and std."""
    values = np.asarray(values, "float64")
    return (abs(values.mean()) * math.sqrt(values.size) / std,
            abs(values.std() - std) / (std * math.sqrt((kurtosis - 1) / (4 * values.size))))


# Registration and names


@given(trees)
def test_names_are_those_of_a_plain_recursion(tree):
    module = build(tree)
    assert [name for name, _ in module.named_parameters()] == paths(tree, ["parameter"])
    assert [name for name, _ in module.named_buffers()] == paths(tree, ["buffer"])
    assert list(module.state_dict()) == paths(tree, ["parameter", "buffer"])


@given(trees)
def test_every_module_is_reached_once_and_by_its_path(tree):
    module = build(tree)
    named = list(module.named_modules())
    assert len({id(m) for _, m in named}) == len(named)
    for path, found in named:
        at = module
        for name in filter(None, path.split(".")):
            at = getattr(at, name)
        assert at is found


def test_an_attribute_reads_as_the_object_that_was_assigned():
    module, weight, inner = Module(), Parameter([1.0]), Linear(2, 2)
    module.weight, module.inner, module.rate = weight, inner, 0.1
    assert module.weight is weight and module.inner is inner and module.rate == 0.1
    assert {"weight", "inner", "rate"} <= set(dir(module))


@pytest.mark.parametrize("before", [0.5, None, "module", "buffer"])
def test_a_name_that_becomes_a_parameter_is_nothing_else(before):
    module = Module()
    if before == "buffer":
        module.register_buffer("x", tt.zeros(2))
    else:
        module.x = Module() if before == "module" else before
    module.x = weight = Parameter([1.0])
    assert module.x is weight and list(module.state_dict()) == ["x"]
    assert not list(module.children()) and not list(module.buffers())


def test_a_shared_parameter_is_listed_once_and_saved_under_both_names():
    model = Sequential(Linear(4, 4), Linear(4, 4))
    model[1].weight = model[0].weight
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_a_module_below_itself_ends():
    model = Sequential(Linear(2, 2))
    model[0].parent = model
    assert [name for name, _ in model.named_modules()] == ["", "0"]
    assert len(list(model.parameters())) == 2


def test_what_was_deleted_is_gone():
    model = network()
    del model[0].weight
    assert "0.weight" not in model.state_dict()
    with pytest.raises(AttributeError, match="weight"):
        model[0].weight  # noqa: B018


def test_members_before_init_say_what_to_call():
    class Forgetful(Module):
        def __init__(self):
            self.weight = Parameter([1.0])

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
        Forgetful()


@pytest.mark.parametrize("name", ["", "a.b", "forward"])
def test_names_that_could_not_be_found_again_are_refused(name):
    with pytest.raises(ValueError, match=re.escape(repr(name)) if "." in name or not name else name):
        setattr(Module(), name, Parameter([1.0]))


def test_a_misspelt_attribute_names_the_nearest():
    with pytest.raises(AttributeError, match="the nearest is weight"):
        Linear(2, 2).wieght  # noqa: B018


@pytest.mark.parametrize("value", [tt.zeros(2), 3, [1.0]])
def test_a_parameter_is_not_replaced_by_what_is_none(value):
    layer = Linear(2, 2)
    before = layer.weight
    with pytest.raises(TypeError, match="weight"):
        layer.weight = value
    assert layer.weight is before


def test_parameters_hold_floats_and_copies():
    data = tt.zeros(3)
    parameter = Parameter(data)
    data.fill_(1)
    assert parameter.requires_grad and parameter.tolist() == [0, 0, 0] and repr(parameter).startswith("Parameter(")
    with pytest.raises(DTypeError, match="int64"):
        Parameter([1, 2])


def test_buffers_are_no_parameters():
    with pytest.raises(TypeError, match="Parameter"):
        Module().register_buffer("mean", Parameter([1.0]))
    layer = Linear(2, 2)
    with pytest.raises(ValueError, match="weight"):
        layer.register_buffer("weight", tt.zeros(2))


def test_modes_gradients_and_freezing_reach_every_module():
    model = network()
    assert model.eval() is model and not any(m.training for m in model.modules())
    assert model.train() is model and all(m.training for m in model.modules())
    with pytest.raises(TypeError, match="str"):
        model.train("eval")
    assert not any(p.requires_grad for p in model.requires_grad_(False).parameters())
    for parameter in model.parameters():
        parameter.grad = tt.ones(parameter.shape)
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_the_text_is_a_tree():
    assert repr(network()) == """Sequential(
  (0): Linear(in_features=6, out_features=5, bias=True)
  (1): relu
  (2): Sequential(
    (0): Dropout(p=0.5)
    (1): Linear(in_features=5, out_features=3, bias=False)
  )
)"""


# State


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_state_survives_a_file_bit_by_bit_and_keeps_the_objects(dtype):
    saved, model = network(1, dtype), network(2, dtype)
    model.register_buffer("steps", Tensor(3))
    saved.register_buffer("steps", Tensor(9))
    file = io.BytesIO()
    np.savez(file, **{name: tensor.numpy() for name, tensor in saved.state_dict().items()})
    file.seek(0)
    held = [*model.parameters(), *model.buffers()]
    versions = [t.storage.version for t in held]
    assert model.load_state_dict(np.load(file)) == ([], [])
    assert all(a is b for a, b in zip(held, [*model.parameters(), *model.buffers()], strict=True))
    assert all(t.storage.version > v for t, v in zip(held, versions, strict=True))
    for name, tensor in saved.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), tensor.numpy())


def test_a_state_is_a_copy_without_marks():
    model = network()
    state = model.state_dict()
    before = {name: tensor.numpy().copy() for name, tensor in state.items()}
    for parameter in model.parameters():
        overwrite(parameter, np.full(parameter.shape, 7.0))  # as loading does, whether autograd is there or not
    assert all(type(t) is Tensor and not t.requires_grad for t in state.values())
    assert all(np.array_equal(state[name].numpy(), before[name]) for name in state)


def test_a_refused_state_says_everything_and_writes_nothing():
    model = network()
    before = model.state_dict()
    state = dict(before) | {"extra": tt.zeros(1), "2.1.weight": tt.zeros((5, 3), "float64")}
    state["0.wieght"] = state.pop("0.weight")
    state["0.bias"] = tt.ones(5)
    with pytest.raises(StateError) as caught:
        model.load_state_dict(state)
    text = str(caught.value)
    for part in ("missing 0.weight", "unexpected 0.wieght (nearest: 0.weight)", "unexpected extra", "2.1.weight", "(5, 3)", "(3, 5)", "float64"):
        assert part in text
    assert "\n" not in text
    assert all(np.array_equal(tensor.numpy(), before[name].numpy()) for name, tensor in model.state_dict().items())


def test_a_loose_state_returns_what_it_passed_over_and_still_refuses_shapes():
    model = network()
    state = model.state_dict()
    state["head"] = state.pop("0.bias")
    assert model.load_state_dict(state, strict=False) == (["0.bias"], ["head"])
    with pytest.raises(StateError, match="0.weight"):
        model.load_state_dict({"0.weight": tt.zeros(1)}, strict=False)


def test_tied_parameters_stay_tied_after_loading():
    model = Sequential(Linear(4, 4), Linear(4, 4))
    model[1].weight = model[0].weight
    model.load_state_dict({name: tt.full(t.shape, 2.0) for name, t in model.state_dict().items()})
    assert model[1].weight is model[0].weight and model[0].weight.numpy().min() == 2


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copied_model_shares_nothing_and_keeps_its_ties(duplicate):
    model = Module()
    model.body = network()
    model.tied = model.body[0]
    twin = duplicate(model)
    assert twin.tied is twin.body[0] and twin.tied.weight is not model.tied.weight
    assert not any(a.shares_storage(b) for a in twin.parameters() for b in model.parameters())
    assert list(twin.state_dict()) == list(model.state_dict())
    x = tt.ones((2, 6))
    np.testing.assert_array_equal(twin.eval().body(x).numpy(), model.eval().body(x).numpy())


# Hooks


def test_hooks_run_in_order_replace_and_are_removed():
    layer, seen = Linear(2, 2), []
    first = layer.register_forward_hook(lambda module, inputs, output: seen.append((module, inputs, output)))
    layer.register_forward_hook(lambda module, inputs, output: output * 0)
    last = layer.register_forward_hook(lambda module, inputs, output: output + 1)
    x = tt.ones((1, 2))
    assert layer(x).tolist() == [[1, 1]]
    assert seen[0][0] is layer and seen[0][1][0] is x and seen[0][2].tolist() == layer.forward(x).tolist()
    first.remove()
    last.remove()
    last.remove()
    assert layer(x).tolist() == [[0, 0]] and len(seen) == 1


# Layers


@given(st.lists(st.integers(0, 4), max_size=4), st.integers(1, 5), st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_linear_is_a_sum_over_the_last_axis(batch, inputs, outputs, bias, seed):
    rng = np.random.default_rng(seed)
    layer = Linear(inputs, outputs, bias, rng, "float64")
    x = rng.normal(size=(*batch, inputs))
    wanted = (x[..., None, :] * layer.weight.numpy()).sum(-1) + (layer.bias.numpy() if bias else 0)
    y = layer(Tensor(x))
    assert y.shape == (*batch, outputs) and y.dtype == np.float64
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-12, atol=1e-13)


def test_linear_reads_a_view_and_promotes_integers():
    layer = Linear(3, 2)
    x = Tensor(np.arange(12).reshape(3, 4), "int8")
    y = layer(x.T)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), x.numpy().T.astype("float32") @ layer.weight.numpy().T + layer.bias.numpy(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (4,), (3, 4), (2, 3, 2)])
def test_linear_names_the_shape_and_what_it_wants(shape):
    with pytest.raises(ShapeError, match=re.escape(str(shape))) as caught:
        Linear(3, 2)(tt.zeros(shape))
    assert "in_features = 3" in str(caught.value)


@pytest.mark.parametrize("sizes", [(0, 2), (2, 0), (-1, 2)])
def test_linear_without_features_is_refused(sizes):
    with pytest.raises(ValueError, match="feature"):
        Linear(*sizes)


def test_linear_starts_uniform_within_one_over_root_in():
    layer = Linear(400, 300, rng=np.random.default_rng(7))
    for parameter in (layer.weight, layer.bias):
        assert abs(parameter.numpy()).max() <= 1 / 20
        assert max(standard_errors(parameter.numpy(), 1 / 20 / math.sqrt(3), 9 / 5)) < 5


@given(st.floats(0.05, 0.95), st.integers(0, 2**31), st.sampled_from(["float32", "float64"]))
def test_dropout_keeps_the_mean_and_drops_a_share_of_p(p, seed, dtype):
    y = Dropout(p, np.random.default_rng(seed))(tt.ones((50, 80), dtype))
    kept = (y.numpy() != 0).mean()
    assert y.dtype == dtype
    assert abs(kept - (1 - p)) < 6 * math.sqrt(p * (1 - p) / 4000)
    np.testing.assert_allclose(y.numpy()[y.numpy() != 0], 1 / (1 - p), rtol=1e-6)


def test_dropout_is_the_identity_in_evaluation_and_zero_for_one():
    x = tt.ones((3, 4))
    assert Dropout(0.9).eval()(x) is x
    np.testing.assert_array_equal(Dropout(0.0)(x).numpy(), x.numpy())
    np.testing.assert_array_equal(Dropout(1.0)(x).numpy(), 0)


def test_dropout_is_repeatable_by_its_generator_and_by_the_seed():
    x = tt.ones((30, 30))
    a, b = (Dropout(0.5, np.random.default_rng(3))(x).numpy() for _ in range(2))
    np.testing.assert_array_equal(a, b)
    layer, runs = Dropout(0.5), []
    for _ in range(2):
        manual_seed(11)
        runs.append([layer(x).numpy(), layer(x).numpy()])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(*runs[0])


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf])
def test_dropout_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match=re.escape(str(p))):
        Dropout(p)


def test_sequential_is_composition_and_slices_share_layers():
    model = Sequential(lambda x: x + 1, lambda x: x * 2, lambda x: x - 3)
    assert model(5) == 9 and model[:2](5) == 12 and model[-1](5) == 2 and len(model) == 3
    assert list(model[1:])[0] is model[1] and [name for name, _ in model[1:].named_children()] == ["0", "1"]
    assert Sequential()(4) == 4
    with pytest.raises(IndexError, match="index 3 .* 3 layers"):
        model[3]
    with pytest.raises(TypeError, match="layer 1"):
        Sequential(relu, 3)


def test_a_function_of_module_02_can_be_a_layer():
    model = Sequential(tt.ReLU(), tt.relu)
    assert model(Tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


# Starting values


@pytest.mark.parametrize("shape", [(90, 210), (30, 20, 3, 3), (40, 30, 7)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initialisers_have_the_variance_of_their_papers(shape, dtype):
    inputs, outputs = math.prod(shape[1:]), shape[0] * math.prod(shape[2:])
    xavier, kaiming = math.sqrt(2 / (inputs + outputs)), math.sqrt(2 / inputs)
    rng = np.random.default_rng(5)
    for fill, std, kurtosis in ((lambda t: xavier_uniform_(t, rng=rng), xavier, 9 / 5), (lambda t: xavier_normal_(t, 3.0, rng), 3 * xavier, 3),
                                (lambda t: kaiming_uniform_(t, rng=rng), kaiming, 9 / 5), (lambda t: kaiming_normal_(t, rng=rng), kaiming, 3),
                                (lambda t: kaiming_normal_(t, "linear", "fan_out", rng), 1 / math.sqrt(outputs), 3)):
        tensor = tt.zeros(shape, dtype)
        assert fill(tensor) is tensor and tensor.dtype == dtype
        assert max(standard_errors(tensor.numpy(), std, kurtosis)) < 5


@given(hnp.array_shapes(min_dims=2, max_dims=5))
def test_fan_in_is_what_one_output_sums_and_fan_out_what_one_input_reaches(shape):
    weight = np.ones(shape)
    assert fans(shape) == (weight[0].sum(), weight[:, 0].sum())


def test_the_gain_of_relu_is_one_over_the_root_mean_square_it_leaves():
    x = np.random.default_rng(0).normal(size=400_000)
    for name, slope in (("relu", 0.0), ("leaky_relu", 0.2)):
        left = np.where(x > 0, x, slope * x)
        assert gain(name, slope) == pytest.approx(1 / math.sqrt((left**2).mean()), rel=5e-3)


@pytest.mark.parametrize("act, text", [(lambda: gain("rellu"), "the nearest is relu"), (lambda: kaiming_normal_(tt.zeros((2, 2)), mode="fan"), "fan_out"),
                                       (lambda: xavier_normal_(tt.zeros(3)), r"\(3,\)"), (lambda: normal_(tt.zeros(2, "int64")), "int64")])
def test_wrong_requests_for_values_say_what_would_be_right(act, text):
    with pytest.raises((ValueError, TypeError), match=text):
        act()


def test_initialisers_write_in_place_through_views_and_count_it():
    whole = tt.zeros((40, 50))
    uniform_(whole[:, 7], 1, 2)
    assert whole.storage.version == 1 and whole.numpy()[:, 7].min() >= 1
    assert not np.delete(whole.numpy(), 7, axis=1).any()


def test_one_seed_starts_all_that_has_no_generator():
    def draws():
        manual_seed(4)
        return [Linear(3, 2).weight.numpy(), normal_(tt.zeros(5)).numpy(), default_rng().random(3)]

    for a, b in zip(draws(), draws(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_layers_do_not_need_autograd():
    code = "import sys, tinytorch.layers; sys.exit('tinytorch.autograd' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
