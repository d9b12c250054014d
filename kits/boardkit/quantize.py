"""From a trained network to integers: float layers, their int8 form, and the arithmetic between them, to the bit.

A real number r is stored as q: r = scale (q - zero). Activations: int8, one scale and zero point a tensor. Weights: int8
from -127 to 127, zero point 0, one scale a tensor or one an output channel. Biases: int32 of scale input x weight.
A sum of products s = sum (x - zero_in) w + bias has that scale too, so the output is

    y = clamp(zero_out + requantize(s, multiplier, shift), low, high),    scale_in scale_w / scale_out = multiplier 2^(shift - 31)

requantize(s, m, e): s is shifted left by max(e, 0) and saturated to 32 bits; multiplied by m and divided by 2^31, to the
nearest, halves upwards; divided by 2^max(-e, 0), to the nearest, halves away from zero. low is zero_out after a ReLU,
else -128; high is 127. These are the semantics of gemmlowp and of TensorFlow Lite's default build, two roundings; where a
left shift leaves 32 bits theirs are undefined and ours saturate. (tinytorch.quantization scales sums in floats instead.)
Source: Jacob et al. 2018, arXiv 1712.05877; google/gemmlowp, fixedpoint/fixedpoint.h; TensorFlow Lite 8-bit quantization specification.

Layouts: activations (H, W, C); weights (O, I), (O, KH, KW, I), depthwise (KH, KW, C). A vector is (1, 1, C), a series (1, T, C).
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from math import frexp, prod

import numpy as np

from .errors import KitError

KINDS = ("dense", "conv2d", "depthwise", "max_pool", "mean_pool", "softmax", "argmax")
WEIGHTED = ("dense", "conv2d", "depthwise")
WINDOWED = ("conv2d", "depthwise", "max_pool", "mean_pool")
INT32 = 2**31 - 1


class QuantizeError(KitError, ValueError):
    """A network that cannot be quantised as asked: one line that names the layer."""


# Arithmetic


def round_away(x):
    """To the nearest integer, halves away from zero, as C's round(); float64 in, int64 out."""
    x = np.asarray(x, dtype=np.float64)
    whole = np.trunc(x)
    return (whole + np.copysign(np.abs(x - whole) >= 0.5, x)).astype(np.int64)


def quantize_multiplier(real):
    """A factor >= 0 as (multiplier, shift): real = multiplier 2^(shift - 31), with 2^30 <= multiplier < 2^31, or 0, 0.

    Factors below 2^-32 become zero. Raises QuantizeError for a negative factor, one that is not finite, or one of 2^30 or more.
    """
    real = float(real)
    if not 0 <= real < 2.0**30:
        raise QuantizeError(f"factor {real:g}: wanted one from 0 to 2^30, scale of input x scale of weights / scale of output")
    if real == 0:
        return 0, 0
    fraction, shift = frexp(real)
    multiplier = int(round_away(fraction * 2**31))
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def requantize(x, multiplier, shift):
    """int32 sums times multiplier 2^(shift - 31), rounded twice as the page above says; all broadcast -> int64 array."""
    x, multiplier, shift = (np.asarray(a, dtype=np.int64) for a in (x, multiplier, shift))
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    x = np.clip(x << left, -INT32 - 1, INT32)
    high = (x * multiplier + (1 << 30)) >> 31
    mask = (np.int64(1) << right) - 1
    return (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))


# A tensor's scale


@dataclass(frozen=True)
class Scale:
    """How a tensor is stored: real = scale (q - zero)."""

    scale: float
    zero: int = 0

    def quantize(self, real):
        """Reals -> int8, to the nearest, halves away from zero, saturated. Raises QuantizeError for NaN."""
        real = np.asarray(real, dtype=np.float64)
        if np.isnan(real).any():
            raise QuantizeError("quantize: got NaN; an integer cannot say so: clean the data first")
        with np.errstate(over="ignore"):
            scaled = np.clip(real / self.scale, -1e6, 1e6)
        return np.clip(round_away(scaled) + self.zero, -128, 127).astype(np.int8)

    def dequantize(self, q):
        """int8 -> float32 reals."""
        return ((np.asarray(q, dtype=np.int32) - self.zero) * self.scale).astype(np.float32)


def scale_of(low, high):
    """The Scale whose 256 values cover low to high and hold 0 exactly. Raises QuantizeError if a bound is not finite."""
    if not (np.isfinite(low) and np.isfinite(high)):
        raise QuantizeError(f"range {low:g} to {high:g}: wanted finite bounds; look for NaN or infinity in the calibration data")
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if high - low < 1e-30:  # nothing but zeros, or so small that its steps have no room in a float
        return Scale(1.0, 0)
    scale = (high - low) / 255
    return Scale(scale, int(np.clip(round_away(-128 - low / scale), -128, 127)))


def quantize_weight(weight, per_channel, axis=0):
    """Float weights -> (int8 from -127 to 127, scales (channels,) or (1,)). A channel of zeros has scale 1."""
    weight = np.asarray(weight, dtype=np.float64)
    other = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim) if per_channel else None
    most = np.abs(weight).max(axis=other, keepdims=True)
    scales = np.where(most > 0, most, 127.0) / 127
    return np.clip(round_away(weight / scales), -127, 127).astype(np.int8), scales.reshape(-1)


# Float layers


@dataclass(frozen=True, kw_only=True)
class FloatLayer:
    """One layer before quantisation; fields as in QuantLayer, weights real."""

    kind: str
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    kernel: tuple = (1, 1)
    stride: tuple = (1, 1)
    padding: tuple = (0, 0, 0, 0)  # top, bottom, left, right
    relu: bool = False


def _pair(value):
    return (int(value),) * 2 if np.ndim(value) == 0 else tuple(int(v) for v in value)


def _sides(padding):
    """An int, (rows, columns) or (top, bottom, left, right) -> the four."""
    if np.size(padding) == 4:
        return tuple(int(p) for p in padding)
    rows, columns = _pair(padding)
    return (rows, rows, columns, columns)


def dense(weight, bias=None, relu=False):
    """weight (O, I), bias (O,)."""
    return FloatLayer(kind="dense", weight=np.asarray(weight), bias=bias, relu=relu)


def conv2d(weight, bias=None, stride=1, padding=0, relu=False):
    """weight (O, I, KH, KW) as in PyTorch and TinyTorch; stored as (O, KH, KW, I)."""
    weight = np.transpose(np.asarray(weight), (0, 2, 3, 1))
    return FloatLayer(kind="conv2d", weight=weight, bias=bias, kernel=weight.shape[1:3], stride=_pair(stride),
                      padding=_sides(padding), relu=relu)  # fmt: skip


def conv1d(weight, bias=None, stride=1, padding=0, relu=False):
    """weight (O, I, K): a conv2d of one row."""
    return conv2d(np.asarray(weight)[:, :, None, :], bias, (1, stride), (0, padding), relu)


def depthwise(weight, bias=None, stride=1, padding=0, relu=False):
    """weight (C, 1, KH, KW), one filter a channel; stored as (KH, KW, C)."""
    weight = np.transpose(np.asarray(weight)[:, 0], (1, 2, 0))
    return FloatLayer(kind="depthwise", weight=weight, bias=bias, kernel=weight.shape[:2], stride=_pair(stride),
                      padding=_sides(padding), relu=relu)  # fmt: skip


def max_pool(kernel=2, stride=None, padding=0):
    return FloatLayer(kind="max_pool", kernel=_pair(kernel), stride=_pair(kernel if stride is None else stride), padding=_sides(padding))


def mean_pool(kernel=2, stride=None, padding=0):
    """The mean of the places inside the image: a border does not count, as in TensorFlow Lite."""
    return replace(max_pool(kernel, stride, padding), kind="mean_pool")


def softmax():
    return FloatLayer(kind="softmax")


def argmax():
    return FloatLayer(kind="argmax")


def from_tinytorch(model, input_shape=None):
    """A Sequential of TinyTorch, possibly nested -> (list of FloatLayer, input shape (H, W, C)).

    Takes Linear, Conv2d (groups 1, or one filter a channel; a series is an image of one row), MaxPool2d, AvgPool2d, BatchNorm2d
    behind a Conv2d (folded into it), ReLU behind any of these, Flatten, Softmax at the end; Dropout does nothing here.
    input_shape: of one sample as the model takes it, (I,) or (C, H, W); a Linear at the front knows its own.
    Raises QuantizeError with the number and name of a layer that has no int8 form.
    """
    if any(_name(module) == "BatchNorm2d" for module in model.modules()):  # else a course that has no such module yet can do without
        from tinytorch.quantization import folded_copy

        model = folded_copy(model)
    found, shape = [], None if input_shape is None else tuple(int(n) for n in np.atleast_1d(input_shape))
    steps = list(_flat(model))
    if shape is None:
        if not steps or _name(steps[0]) != "Linear":
            raise QuantizeError("input_shape: the first layer is no Linear; give (C, H, W) of one sample")
        shape = (steps[0].weight.shape[1],)
    start = {1: (1, 1, *shape), 3: (*shape[1:], shape[0])}.get(len(shape))
    if start is None:
        raise QuantizeError(f"input_shape: got {shape}; wanted (I,) or (C, H, W)")
    now = start
    for i, step in enumerate(steps):
        name, where = _name(step), f"layer {i}, {_name(step)}"
        if name in ("Dropout", "Flatten", "Identity"):
            continue
        if name.lower() == "relu":
            if not found or found[-1].kind in ("softmax", "argmax"):
                raise QuantizeError(f"{where}: a ReLU is fused into the layer before it, and there is none")
            found[-1] = replace(found[-1], relu=True)
            continue
        layer = _layer(step, name, where, now)
        now = output_shape(layer, now, where)
        found.append(layer)
    return found, start


def _flat(model):
    if _name(model) == "Sequential":
        for child in model:
            yield from _flat(child)
    else:
        yield model


def _name(step):
    step = getattr(step, "function", step) if type(step).__name__ == "Wrap" else step  # a function that Sequential wrapped
    return getattr(step, "__name__", type(step).__name__)


def _layer(step, name, where, now):
    if name in ("Linear", "Conv2d"):
        weight, bias = step.weight.numpy(), None if step.bias is None else step.bias.numpy()
    if name == "Linear":
        if now[0] * now[1] > 1:  # its inputs come as (C, H, W) there and as (H, W, C) here
            h, w, c = now
            if weight.shape[1] != h * w * c:
                raise QuantizeError(f"{where}: takes {weight.shape[1]} inputs, and {now} come; is a Flatten missing?")
            weight = weight.reshape(-1, c, h, w).transpose(0, 2, 3, 1).reshape(len(weight), -1)
        return dense(weight, bias)
    if name == "Conv2d":
        stride, padding, dilation, groups = (step.options[k] for k in ("stride", "padding", "dilation", "groups"))
        if dilation != (1, 1):
            raise QuantizeError(f"{where}: dilation {dilation}; the kernels take 1")
        if groups == 1:
            return conv2d(weight, bias, stride, padding)
        if groups == len(weight) == now[2]:
            return depthwise(weight, bias, stride, padding)
        raise QuantizeError(f"{where}: {groups} groups; the kernels take 1, or one filter for each of {now[2]} channels")
    if name in ("MaxPool2d", "AvgPool2d"):
        kernel, stride, padding = (step.options[k] for k in ("kernel", "stride", "padding"))
        if name == "AvgPool2d" and padding != (0, 0):
            raise QuantizeError(f"{where}: its mean counts zeros of the padding, the kernel's does not; pad with 0")
        return (max_pool if name == "MaxPool2d" else mean_pool)(kernel, stride, padding)
    if name.lower() == "softmax":
        return softmax()
    raise QuantizeError(f"{where}: has no int8 form; known are Linear, Conv2d, MaxPool2d, AvgPool2d, BatchNorm2d, ReLU, Softmax")


def output_shape(layer, shape, where="layer"):
    """(H, W, C) -> (H, W, C) behind a layer. Raises QuantizeError if the weights do not fit or a window has no place."""
    h, w, c = shape
    if layer.kind == "dense":
        if layer.weight.shape[1] != prod(shape):
            raise QuantizeError(f"{where}: takes {layer.weight.shape[1]} inputs, {prod(shape)} come")
        return (1, 1, len(layer.weight))
    if layer.kind == "softmax":
        return shape
    if layer.kind == "argmax":
        return (1, 1, 1)
    if layer.kind in ("conv2d", "depthwise") and layer.weight.shape[-1] != c:
        raise QuantizeError(f"{where}: its weights are for {layer.weight.shape[-1]} channels, {c} come")
    top, bottom, left, right = layer.padding
    (kh, kw), (sh, sw) = layer.kernel, layer.stride
    if min(kh, kw, sh, sw) < 1 or min(layer.padding) < 0 or max(kh, kw, sh, sw, *layer.padding) > 255:
        raise QuantizeError(f"{where}: kernel {layer.kernel}, stride {layer.stride}, padding {layer.padding}; wanted 1 to 255, "
                            "padding 0 to 255")
    out = ((h + top + bottom - kh) // sh + 1, (w + left + right - kw) // sw + 1)
    if min(out) < 1:
        raise QuantizeError(f"{where}: a window of {kh} x {kw} does not fit into {h} x {w} with padding {layer.padding}")
    return (*out, len(layer.weight) if layer.kind == "conv2d" else c)


# Int8 layers


@dataclass(frozen=True, kw_only=True)
class QuantLayer:
    """One layer in integers. weight int8, bias int32 (O,), multiplier int32 and shift int8 (O,) or (1,).

    input and output: Scale. in_shape, out_shape (H, W, C). kernel, stride (rows, columns); padding (top, bottom, left, right).
    """

    kind: str
    in_shape: tuple
    out_shape: tuple
    input: Scale
    output: Scale
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    multiplier: np.ndarray | None = None
    shift: np.ndarray | None = None
    kernel: tuple = (1, 1)
    stride: tuple = (1, 1)
    padding: tuple = (0, 0, 0, 0)
    low: int = -128
    high: int = 127

    @property
    def per_channel(self):
        return self.multiplier is not None and len(self.multiplier) > 1

    @property
    def channels(self):
        """Output channels that weights make."""
        return 0 if self.weight is None else self.weight.shape[-1 if self.kind == "depthwise" else 0]

    @property
    def macs(self):
        """Multiply-adds, places outside the image counted too."""
        if self.weight is None:
            return 0
        return self.weight.size * (1 if self.kind == "dense" else prod(self.out_shape[:2]))

    @property
    def folded_bias(self):
        """bias - zero_in sum of the weights of a channel: the bias for inputs that are taken as they are stored."""
        axes = (0, 1) if self.kind == "depthwise" else tuple(range(1, self.weight.ndim))
        return (self.bias.astype(np.int64) - self.input.zero * self.weight.astype(np.int64).sum(axis=axes)).astype(np.int32)

    @property
    def table(self):
        """Of a softmax: round(65535 exp(-d scale)), d = 0 to 255, uint16."""
        return round_away(65535 * np.exp(-np.arange(256) * self.input.scale)).astype(np.uint16)


def check_sums(layer, where="layer"):
    """Raises QuantizeError if a sum of products could leave 32 bits: then no kernel agrees with another."""
    axes = (0, 1) if layer.kind == "depthwise" else tuple(range(1, layer.weight.ndim))
    weights = np.abs(layer.weight.astype(np.int64)).sum(axis=axes)
    most = np.abs(layer.bias.astype(np.int64)) + 383 * weights  # 255 for a sum, 128 more for the folded zero point
    if (most > INT32).any():
        o = int(np.argmax(most))
        raise QuantizeError(f"{where}: the sum of channel {o} can reach {most[o]}, above 2^31 - 1; its bias is too large for its scale")


_FIELDS = ("kernel", "stride", "padding", "in_shape", "out_shape", "low", "high")


@dataclass(frozen=True, kw_only=True)
class QuantModel:
    """A network in integers. run(x) computes it as the firmware does; digest identifies it."""

    name: str
    layers: tuple
    labels: tuple = field(default=())

    @property
    def input(self):
        return self.layers[0].input

    @property
    def output(self):
        return self.layers[-1].output

    @property
    def in_shape(self):
        return self.layers[0].in_shape

    @property
    def out_shape(self):
        return self.layers[-1].out_shape

    @property
    def macs(self):
        return sum(layer.macs for layer in self.layers)

    @property
    def digest(self):
        """SHA-256 of all that decides outputs, in hex; the first eight digits travel in the header and over the link."""
        plain = self.to_dict()
        del plain["name"], plain["labels"]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def weight_bytes(self):
        """{"weights": B, "constants": B} of flash: int8 weights, then biases, multipliers, shifts and tables."""
        weighted = [layer for layer in self.layers if layer.weight is not None]
        constants = sum(layer.bias.nbytes + layer.multiplier.nbytes + layer.shift.nbytes for layer in weighted)
        tables = 512 * sum(layer.kind == "softmax" for layer in self.layers)
        return {"weights": sum(layer.weight.nbytes for layer in weighted), "constants": constants + tables}

    def run(self, x):
        """int8 inputs (N, ...) or one sample -> int8 outputs, as reference.run."""
        from .reference import run

        return run(self, x)

    def predict(self, x):
        """Real inputs (N, H, W, C) or (N, I) -> real outputs, through the integers."""
        return self.output.dequantize(self.run(self.input.quantize(x)))

    def to_dict(self):
        """Plain data, lists and numbers, from which from_dict makes the same model."""
        layers = []
        for layer in self.layers:
            plain = {"kind": layer.kind} | {name: np.asarray(getattr(layer, name)).tolist() for name in _FIELDS}
            plain |= {name: [getattr(layer, name).scale, getattr(layer, name).zero] for name in ("input", "output")}
            if layer.weight is not None:
                plain |= {name: getattr(layer, name).tolist() for name in ("weight", "bias", "multiplier", "shift")}
            layers.append(plain)
        return {"name": self.name, "labels": list(self.labels), "layers": layers}

    @classmethod
    def from_dict(cls, plain):
        """The model of to_dict. Raises QuantizeError, naming the layer, for data that no model has."""
        try:
            layers = tuple(_read(i, layer) for i, layer in enumerate(plain["layers"]))
            name, labels = str(plain["name"]), tuple(str(label) for label in plain.get("labels", ()))
        except QuantizeError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError) as error:
            raise QuantizeError(f"model: not what to_dict gives, {type(error).__name__}: {error}") from error
        if not layers:
            raise QuantizeError("model: has no layers")
        for i, (a, b) in enumerate(zip(layers, layers[1:], strict=False)):
            if prod(a.out_shape) != prod(b.in_shape) or a.output != b.input:
                raise QuantizeError(f"layer {i + 1}: takes {b.in_shape} of {b.input}, and {a.out_shape} of {a.output} come")
        return cls(name=name, layers=layers, labels=labels)


_TYPES = {"weight": np.int8, "bias": np.int32, "multiplier": np.int32, "shift": np.int8}


def _read(i, plain):
    where = f"layer {i}, {plain['kind']}"
    if plain["kind"] not in KINDS:
        raise QuantizeError(f"{where}: unknown; wanted one of {', '.join(KINDS)}")
    arrays = {}
    for name in _TYPES if plain["kind"] in WEIGHTED else ():
        wide = np.asarray(plain[name])
        limits = np.iinfo(_TYPES[name])
        if wide.dtype.kind != "i" or wide.size == 0 or wide.min() < limits.min or wide.max() > limits.max:
            raise QuantizeError(f"{where}: {name} wants integers from {limits.min} to {limits.max}")
        arrays[name] = wide.astype(_TYPES[name])
    shapes = {name: tuple(int(n) for n in plain[name]) for name in ("kernel", "stride", "padding", "in_shape", "out_shape")}
    scales = {name: Scale(float(plain[name][0]), int(plain[name][1])) for name in ("input", "output")}
    layer = QuantLayer(kind=plain["kind"], low=int(plain["low"]), high=int(plain["high"]), **shapes, **scales, **arrays)
    check(layer, where)
    return layer


def check(layer, where="layer"):
    """Raises QuantizeError unless the kernels are defined for a QuantLayer: shapes, ranges, sums."""
    scales = layer.input, layer.output
    lengths = [len(t) for t in (layer.in_shape, layer.out_shape, layer.kernel, layer.stride, layer.padding)]
    dimensions = {"dense": 2, "conv2d": 4, "depthwise": 3}.get(layer.kind)
    if lengths != [3, 3, 2, 2, 4] or (layer.weight is not None and (layer.weight.ndim != dimensions or layer.bias.ndim != 1)):
        raise QuantizeError(f"{where}: wanted shapes (H, W, C), kernel and stride of 2, padding of 4, weights of {dimensions} dimensions")
    if layer.weight is not None and not layer.multiplier.ndim == layer.shift.ndim == 1:
        raise QuantizeError(f"{where}: wanted multipliers and shifts in one dimension")
    if not (-128 <= layer.low <= layer.high <= 127 and all(-128 <= s.zero <= 127 and 0 < s.scale < np.inf for s in scales)):
        raise QuantizeError(f"{where}: limits {layer.low} to {layer.high} or a zero point are no int8, or a scale is no positive number")
    if min(*layer.in_shape, *layer.out_shape) < 1 or max(prod(layer.in_shape), prod(layer.out_shape)) > 32767:
        raise QuantizeError(f"{where}: {layer.in_shape} -> {layer.out_shape}; the kernels take tensors of 1 to 32767 elements")
    if layer.out_shape != (wanted := output_shape(layer, layer.in_shape, where)):
        raise QuantizeError(f"{where}: its output is {wanted}, not {layer.out_shape}")
    if layer.kind == "argmax" and prod(layer.in_shape) > 128:
        raise QuantizeError(f"{where}: {prod(layer.in_shape)} classes; a byte tells 128 apart")
    if layer.weight is None:
        return
    n = layer.channels
    if layer.kind != "dense" and (layer.weight.shape[1:3] if layer.kind == "conv2d" else layer.weight.shape[:2]) != tuple(layer.kernel):
        raise QuantizeError(f"{where}: weights {layer.weight.shape} for a kernel of {layer.kernel}")
    if len(layer.bias) != n or len(layer.multiplier) not in (1, n) or len(layer.shift) != len(layer.multiplier):
        raise QuantizeError(f"{where}: {n} channels, but {len(layer.bias)} biases, {len(layer.multiplier)} multipliers, "
                            f"{len(layer.shift)} shifts")
    if (layer.multiplier < 0).any() or (np.abs(layer.shift + 0.5) > 31).any():  # -31 to 30
        raise QuantizeError(f"{where}: multipliers are not negative, shifts from -31 to 30")
    check_sums(layer, where)


def quantize_layer(layer, in_shape, input, output, *, per_channel=True, where="layer"):
    """A FloatLayer and the Scales around it -> QuantLayer. Pools keep the scale of their input; softmax has 1/256 and -128."""
    shape = output_shape(layer, in_shape, where)
    common = dict(kind=layer.kind, in_shape=tuple(in_shape), out_shape=shape, input=input, kernel=tuple(layer.kernel),
                  stride=layer.stride, padding=layer.padding)  # fmt: skip
    if layer.kind == "softmax":
        return QuantLayer(**common, output=Scale(1 / 256, -128))
    if layer.kind == "argmax":
        made = QuantLayer(**common, output=Scale(1.0, 0))
        check(made, where)
        return made
    if layer.kind not in WEIGHTED:
        return QuantLayer(**common, output=input, low=input.zero if layer.relu else -128)
    weight, scales = quantize_weight(layer.weight, per_channel, axis=-1 if layer.kind == "depthwise" else 0)
    n = weight.shape[-1 if layer.kind == "depthwise" else 0]
    steps = input.scale * scales
    bias = np.zeros(n) if layer.bias is None else np.asarray(layer.bias, dtype=np.float64) / steps
    if not np.isfinite(bias).all() or np.abs(bias).max(initial=0) > INT32:
        raise QuantizeError(f"{where}: a bias is {np.abs(bias).max():g} steps of its scale, above 2^31 - 1")
    pairs = np.array([quantize_multiplier(step / output.scale) for step in steps])
    made = QuantLayer(
        **common, output=output, weight=weight, bias=round_away(bias).astype(np.int32), multiplier=pairs[:, 0].astype(np.int32),
        shift=pairs[:, 1].astype(np.int8), low=output.zero if layer.relu else -128,
    )  # fmt: skip
    check(made, where)
    return made


def quantize(model, samples, *, input_shape=None, per_channel=True, name="model", labels=()):
    """A trained network and samples to calibrate on -> QuantModel.

    model: a TinyTorch Sequential (see from_tinytorch), or a list of float layers made by dense, conv2d, conv1d, depthwise,
    max_pool, mean_pool, softmax, argmax of this module. samples: real inputs (N, ...) as the model takes them, channels
    first for a TinyTorch model; for a list (N, I) or (N, H, W, C), and input_shape is not needed. The range of a tensor is what the
    samples span. per_channel: a scale for each output channel of the weights, else one. Raises QuantizeError.
    """
    samples = np.asarray(samples.numpy() if hasattr(samples, "numpy") else samples, dtype=np.float64)
    if samples.ndim < 2 or not len(samples):
        raise QuantizeError(f"samples: got shape {samples.shape}; wanted (N, ...) with N >= 1")
    if isinstance(model, list | tuple):
        layers, shape = list(model), (1,) * (4 - samples.ndim) + samples.shape[1:]
    else:
        layers, shape = from_tinytorch(model, samples.shape[1:] if input_shape is None else input_shape)
        samples = channels_last(samples)
    if not layers:
        raise QuantizeError("model: has no layers")
    now = shape
    for i, layer in enumerate(layers):
        where = f"layer {i}, {layer.kind}"
        if i and layers[i - 1].kind in ("softmax", "argmax"):
            raise QuantizeError(f"{where}: nothing can follow a {layers[i - 1].kind}")
        now = output_shape(layer, now, where)
    from .reference import forward

    values = forward(layers, samples.reshape(len(samples), *shape))
    scales = [scale_of(samples.min(), samples.max())]
    made = []
    for i, (layer, value) in enumerate(zip(layers, values, strict=True)):
        where, output = f"layer {i}, {layer.kind}", scale_of(value.min(), value.max())
        made.append(quantize_layer(layer, shape, scales[-1], output, per_channel=per_channel, where=where))
        shape, scales = made[-1].out_shape, [*scales, made[-1].output]
    return QuantModel(name=name, layers=tuple(made), labels=tuple(labels))


def channels_last(x):
    """Inputs as TinyTorch takes them, (N, I) or (N, C, H, W) -> (N, H, W, C)."""
    x = np.asarray(x)
    if x.ndim == 2:
        return x[:, None, None, :]
    if x.ndim == 4:
        return x.transpose(0, 2, 3, 1)
    raise QuantizeError(f"inputs: got shape {x.shape}; wanted (N, I) or (N, C, H, W)")
