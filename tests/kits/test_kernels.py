"""The C kernels give what NumPy gives, bit for bit: any shape, operands at their limits, on this machine."""

import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardkit import dsp, kmeans
from boardkit.quantize import INT32, QuantLayer, QuantModel, Scale, check, quantize_multiplier, requantize
from boardkit.reference import layer_output
from tests.kits import native
from tests.kits.cases import extreme, random_layer

if shutil.which("gcc") is None:
    pytest.skip("no gcc here to compile the kernels with", allow_module_level=True)

int32 = st.one_of(st.integers(-(2**31), INT32), st.sampled_from([-(2**31), INT32, -1, 0, 1, 2**30, -(2**30)]))
multipliers = st.one_of(st.just(0), st.integers(2**30, INT32), st.sampled_from([2**30, INT32]))


@given(int32, multipliers, st.integers(-31, 30))
@settings(max_examples=400)
def test_requantise_is_exact_on_all_operands(x, multiplier, shift):
    assert native.library().requantize(x, multiplier, shift) == requantize(x, multiplier, shift)


@given(int32, multipliers, st.integers(-31, 30))
def test_requantise_is_gemmlowp_s_two_roundings(x, multiplier, shift):
    """gemmlowp's definitions in Python's integers, which do not wrap: nudge and truncation, remainder and threshold."""
    x = max(min(x << max(shift, 0), INT32), -(2**31))
    product = x * multiplier
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = -(-nudged // 2**31) if nudged < 0 else nudged // 2**31
    e = max(-shift, 0)
    mask = 2**e - 1
    want = (high >> e) + ((high & mask) > (mask >> 1) + (high < 0))
    assert requantize([x], multiplier, min(shift, 0))[0] == want


@pytest.mark.parametrize("kind", ["dense", "dense_fast", "conv2d", "conv1d", "depthwise", "max_pool", "mean_pool"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_a_layer_is_exact_for_any_shape_and_constants(kind, seed):
    rng = np.random.default_rng(seed)
    of = {"dense_fast": "dense", "conv1d": "conv2d"}.get(kind, kind)
    layer = random_layer(rng, of)
    check(layer)
    x = extreme(rng, (3, *layer.in_shape))
    got = native.run_layer(layer, x, kind, fold=kind == "dense_fast")
    np.testing.assert_array_equal(got, layer_output(layer, x))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([1e-6, 0.01, 0.1, 1.0, 1e6]))
def test_softmax_and_argmax_are_exact(seed, n, scale):
    x = extreme(np.random.default_rng(seed), (2, 1, 1, n))
    layer = QuantLayer(kind="softmax", in_shape=(1, 1, n), out_shape=(1, 1, n), input=Scale(scale, 3), output=Scale(1 / 256, -128))
    want, table = layer_output(layer, x), layer.table
    for one, to in zip(x, want, strict=True):
        y = one.copy()
        native.library().softmax(native.pointer(y), native.pointer(y), n, native.pointer(table))
        np.testing.assert_array_equal(y, to)
        assert native.library().argmax(native.pointer(one), n) == one.argmax()


def test_softmax_is_close_to_the_real_one(rng):
    scale = Scale(0.08, -3)
    x = rng.integers(-128, 128, (200, 1, 1, 6)).astype(np.int8)
    layer = QuantLayer(kind="softmax", in_shape=(1, 1, 6), out_shape=(1, 1, 6), input=scale, output=Scale(1 / 256, -128))
    e = np.exp(scale.dequantize(x).astype(float))
    assert np.abs(layer.output.dequantize(layer_output(layer, x)) - e / e.sum(axis=-1, keepdims=True)).max() <= 1 / 256


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_nearest_centre_is_exact_and_the_first_of_equals(seed, k):
    rng = np.random.default_rng(seed)
    x, centres = extreme(rng, (3, 20)), extreme(rng, (k, 20))
    centres[-1] = centres[0]
    want = kmeans.nearest(x, centres)
    for one, index, distance in zip(x, *want, strict=True):
        found = np.zeros(1, dtype=np.uint32)
        assert native.library().nearest(native.pointer(one), native.pointer(centres), 20, k, native.pointer(found)) == index
        assert found[0] == distance



@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.booleans())
@settings(max_examples=60)
def test_the_fft_is_exact_and_close_to_the_real_one(seed, stages, loud):
    rng, size = np.random.default_rng(seed), 1 << stages
    re, im = rng.integers(-32768, 32768, (2, size)).astype(np.int16)
    if loud:
        re, im = rng.choice(np.array([-32768, 32767], dtype=np.int16), (2, size))
    want = dsp.fft(re, im)
    got, table = (re.copy(), im.copy()), dsp.twiddles(size)
    native.library().fft(*map(native.pointer, got), size, native.pointer(table))
    np.testing.assert_array_equal(got, want)
    if not loud:  # each stage adds at most one and a half to what the last one was wrong by
        real = np.fft.fft(re + 1j * im) / size
        assert np.abs(want[0] + 1j * want[1] - real).max() <= 2.0 * stages + 1


@given(st.one_of(st.integers(0, 2**63 - 1), st.integers(0, 70_000)))
def test_logarithms_and_roots_are_exact_and_close_to_the_real_ones(x):
    log = int(dsp.log2(x))
    assert native.library().log2_(x) == log and abs(log - 256 * np.log2(max(x, 1))) <= 3
    x &= 2**32 - 1
    assert native.library().root(x) == int(dsp.sqrt(x)) == int(np.sqrt(np.longdouble(x)))


@given(st.integers(0, 2**32 - 1), st.sampled_from([64, 256]), st.integers(1, 20), st.booleans())
@settings(max_examples=30)
def test_log_mel_bands_are_exact(seed, size, bands, loud):
    rng = np.random.default_rng(seed)
    front = dsp.LogMel(size=size, hop=size, bands=bands)
    sound = (np.full(size, -32768) if loud else rng.integers(-32768, 32768, size)).astype(np.int16)
    tables = [dsp.hann(size), dsp.twiddles(size), *front.filters]
    scale, offset = Scale(float(rng.uniform(0.5, 40)), int(rng.integers(-128, 128))), int(rng.integers(-300, 3000))
    q = native.Mel(*(t.ctypes.data for t in tables), size, bands, *(front.input_terms(scale)[:1]), offset, front.input_terms(scale)[1], scale.zero)
    out = np.zeros(bands, dtype=np.int16)
    native.library().log_mel(native.ctypes.byref(q), native.pointer(sound.copy()), native.pointer(np.zeros(size, np.int16)), native.pointer(out))
    want = front.bands_of(sound)
    np.testing.assert_array_equal(out, want)
    assert [native.library().feature(native.ctypes.byref(q), int(v)) for v in want] == front.features(want, scale, offset).tolist()


def test_log_mel_bands_follow_the_real_ones(rng):
    """Against NumPy's FFT in float64, where the power is well above the rounding of 16 bits."""
    front = dsp.LogMel(size=512, bands=32)
    t = np.arange(512) / 16000
    for hertz in (300, 1000, 3000, 6000):
        sound = (12000 * np.sin(2 * np.pi * hertz * t)).astype(np.int16)
        power = np.abs(np.fft.rfft(sound * (dsp.hann(512) / 32768)) / 512) ** 2
        first, count, weights = front.filters
        ends = np.cumsum(count.astype(int))
        real = np.array([power[f : f + n] @ weights[e - n : e] for f, n, e in zip(first, count.astype(int), ends, strict=True)])
        got = front.bands_of(sound)
        assert got.argmax() == real.argmax() and abs(got.max() - 256 * np.log2(real.max())) < 20


@given(st.floats(2.0**-33, 2.0**29))
def test_a_multiplier_is_the_factor_to_31_bits(real):
    multiplier, shift = quantize_multiplier(real)
    if multiplier:
        assert 2**30 <= multiplier <= INT32 and multiplier * 2.0 ** (shift - 31) == pytest.approx(real, rel=2**-31)
    else:
        assert real < 2**-32


def test_a_whole_program_runs_without_undefined_behaviour(rng, tmp_path):
    """The kernels under gcc's sanitizers, on operands at their limits; the outputs still agree."""
    from boardkit.export import header

    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }")
    if subprocess.run(["gcc", *native.SANITIZED, str(probe), "-o", str(tmp_path / "probe")], capture_output=True).returncode:
        pytest.skip("this gcc has no sanitizers: libasan and libubsan are missing")
    parts, calls, want = ['#include <stdio.h>\n#include "mlk.h"\n'], [], []
    for i in range(40):
        layer = random_layer(rng, ["dense", "conv2d", "depthwise", "max_pool", "mean_pool"][i % 5])
        x = extreme(rng, (1, *layer.in_shape))
        model = QuantModel(name=f"case {i}", layers=(layer,))
        parts.append(header(model, f"c{i}") + f"static const int8_t x{i}[] = {{{', '.join(map(str, x.ravel()))}}};\n")
        calls.append(f"memcpy(C{i}_INPUT, x{i}, C{i}_INPUTS); c{i}_run(); for (int j = 0; j < C{i}_OUTPUTS; j++) printf(\"%d \", C{i}_OUTPUT[j]);")
        want += model.run(x).ravel().tolist()
    for x, m, s in ((-(2**31), INT32, 30), (INT32, INT32, 30), (INT32, INT32, 0), (-(2**31), 2**30, -31), (-(2**31), 0, 1)):
        calls.append(f'printf("%ld ", (long)mlk_requantize((int32_t)({x} - 0), {m}, {s}));'.replace("-2147483648 - 0", "-2147483647 - 1"))
        want.append(int(requantize(x, m, s)))
    front = dsp.LogMel(size=64, hop=64, bands=6)
    loud = np.where(rng.random(64) < 0.5, -32768, 32767).astype(np.int16)
    parts.append(front.header(Scale(0.5, 127)) + f"static int16_t re[] = {{{', '.join(map(str, loud))}}}, im[64], out[6];\n")
    calls.append('mlk_mel mel; MLK_LOAD(mel, front_mel); mlk_log_mel(&mel, re, im, out); for (int j = 0; j < 6; j++) printf("%d ", mlk_feature(&mel, out[j]));')
    want += front.features(front.bands_of(loud), Scale(0.5, 127)).tolist()
    source = tmp_path / "all.c"
    source.write_text("".join(parts) + "int main(void) {\n" + "\n".join(calls) + "\nreturn 0;\n}\n")
    subprocess.run(["gcc", *native.SANITIZED, f"-I{native.LIBRARY}", str(source), "-o", str(tmp_path / "all")], check=True)
    done = subprocess.run([str(tmp_path / "all")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]
    assert list(map(int, done.stdout.split())) == want
