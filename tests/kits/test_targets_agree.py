"""The same kernels on every processor there is an emulator of: what they answer over the line is what NumPy computes."""

import os
import struct

import numpy as np
import pytest

from boardkit import dsp, kmeans
from boardkit import quantize as q
from boardkit.export import header
from boardkit.protocol import Link
from boardkit.quantize import INT32, QuantLayer, QuantModel, Scale, requantize
from boardkit.targets import open_target
from boardkit.toolchain import compile_sketch
from tests.kits.cases import extreme, random_layer
from tests.kits.conftest import need

pytestmark = pytest.mark.slow  # compilers and emulators, again and again

pytest.importorskip("serial", reason="the kits' extra is not installed: pip install '.[kits]'")

TARGETS = ["simavr:atmega328p", "qemu:cortex-m4", "qemu:cortex-m7", "qemu:cortex-m55", "qemu-user:aarch64"]
SKETCH = os.path.join(os.path.dirname(__file__), "sketches", "kernels")
FRONT, SCALE, OFFSET = dsp.LogMel(size=64, hop=64, bands=8), Scale(11.0, 7), 900


def made(seed):
    """Cases for one program: layers, in one-layer models with headers of their own, and centres."""
    rng = np.random.default_rng(seed)
    kinds = ["dense", "dense", "conv2d", "conv2d", "depthwise", "depthwise", "max_pool", "mean_pool"] * 2
    layers = [random_layer(rng, kind, side=5, channels=3) for kind in kinds]
    layers.append(random_layer(rng, "dense", inner=250))  # more than one block of mlk_dense_fast
    layers.append(QuantLayer(kind="softmax", in_shape=(1, 1, 9), out_shape=(1, 1, 9), input=Scale(0.07, 3), output=Scale(1 / 256, -128)))
    layers.append(QuantLayer(kind="argmax", in_shape=(1, 1, 9), out_shape=(1, 1, 1), input=Scale(0.07, 3), output=Scale(1.0)))
    return rng, [QuantModel(name=f"case {i}", layers=(layer,)) for i, layer in enumerate(layers)], extreme(rng, (5, 20))


def cases_h(models, centres):
    """cases.h of the sketch: a network for each case, the front end, centres."""
    runs = "\n".join(f"    case {i}: memcpy(C{i}_INPUT, x, C{i}_INPUTS); c{i}_run(); *n = C{i}_OUTPUTS; return C{i}_OUTPUT;" for i in range(len(models)))
    return (
        "".join(header(model, f"c{i}") for i, model in enumerate(models)) + kmeans.header(centres, "near") + FRONT.header(SCALE, OFFSET)
        + f"static int8_t *run_case(uint8_t i, const int8_t *x, uint16_t *n)\n{{\n    switch (i) {{\n{runs}\n    }}\n    return 0;\n}}\n"
    )


@pytest.mark.parametrize("url, fast", [*((t, False) for t in TARGETS), (TARGETS[0], True)])
def test_c_on_a_target_is_numpy_to_the_bit(url, fast):
    need(url)
    rng, models, centres = made(7)
    report = compile_sketch(SKETCH, url, files={"cases.h": cases_h(models, centres)}, defines={"MLK_FAST": 1} if fast else None)
    assert not [d for d in report.diagnostics if "mlk_" in d.file], report.diagnostics
    with open_target(url, firmware=report) as target:
        link = Link(target.serial)
        for i, model in enumerate(models):
            for x in extreme(rng, (2, *model.in_shape)):
                got = np.frombuffer(link.call("L", bytes([i]) + x.tobytes()), dtype=np.int8)
                np.testing.assert_array_equal(got, model.run(x)[0], err_msg=f"case {i}: {model.layers[0]}")
        if fast:
            return
        ends = [(x, m, s) for x in (-(2**31), INT32, -1, 12345) for m in (0, 2**30, INT32) for s in (-31, -1, 0, 30)]
        drawn = zip(rng.integers(-(2**31), 2**31, 60), rng.integers(2**30, 2**31, 60), rng.integers(-12, 4, 60), strict=True)
        for x, m, s in [*ends, *((int(x), int(m), int(s)) for x, m, s in drawn)]:
            assert struct.unpack(">i", link.call("R", struct.pack(">iib", x, m, s)))[0] == requantize(x, m, s), (x, m, s)
        for x in (0, 1, 2, 3, 65535, 65536, 2**32 - 1, 2**63 - 1, *map(int, rng.integers(0, 2**40, 8))):
            log, root = struct.unpack(">hH", link.call("G", x.to_bytes(8, "big")))
            assert (log, root) == (dsp.log2(x), dsp.sqrt(x % 2**32)), x
        for x in extreme(rng, (5, 20)):
            said = int.from_bytes(link.call("N", x.tobytes()), "big")
            index, distance = kmeans.nearest(x[None], centres)
            assert (said >> 24, said & 0xFFFFFF) == (index[0], distance[0])
        for loud in (True, False):
            sound = rng.choice([-32768, 32767], 64) if loud else rng.integers(-9000, 9000, 64)
            got = np.frombuffer(link.call("M", sound.astype("<i2").tobytes()), dtype=np.int8)
            np.testing.assert_array_equal(got, FRONT.features(FRONT.bands_of(sound.astype(np.int16)), SCALE, OFFSET))


@pytest.mark.parametrize("url", ["simavr:atmega2560", "qemu:cortex-m55"])
def test_a_network_of_many_layers_shares_one_arena_and_takes_long_frames(url, rng):
    need(url)
    layers = [q.conv2d(rng.normal(size=(6, 10, 1, 5)), rng.normal(size=6), (1, 2), 0, relu=True), q.max_pool((1, 2)),
              q.depthwise(rng.normal(size=(6, 1, 1, 3)), None, 1, (0, 1), relu=True), q.mean_pool((1, 3)),
              q.dense(rng.normal(size=(5, 24))), q.softmax()]  # fmt: skip
    x = rng.normal(size=(50, 1, 61, 10))
    model = q.quantize(layers, x, name="many")
    report = compile_sketch("serve", url, files={"model.h": header(model)}, defines={"MLK_FAST": 1})
    xs = model.input.quantize(x[:4])
    with open_target(url, firmware=report) as target:
        link = Link(target.serial)
        assert link.check(model).inputs == 610
        np.testing.assert_array_equal(link.stream(xs)[0], model.run(xs))
