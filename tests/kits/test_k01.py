"""From motion to a board: train 63-20-10-4 in TinyTorch, quantise, export, compile for an Uno, run, compare, count cycles."""

from functools import cache

import numpy as np
import pytest
from pytest import approx

import tinytorch as tt
from boardkit import data
from boardkit.errors import ProtocolError
from boardkit.export import header
from boardkit.measure import measure, table
from boardkit.protocol import Link
from boardkit.quantize import quantize
from boardkit.targets import open_target
from boardkit.toolchain import compile_sketch
from mlsysim.models.nets import Net, Stack
from mlsysim.tinyml import predict
from tests.kits.conftest import need
from tinytorch.layers import manual_seed

pytestmark = pytest.mark.slow

pytest.importorskip("serial", reason="the kits' extra is not installed: pip install '.[kits]'")


@cache
def trained():
    """The classifier in int8, test inputs, their labels, and how many the floats tell."""
    manual_seed(0)
    train, test = data.motions(800, 1), data.motions(300, 2)
    raw = data.spectral_features(train.x)
    mean, deviation = raw.mean(axis=0), raw.std(axis=0) + 1e-6
    x, xt = (raw - mean) / deviation, (data.spectral_features(test.x) - mean) / deviation
    model = tt.Sequential(tt.Linear(63, 20), tt.ReLU(), tt.Linear(20, 10), tt.ReLU(), tt.Linear(10, 4))
    loader = tt.DataLoader(tt.TensorDataset(tt.Tensor(x), tt.Tensor(train.y)), batch_size=32, shuffle=True, seed=0)
    tt.Trainer(model, tt.CrossEntropyLoss(), tt.Adam(model.parameters(), lr=3e-3), progress=False).fit(loader, 12)
    right = (model.eval()(tt.Tensor(xt)).numpy().argmax(axis=1) == test.y).mean()
    return quantize(model, x, name="motion", labels=test.classes), xt, test.y, right


@cache
def built(url, fast):
    need(url)
    return compile_sketch("serve", url, files={"model.h": header(trained()[0])}, defines={"MLK_FAST": 1} if fast else None)


def test_int8_tells_as_many_motions_as_floats_do():
    model, x, y, right = trained()
    assert right > 0.93 and (model.predict(x).argmax(axis=1) == y).mean() > right - 0.02
    assert [layer.macs for layer in model.layers] == [1260, 200, 40] and model.weight_bytes == {"weights": 1500, "constants": 306}


@pytest.mark.parametrize("fast, most", [(False, 60), (True, 30)])
def test_an_uno_answers_what_numpy_computes_in_the_same_cycles_every_time(fast, most, record_property):
    model, x, y, _ = trained()
    report, xs, runs = built("simavr:atmega328p", fast), model.input.quantize(x[:16]), []
    for _ in range(3):
        with open_target("simavr:atmega328p", firmware=report) as target:
            link = Link(target.serial)
            info = link.check(model)
            outputs, ticks = link.stream(xs)
            runs.append((outputs.tolist(), ticks.tolist()))
            assert target.kind == "simulated cycles" and info.tick_unit == "cycles" and info.tick_hz == 16_000_000
    np.testing.assert_array_equal(runs[0][0], model.run(xs))
    assert runs[0] == runs[1] == runs[2]
    sizes = (63, 20, 10, 4)
    stack = Stack(sizes[:1])
    for size in sizes[1:]:
        stack.linear(size)
    net = Net("k01", "motion classifier", lambda: stack.layers, 63, "this test", "2026", "tiny")
    predicted = predict(net, "atmega328p", kernels="fast" if fast else "plain")
    assert predicted.cycles == approx(np.mean(runs[0][1]), rel=0.05) and predicted.flash == approx(report.flash, rel=0.05)
    assert predicted.memory == approx(report.ram, rel=0.08)
    each = np.mean(runs[0][1]) / model.macs
    assert each <= most and report.flash < 7000 and report.ram < 450
    kernel = "for AVR" if fast else "plain"
    record_property("table", f"k01 on ATmega328P, kernels {kernel}: {np.mean(runs[0][1]):.0f} simulated cycles, {each:.1f} a multiply-add, "
                             f"{report.flash} B of flash, {report.ram} B of RAM")  # fmt: skip


def test_a_board_that_runs_another_network_and_one_that_is_sent_nonsense_say_so():
    model, x, *_ = trained()
    other = quantize(tt.Sequential(tt.Linear(63, 4)), x, name="other")
    with open_target("simavr:atmega328p", firmware=built("simavr:atmega328p", False)) as target:
        link = Link(target.serial, timeout=2)
        with pytest.raises(ProtocolError, match="runs motion, digest .*; wanted other"):
            link.check(other)
        with pytest.raises(ProtocolError, match="unknown command"):
            link.call("Z")
        with pytest.raises(ProtocolError, match="too long"):
            link.call("I", bytes(200))
        with pytest.raises(ProtocolError, match="wrong size"):
            link.call("I", bytes(5))
        rng = np.random.default_rng(0)
        for _ in range(20):  # noise between frames, and frames that were cut, do not keep it from answering
            target.serial.write(bytes(rng.integers(0, 256, 12).astype(np.uint8)) + b">I01FF")
            assert link.echo(b"still here") == b"still here"
        np.testing.assert_array_equal(link.infer(model.input.quantize(x[0])).outputs, model.run(model.input.quantize(x[:1]))[0])


def test_one_network_on_three_processors_side_by_side():
    model, x, *_ = trained()
    urls = ["qemu:cortex-m4", "qemu:cortex-m55", "qemu-user:aarch64"]
    for url in urls:
        need(url)
    rows = [measure(model, model.input.quantize(x[:5]), url, fast=True) for url in urls]
    assert all(row.exact and (row.counts > 0).all() for row in rows)
    assert [row.kind for row in rows] == ["instructions", "instructions", "host time"] and 5 < rows[0].per_mac < 12
    wrong = header(model).replace(f"0x{model.digest[:8]}", "0x00000000")
    with pytest.raises(ProtocolError, match="wanted motion"):
        measure(model, model.input.quantize(x[:1]), "qemu:cortex-m4", text=wrong)
    text = table(rows)
    assert len(text.splitlines()) == 4 and text.count("exact") == 3 and "outputs exact" in str(rows[0])
