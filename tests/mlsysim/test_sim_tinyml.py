"""Microcontrollers: published measurements that no constant was fitted on, counts by hand, and what cannot be."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from mlsysim.bounds import roofline
from mlsysim.devices import device, devices
from mlsysim.errors import Infeasible, RangeError, SimError, UnitError, UnknownName
from mlsysim.models import model
from mlsysim.models.nets import Net, Stack
from mlsysim.models.tiny import _PERSON, separable
from mlsysim.solving import solve
from mlsysim.tinyml import CORES, battery_life, core_of, predict

L4, H7 = "stm32l4r5", "stm32h7a3"
RA8D1 = replace(device(H7), name="ra8d1", title="Renesas RA8D1")


def dense(*sizes):
    def build():
        stack = Stack(sizes[:1])
        for out in sizes[1:]:
            stack.linear(out)
        return stack.layers

    return Net(f"dense-{sizes[0]}", "dense", build, sizes[0], "test", "2026", "tiny")


GREY = Net("grey", "person detection", partial(separable, (1, 96, 96), 8, _PERSON, 2), 9216, "test", "2026", "tiny")


@pytest.mark.parametrize(
    "where, options, net, published",
    [
        (L4, {}, "ds-cnn", 13.759),
        (H7, {}, "ds-cnn", 60.988),
        (RA8D1, {"core": "cortex-m85", "clock": "480 MHz"}, "ds-cnn", 288.611),
        (RA8D1, {"core": "cortex-m85", "clock": "480 MHz"}, "autoencoder", 1884.1),
        ("esp32-s3", {}, GREY, 1 / 0.054),
        ("esp32", {}, GREY, 1 / 0.380),
    ],
)
def test_the_rows_that_factors_were_fitted_on_come_out(where, options, net, published):
    assert predict(net, where, **options).rate == approx(published, rel=0.02)


@pytest.mark.parametrize(
    "where, net, published",
    [
        (L4, "mobilenet-v1-0.25", 4.522), (L4, "resnet-8", 4.505), (L4, "autoencoder", 131.95),
        (H7, "mobilenet-v1-0.25", 19.87), (H7, "resnet-8", 18.215), (H7, "autoencoder", 547.234),
    ],
)  # fmt: skip
def test_networks_that_were_not_fitted_are_within_a_tenth(where, net, published):
    """MLPerf Tiny v1.1, Krai."""
    assert predict(net, where).rate == approx(published, rel=0.10)


@pytest.mark.parametrize("net, published", [("mobilenet-v1-0.25", 74.665), ("resnet-8", 117.948)])
def test_vector_instructions_are_within_a_third(net, published):
    """MLPerf Tiny v1.2, Renesas: narrow layers fill vectors less well than the count of instructions knows."""
    assert predict(net, RA8D1, core="cortex-m85", clock=480e6).rate == approx(published, rel=0.33)


@pytest.mark.parametrize("sizes, cycles, fast, flash, ram", [
    ((40, 32, 16, 4), 99_025, 50_138, 6150, 327), ((63, 20, 10, 4), 76_376, 37_226, 5632, 361),
])  # fmt: skip
def test_the_networks_of_the_kits_on_an_arduino(sizes, cycles, fast, flash, ram):
    """Cycles, program and memory as simavr and avr-size report them for networks that no constant was fitted on."""
    r = predict(dense(*sizes), "atmega328p")
    assert r.cycles == approx(cycles, rel=0.03) and r.flash == approx(flash, rel=0.03) and r.memory == approx(ram, rel=0.08)
    assert r.seconds == approx(r.cycles / 16e6) and r.cycles_per_mac == approx(52, rel=0.04)
    assert predict(dense(*sizes), "atmega328p", kernels="fast").cycles == approx(fast, rel=0.03)


def test_plain_code_has_the_instructions_that_qemu_counts():
    for sizes, instructions in (((40, 32, 16, 4), 16_272), ((63, 20, 10, 4), 12_665)):
        r = predict(dense(*sizes), L4, kernels="plain")
        assert r.cycles / core_of(device(L4)).factor.value == approx(instructions, rel=0.03)


def test_multiply_adds_in_a_cycle_are_in_the_band_of_the_two_boards():
    for where, low, high in ((L4, 0.28, 0.47), (H7, 0.48, 0.86)):
        for net in ("ds-cnn", "mobilenet-v1-0.25", "resnet-8", "autoencoder"):
            assert low <= 1 / predict(net, where).cycles_per_mac <= high


def test_an_array_of_multiply_adds_never_beats_its_peak_and_wastes_most_on_depthwise_layers():
    for name in ("ethos-u55-128", "ethos-u55-256", "ethos-u65"):
        for net in ("ds-cnn", "resnet-8", "autoencoder"):
            r = predict(net, name)
            assert r.cycles_per_mac >= 2 / (device(name).ops["int8"].value * device(name).cores.value)
    r = predict("ds-cnn", "ethos-u55-128")
    by_hand = 4 * np.ceil(125 / 2) * 8 * 3 / device("ethos-u55-128").clock.value  # 62.5 pairs, 8 blocks of channels, 3 steps
    assert r.tree.find("depthwise").find("multiply-adds").value == approx(by_hand)


def test_every_device_with_a_known_core_predicts_and_the_others_say_what_to_give():
    known = {name for core in CORES.values() for name in core.devices}
    assert known <= {d.name for d in devices("tiny")}
    net = dense(8, 4)
    for d in devices("tiny"):
        if d.name in known:
            r = predict(net, d, allow_infeasible=True)
            assert r.seconds > 0 and r.tree.value == approx(r.seconds) and r.memory < 2000
        else:
            with pytest.raises(UnknownName, match="give core="):
                predict(net, d)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 300))
def test_more_work_takes_longer_and_a_faster_clock_less_in_proportion(inner, out, mega):
    a, b = predict(dense(inner, out), L4), predict(dense(inner + 1, out), L4)
    assert b.cycles > a.cycles and b.flash > a.flash
    slow, fast = predict(dense(inner, out), L4, clock=[mega * 1e6, 2e6 * mega])
    assert fast.seconds == approx(slow.seconds / 2) and fast.energy == approx(slow.energy)


def test_energy_is_draw_times_time_and_unknown_where_the_draw_is():
    r = predict("ds-cnn", L4, power="75 mW")
    assert r.energy == approx(0.075 * r.seconds) and np.isnan(predict("ds-cnn", H7).energy)


def test_the_elasticities_of_the_two_limits_add_to_one():
    why = predict("autoencoder", L4).why()
    assert sum(why.elasticities.values()) == approx(-1, abs=1e-3) and why.binding == "instructions per second"


def test_only_one_model_answers_for_a_microcontroller():
    for name in ("stm32l4r5", "esp32-s3", "atmega2560", "ethos-u55-128"):
        with pytest.raises(SimError, match=f"tinyml.predict\\('ds-cnn', '{name}'\\)"):
            solve("ds-cnn", name, precision="int8", allow_infeasible=True)
        with pytest.raises(SimError, match="tinyml.predict"):
            solve("ds-cnn", device(name).scaled(peak=2), precision="int8", allow_infeasible=True)
    assert solve("ds-cnn", "max78000", precision="int8").seconds > 0, "its kernels are not known"
    assert solve("ds-cnn", "coral", precision="int8").seconds > 0
    assert (roofline(1e6, 1e3, "stm32l4r5", precision="int8").seconds) > 0


def test_arena_and_flash_are_limits():
    with pytest.raises(Infeasible, match="arena of .* 27.1 times"):
        predict("mobilenet-v1-0.25", "atmega328p")
    assert not predict("mobilenet-v1-0.25", "atmega328p", allow_infeasible=True).feasible
    assert predict("ds-cnn", L4).memory >= model("ds-cnn").working()


@given(st.floats(1e-4, 1e-1), st.floats(1.0, 3600.0), st.floats(1e-7, 1e-3))
def test_battery_life_conserves_energy(energy, period, sleep):
    b = battery_life(1000.0, period, energy=energy, seconds=0.5, sleep=sleep)
    assert b.power * b.seconds == approx(1000.0) and b.energy == approx(energy + sleep * (period - 0.5))
    assert battery_life(1000.0, 2 * period, energy=energy, seconds=0.5, sleep=0).seconds >= b.seconds
    assert sum(b.why().elasticities.values()) == approx(0, abs=1e-3)  # battery +1, what is spent -1


def test_a_coin_cell_by_hand():
    """0.675 Wh, 5 mJ a minute and 6 uW asleep: 83.3 + 6 uW."""
    b = battery_life("0.675 Wh", "1 min", energy="5 mJ", seconds=0.0, sleep="6 uW")
    assert b.seconds == approx(2430 / 89.333e-6, rel=1e-4)


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: predict("llama-3.1-8b", L4), SimError, "network of layers"),
        (lambda: predict("ds-cn", L4), UnknownName, "did you mean 'ds-cnn'"),
        (lambda: predict("ds-cnn", L4, core="cortex-m5"), UnknownName, "cortex-m55"),
        (lambda: predict("ds-cnn", "h100"), UnknownName, "give core="),
        (lambda: predict("ds-cnn", "atmega2560", kernels="optimized"), UnknownName, "plain"),
        (lambda: predict("ds-cnn", L4, clock="16 MB"), UnitError, "clock"),
        (lambda: predict("ds-cnn", L4, clock=0), RangeError, "clock: got 0"),
        (lambda: predict("ds-cnn", L4, power=-1), RangeError, "power: got -1"),
        (lambda: battery_life("1 Wh", 1.0, energy=1e-3, seconds=2.0, sleep=0), RangeError, "fits its period"),
        (lambda: battery_life("500 mW", 1.0, energy=1e-3, seconds=0.1, sleep=0), UnitError, "battery"),
    ],
)
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
