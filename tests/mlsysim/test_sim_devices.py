"""Does every figure carry its source, and do the figures of a device agree with one another?"""

import math
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from timeit import repeat

import pytest
from pytest import approx

from mlsysim import Device, device, devices, ridge, solve, units
from mlsysim.constants import BLE_SEND, FIBRE_INDEX, KINDS, Figure
from mlsysim.devices import DEVICES, PRECISIONS, TIERS
from mlsysim.errors import RangeError, SimError, UnitError, UnknownName
from mlsysim.systems import FABRICS
from mlsysim.tables import Registry

UNITS = {
    "peak": "FLOP/s", "sparse": "FLOP/s", "ops": "FLOP", "bandwidth": "B/s", "memory": "B", "flash": "B", "cache": "B",
    "power": "W", "idle": "W", "price": "USD", "embodied": "g", "clock": "Hz", "cores": "", "sustained": "FLOP/s",
}  # fmt: skip
ALL = pytest.mark.parametrize("d", devices.devices(), ids=lambda d: d.name)


def figures(d):
    """(where, figure, unit) for every figure of a device."""
    for key, unit in UNITS.items():
        value = getattr(d, key)
        if isinstance(value, dict):
            yield from ((f"{key}.{p}", f, unit) for p, f in value.items())
        elif value is not None:
            yield key, value, unit


@ALL
def test_every_figure_has_value_source_url_date_and_kind(d):
    found = list(figures(d))
    assert len(found) >= 3
    for where, f, unit in found:
        assert isinstance(f, Figure) and math.isfinite(f.value) and f.value > 0, where
        assert units.parse(f.text, unit)[0] == approx(f.value, rel=1e-4), (where, f)
        assert len(f.source) > 10 and f.kind in KINDS and f.url.startswith("https://"), (where, f)
        assert re.fullmatch(r"(19|20)[0-9]{2}(-[01][0-9])?", f.date) and int(f.date[:4]) <= 2026, (where, f)
        assert 0 <= f.uncertainty <= 0.6, (where, f)
        if f.kind == "estimate":
            assert f.uncertainty > 0 and f.note, f"{where}: an estimate says how it was made, and how far it may be off"


@ALL
def test_a_device_is_complete(d):
    assert d.peak and set(d.peak) <= set(PRECISIONS) and set(d.sparse) <= set(d.peak) and set(d.ops) <= set(d.peak)
    assert d.title and 2005 <= d.year <= 2026 and re.fullmatch("[a-z0-9-]+", d.family)
    assert d.link is None or d.link in FABRICS, f"{d.name}: no fabric is called {d.link!r}"
    assert bool(d.ops) <= bool(d.clock and d.cores), "operations a cycle mean nothing without clock and cores"
    assert d.idle is None or d.power is None or d.idle.value < d.power.value


@pytest.mark.parametrize("d", [d for d in devices.devices() if d.sustained], ids=lambda d: d.name)
def test_a_power_limit_is_below_the_peak(d):
    assert d.power and set(d.sustained) <= set(d.peak)
    assert all(0.2 * d.rate(p) < f.value < 0.8 * d.rate(p) and f.kind == "measured" for p, f in d.sustained.items())


@ALL
def test_sparse_is_twice_dense(d):
    for precision, sparse in d.sparse.items():
        if d.name == "l40s" and precision in ("fp16", "bf16"):  # printed so: 362.05 and 733
            assert "printed" in d.peak[precision].note and sparse.value / d.rate(precision) == approx(2, rel=0.02)
        else:
            assert sparse.value == approx(2 * d.rate(precision), rel=2e-3), precision


@ALL
def test_narrower_numbers_are_not_slower(d):
    for order in (("fp32", "tf32", "bf16", "fp8", "fp4"), ("fp32", "fp16", "int8", "int4"), ("int16", "int8")):
        rates = [d.rate(p) for p in order if p in d.peak]
        assert rates == sorted(rates), order


@ALL
def test_peak_is_cores_times_clock_times_operations(d):
    for precision, ops in d.ops.items():
        clock = d.clock.value
        if named := re.search(r"([\d.]+) ([MG]Hz)", ops.note):  # these units run at another clock
            clock = units.parse(named[0])[0]
            assert 0.5 < clock / d.clock.value < 1.5
        assert d.cores.value * clock * ops.value == approx(d.rate(precision), rel=0.02), precision


def test_most_devices_have_cores_and_clock():
    assert sum(bool(d.ops) for d in devices.devices()) >= 50
    assert all(d.ops for d in devices.devices("tiny"))
    assert all(d.ops for d in devices.devices() if d.family.startswith("nvidia") or d.family == "amd-cdna")


# by hand from the makers' architecture papers; the table is not asked
@pytest.mark.parametrize(
    "name, precision, by_hand",
    [
        ("h100", "fp16", 132 * 4 * 512 * 2 * 1.83e9),
        ("a100", "fp16", 108 * 4 * 256 * 2 * 1.41e9),
        ("v100", "fp16", 80 * 8 * 64 * 2 * 1.53e9),
        ("t4", "fp32", 40 * 64 * 2 * 1.59e9),
        ("mi300x", "fp16", 304 * 2048 * 2.1e9),
        ("tpu-v1", "int8", 256 * 256 * 2 * 700e6),
        ("tpu-v4", "bf16", 8 * 128 * 128 * 2 * 1.05e9),
        ("tpu-v5e", "bf16", 4 * 128 * 128 * 2 * 1.5e9),
        ("jetson-agx-orin", "fp32", 2048 * 2 * 1.3e9),
        ("jetson-orin-nano", "fp16", 32 * 256 * 2 * 625e6),
        ("nrf52840", "int8", 2 * 2 * 64e6),
        ("stm32f746", "int8", 2 * 2 * 216e6),
        ("esp32-s3", "int8", 2 * 16 * 2 * 240e6),
        ("ethos-u55-128", "int8", 128 * 2 * 500e6),
    ],
)
def test_a_peak_is_what_one_works_out_by_hand(name, precision, by_hand):
    assert device(name).rate(precision) == approx(by_hand, rel=0.03)


# bits of the memory bus x gigabits a second on each of its pins
BUS = {
    "p100": (4096, 1.43), "v100": (4096, 1.75), "t4": (256, 10), "a100": (5120, 3.19), "a100-40gb": (5120, 2.43),
    "a10": (384, 12.5), "l4": (192, 12.5), "l40s": (384, 18), "rtx-3090": (384, 19.5), "rtx-4090": (384, 21), "h100": (5120, 5.23),
    "h100-pcie": (5120, 3.13), "h200": (6144, 6.25), "b200": (8192, 8), "mi250x": (8192, 3.2), "mi300x": (8192, 5.2),
    "mi325x": (8192, 6), "mi355x": (8192, 8), "tpu-v1": (128, 2.133), "gaudi2": (6144, 3.2), "gaudi3": (8192, 3.6),
    "jetson-agx-orin": (256, 6.4), "jetson-orin-nx": (128, 6.4), "jetson-orin-nano": (128, 4.266),
    "jetson-orin-nano-super": (128, 6.4), "jetson-agx-xavier": (256, 4.266), "jetson-xavier-nx": (128, 3.2),
    "jetson-nano": (64, 3.2), "jetson-agx-thor": (256, 8.533), "raspberry-pi-5": (32, 4.267),
    "raspberry-pi-4": (32, 3.2), "iphone-15-pro": (64, 6.4), "m1": (128, 4.266), "m2": (128, 6.4),
    "m3-max": (512, 6.4), "m4": (128, 7.5), "snapdragon-8-gen-3": (64, 9.6), "snapdragon-x-elite": (128, 8.448),
    "stm32f407": (32, 0.168), "nrf52840": (32, 0.064),
}  # fmt: skip


@pytest.mark.parametrize("name", BUS)
def test_bandwidth_is_pins_times_rate(name):
    bits, gigabits = BUS[name]
    assert device(name).bandwidth.value == approx(bits * gigabits * 1e9 / 8, rel=0.03)


# figures that a widely used table has wrong: dense rates printed as sparse, tensor rates as fp32, ...
@pytest.mark.parametrize(
    "name, precision, rate",
    [
        ("trainium2", "bf16", 667e12),
        ("trainium2", "fp8", 1299e12),
        ("t4", "fp32", 8.1e12),
        ("t4", "fp16", 65e12),
        ("a100", "fp32", 19.5e12),
        ("h100", "fp32", 67e12),
        ("h100", "fp8", 1979e12),
        ("l4", "fp16", 121e12),
        ("b200", "fp16", 2250e12),
        ("jetson-agx-orin", "fp32", 5.3e12),
        ("jetson-agx-orin", "int8", 85e12),
        ("drive-thor", "int8", 500e12),
        ("jetson-agx-thor", "fp4", 1035e12),
        ("tpu-v5e", "bf16", 197e12),
        ("tpu-v5p", "bf16", 459e12),
    ],
)
def test_dense_rates_that_are_often_quoted_wrong(name, precision, rate):
    assert device(name).rate(precision) == approx(rate, rel=0.01)


def test_other_figures_that_are_often_quoted_wrong():
    assert device("trainium2").bandwidth.value == 2.9e12 and device("trainium2").memory.value == 96 * 2**30
    assert {name: device(name).flash.text for name in ("stm32f746", "stm32h743", "stm32l4r5", "nrf52840")} == {
        "stm32f746": "1 MiB", "stm32h743": "2 MiB", "stm32l4r5": "2 MiB", "nrf52840": "1 MiB",
    }  # fmt: skip
    assert not any("fp32" in d.peak for d in devices.devices() if d.family == "google-tpu")


@pytest.mark.parametrize("tier, least", [("cloud", 22), ("edge", 8), ("mobile", 6), ("tiny", 12)])
def test_there_are_enough_devices_in_every_tier(tier, least):
    found = devices.devices(tier)
    assert len(found) >= least and {d.tier for d in found} == {tier}
    assert len(devices.devices()) == sum(len(devices.devices(t)) for t in TIERS) >= 48


def test_names_and_titles_are_unique_and_every_one_is_found():
    assert len({d.title for d in devices.devices()}) == len(DEVICES)
    for name, d in DEVICES.items():
        assert re.fullmatch(r"[a-z0-9-]+", name) and d.name == name and device(name.upper().replace("-", " ")) is d


GENERATIONS = [
    ("fp16", ["p100", "v100", "a100", "h100", "b200"]),
    ("fp16", ["mi250x", "mi300x", "mi355x"]),
    ("bf16", ["tpu-v2", "tpu-v3", "tpu-v4", "tpu-v5p", "tpu-v6e", "tpu7x"]),
    ("bf16", ["trainium", "trainium2", "trainium3"]),
    ("fp16", ["t4", "l4"]),
    ("fp16", ["jetson-nano", "jetson-xavier-nx", "jetson-orin-nx"]),
    ("int8", ["jetson-agx-xavier", "jetson-agx-orin", "jetson-agx-thor"]),
    ("int8", ["raspberry-pi-4", "raspberry-pi-5"]),
    ("int8", ["stm32f407", "stm32f746", "stm32h743"]),
]


@pytest.mark.parametrize("precision, line", GENERATIONS, ids=lambda x: x[0] if isinstance(x, list) else x)
def test_a_newer_generation_is_faster(precision, line):
    for old, new in pairwise(map(device, line)):
        assert old.year < new.year and old.rate(precision) < new.rate(precision), (old.name, new.name)


@pytest.mark.parametrize(
    "line", [["p100", "v100", "a100", "h100", "h200", "b200"], ["tpu-v3", "tpu-v4", "tpu-v5p", "tpu7x"],
             ["mi250x", "mi300x", "mi325x", "mi355x"], ["trainium", "trainium2", "trainium3"], ["m1", "m2", "m4"]],
    ids=lambda line: line[0],
)  # fmt: skip
def test_newer_memory_is_wider(line):
    rates = [device(name).bandwidth.value for name in line]
    assert rates == sorted(rates)


def test_a_cut_down_card_is_slower():
    for less, more in (("h100-pcie", "h100"), ("jetson-orin-nx", "jetson-agx-orin"), ("ethos-u55-128", "ethos-u55-256")):
        assert device(less).rate("int8") < device(more).rate("int8")
    for same in (("a100-40gb", "a100"), ("h200", "h100")):
        less, more = map(device, same)
        assert {p: less.rate(p) for p in less.peak} == approx({p: more.rate(p) for p in more.peak}, rel=1e-3)
    assert device("jetson-orin-nano").bandwidth.value < device("jetson-orin-nano-super").bandwidth.value


# FLOP for each byte at the widest gap; tiny devices compute from memory that keeps up, cards do not
@pytest.mark.parametrize("tier, least, most", [("cloud", 25, 3000), ("edge", 5, 4000), ("mobile", 30, 700), ("tiny", 0.2, 300)])
def test_ridge_points_are_plausible(tier, least, most):
    on_chip = {"cerebras-cs3", "groq-lpu"}  # weights stay in SRAM
    for d in devices.devices(tier):
        top = max(f.value for f in d.peak.values()) / d.bandwidth.value
        assert least <= top <= most or (d.name in on_chip and top < 10), (d.name, top)


@pytest.mark.parametrize("tier, least, most", [("cloud", 30, 3e4), ("edge", 1, 400), ("mobile", 1, 100), ("tiny", 1e-3, 2)])
def test_power_fits_its_tier(tier, least, most):
    found = [d for d in devices.devices(tier) if d.power]
    assert found
    for d in found:
        assert least <= d.power.value <= most, d.name
        assert 1e7 < max(f.value for f in d.peak.values()) / d.power.value < 2e13, f"{d.name}: operations a joule"


def test_memory_fits_its_tier():
    for tier, least, most in (("cloud", 2e8, 4e11), ("edge", 1e6, 2e11), ("mobile", 4e9, 2e11), ("tiny", 1e3, 3e7)):
        for d in devices.devices(tier):
            assert least <= d.memory.value <= most or "DRAM" in d.memory.note, d.name


def test_the_ridge_of_a_card_is_far_above_that_of_a_microcontroller():
    assert ridge("h100") == approx(989e12 / 3.35e12) and ridge("nrf52840", precision="int8") == approx(1)


@pytest.mark.parametrize("asked, near", [("H1000", "h100"), ("jetson orin nan", "jetson-orin-nano"), ("nrf52", "nrf52840")])
def test_an_unknown_device_points_at_the_nearest(asked, near):
    with pytest.raises(UnknownName, match=f"did you mean '{near}'"):
        device(asked)


@pytest.mark.parametrize("asked", ["", None, 7, [1]])
def test_what_is_no_name_is_refused(asked):
    with pytest.raises(UnknownName, match="unknown device"):
        device(asked)


def test_an_unknown_tier_points_at_the_nearest():
    with pytest.raises(UnknownName, match="unknown tier 'clod'; did you mean 'cloud'"):
        devices.devices("clod")


def test_names_are_read_with_spaces_and_capitals_and_a_device_passes_as_it_is():
    d = device("Jetson Orin_Nano")
    assert device(d) is d and d.name == "jetson-orin-nano" and d in {d} and "jetson-orin-nano" in DEVICES


def test_an_unlisted_precision_names_what_there_is():
    with pytest.raises(UnknownName, match="NVIDIA A100 80 GB SXM: unknown precision 'fp8'.*fp16, bf16"):
        device("a100").rate("fp8")


def test_weights_live_in_flash_where_there_is_any():
    assert device("nrf52840").storage == 2**20 and device("l4").storage == 24e9


def test_a_figure_prints_with_its_source():
    assert str(Figure(1.5e-3, "mW", "a page", "2024", "measured", 0.1)) == "1.5 mW ± 10 % (measured: a page, 2024)"
    assert float(FIBRE_INDEX) == 1.468 and BLE_SEND.value == approx(6.40e-3 * 3)


def test_embodied_carbon_is_stated_where_somebody_published_it():
    known = {d.name: d.embodied.value / 1e3 for d in devices.devices() if d.embodied}
    assert {"h100", "a100-40gb", "b200"} <= set(known) and all(50 < kg < 500 for kg in known.values())


# One's own


def mine(**other):
    return Device.define("mine", **({"peak": {"fp16": "100 TFLOP/s"}, "bandwidth": "1 TB/s", "memory": "24 GB"} | other))


def test_a_device_of_ones_own_in_one_line():
    d = mine(power="300 W", sparse={"fp16": "200 TFLOP/s"}, clock=1.5e9, cores=80, year=2026, title="Mine", price="2 kUSD")
    assert (d.rate("fp16"), d.bandwidth.value, d.memory.value, d.power.value) == (100e12, 1e12, 24e9, 300)
    assert (d.tier, d.family, d.year, d.cores.value, d.clock.text) == ("cloud", "accelerator", 2026, 80, "1.5 GHz")
    assert d.power.kind == "estimate" and d.power.source == "declared" and d.price.value == 2000
    assert device(d) is d and ridge(d) == approx(100) and str(d) == "Mine: fp16 100 TFLOP/s; 1 TB/s; 24 GB"
    assert mine(bandwidth=device("h100").bandwidth).bandwidth is device("h100").bandwidth
    assert "mine" not in DEVICES


@pytest.mark.parametrize(
    "given, error, words",
    [
        ({"bandwidth": "-1 TB/s"}, RangeError, "mine: bandwidth: got -1 TB/s"),
        ({"bandwidth": 0}, RangeError, "mine: bandwidth: got 0"),
        ({"memory": "0 GB"}, RangeError, "mine: memory"),
        ({"memory": math.nan}, RangeError, "mine: memory: got nan"),
        ({"memory": math.inf}, RangeError, "mine: memory: got inf"),
        ({"memory": "24 GB/s"}, UnitError, "mine: memory"),
        ({"memory": "many"}, UnitError, "mine: memory"),
        ({"memory": [1e9, 2e9]}, RangeError, "mine: memory: .*one number"),
        ({"memory": True}, UnitError, "mine: memory: got True"),
        ({"memory": {"fp16": 1}}, SimError, "mine: memory"),
        ({"bandwidth": device("h100").memory}, UnitError, "mine: bandwidth"),
        ({"power": "3 kJ"}, UnitError, "mine: power"),
        ({"cores": 2.5}, RangeError, "mine: cores: got 2.5; wanted a whole number"),
        ({"peak": {"fp16": "1 TB/s"}}, UnitError, "mine: peak"),
        ({"peak": {"fp16": math.nan}}, RangeError, "mine: peak"),
        ({"peak": {"fp61": "1 TFLOP/s"}}, UnknownName, "mine: peak: unknown precision 'fp61'; did you mean 'fp6"),
        ({"peak": "1 TFLOP/s"}, UnitError, "mine: peak: .*dict"),
        ({"peak": {}}, UnitError, "mine: peak"),
        ({"sparse": 3}, UnitError, "mine: sparse"),
        ({"bandwith": "1 TB/s"}, UnknownName, "mine: unknown field 'bandwith'; did you mean 'bandwidth'"),
        ({"tier": "clouds"}, UnknownName, "unknown tier 'clouds'; did you mean 'cloud'"),
        ({"year": "2026"}, SimError, "mine: year: .*whole number"),
        ({"title": 3}, SimError, "mine: title: .*text"),
        ({"name": "other"}, TypeError, "name"),
    ],
)  # fmt: skip
def test_a_bad_device_of_ones_own_is_refused(given, error, words):
    with pytest.raises(error, match=words):
        mine(**given)


def test_at_another_clock():
    """Rates follow the clock; memory and what the power limit sustains do not."""
    t4, slow = device("t4"), device("t4").at("585 MHz")
    assert slow.clock.value == 585e6 and slow.peak["fp16"].value == pytest.approx(40 * 1024 * 585e6, rel=0.01)
    assert slow.bandwidth == t4.bandwidth and slow.sustained == t4.sustained and slow.name == "t4"
    assert t4.at("1.59 GHz").peak == t4.peak and device("t4") is t4
    assert device("T4@585 MHz") == slow and slow.title == "NVIDIA T4 at 585 MHz"
    long = dict(batch=32, tokens=384, precision="fp32")
    ratio = solve("bert-base", slow, **long).seconds / solve("bert-base", t4, **long).seconds
    assert 1.2 < ratio < 1590 / 585, "at 1,590 MHz the power limit holds the clock, so less than the ratio of the clocks is lost"
    with pytest.raises(RangeError, match="clock: got 2000 MHz; wanted at most the 1590 MHz of NVIDIA T4"):
        t4.at("2 GHz")
    with pytest.raises(SimError, match="no clock is known"):
        next(d for d in devices.devices() if d.clock is None).at("1 GHz")
    for bad in (0, -1, "fast", "10 W", float("nan")):
        with pytest.raises(SimError, match="clock"):
            t4.at(bad)


def test_scaled():
    d, faster = device("h100"), device("h100").scaled(peak=2, bandwidth=0.5)
    assert faster.rate("fp16") == 2 * d.rate("fp16") and faster.sparse["fp16"].value == 2 * d.sparse["fp16"].value
    assert faster.bandwidth.value == d.bandwidth.value / 2 and faster.memory == d.memory
    assert faster.clock.value * faster.cores.value * faster.ops["fp16"].value == approx(faster.rate("fp16"), rel=0.02)
    assert faster.bandwidth.kind == "estimate" and "scaled by 0.5" in faster.bandwidth.note
    assert d.scaled(peak=1) == d and d.scaled() == d and device("h100") is d
    assert device("rp2040").scaled(idle=2).idle is device("rp2040").idle is None, "what is unknown stays unknown"


@pytest.mark.parametrize(
    "factors, error, words",
    [
        ({"peek": 2}, UnknownName, "did you mean 'peak'"),
        ({"cores": 2}, UnknownName, "cores"),
        ({"peak": 0}, RangeError, "factor of peak"),
        ({"peak": -1}, RangeError, "factor of peak"),
        ({"peak": math.nan}, RangeError, "factor of peak"),
        ({"peak": "fast"}, UnitError, "factor of peak"),
    ],
)
def test_a_bad_factor_is_refused(factors, error, words):
    with pytest.raises(error, match=words):
        device("h100").scaled(**factors)


# The tables themselves

RECORD = """
[sources.a]
title = "A document"
date = "2024"
url = "https://example.org/"

[x]
title = "X"
family = "accelerator"
peak.fp16 = ["1 TFLOP/s", "a"]
bandwidth = ["1 TB/s", "a"]
memory = ["1 GB", "a"]
"""


def read(folder, text):
    (folder / "cloud.toml").write_text(text, encoding="utf-8")
    path = str(folder / "cloud.toml")
    return Registry("device", Device, DEVICES.units, path, finish=DEVICES.finish)["x"]


def test_a_record_is_read(tmp_path):
    d = read(tmp_path, RECORD)
    assert d.rate("fp16") == 1e12 and d.bandwidth == Figure(1e12, "TB/s", "A document", "2024", url="https://example.org/")


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('["1 GB", "a"]', '["1 GB/s", "a"]', r"cloud.toml: \[x\] memory"),
        ('["1 GB", "a"]', '["-1 GB", "a"]', r"\[x\] memory: .*more than 0"),
        ('["1 GB", "a"]', '["1 GB", "b"]', r"\[x\] memory: unknown source 'b'; there are a"),
        ('["1 GB", "a"]', '["1 GB"]', r"\[x\] memory: .*wanted \[text, source"),
        ('["1 GB", "a"]', '["1 GB", "a", "rumour"]', r"\[x\] memory: .*one of datasheet, measured, estimate"),
        ('["1 GB", "a"]', '["1 GB", "a", "estimate"]', r"\[x\] memory: .*estimate: it needs an uncertainty"),
        ('["1 GB", "a"]', '["1 GB", "a", "estimate", 0.1]', r"\[x\] memory: .*a note"),
        ('["1 GB", "a"]', '["1 GB", "a", "measured", -1]', r"\[x\] memory: .*uncertainty of -1"),
        ('["1 GB", "a"]', "1e9", r"\[x\] memory: .*wanted \[text"),
        ("memory", "memroy", r"\[x\] memroy: unknown field 'memroy'; did you mean 'memory'"),
        ('memory = ["1 GB", "a"]', "", r"\[x\] lacks memory"),
        ("peak.fp16", "peak.fp61", r"\[x\].*peak: unknown precision 'fp61'"),
        ('"2024"', '"lately"', r"\[x\] .*sources.a.*date"),
        ("https:", "see", r"\[x\] .*sources.a.*url"),
        ('url = "https://example.org/"', "", r"\[x\] .*sources.a.*wanted title, date and url"),
        ("[x]", "[x]\n[x]", r"\[x\] appears twice"),
        ('title = "X"', "title = X", r"cloud.toml: \[x\]: .*line 8"),
    ],
)  # fmt: skip
def test_a_bad_table_names_file_record_and_field(tmp_path, old, new, words):
    assert old in RECORD
    with pytest.raises(SimError, match=words):
        read(tmp_path, RECORD.replace(old, new, 1))


# Cost


def test_import_reads_no_table_and_the_first_device_few():
    code = """
import sys, time
begun = time.process_time()
import mlsysim.devices, mlsysim.systems
assert "tomllib" not in sys.modules and not mlsysim.tables.table.cache_info().currsize
start = time.process_time()
mlsysim.device("h100")
print((time.process_time() - start) / (start - begun), len(mlsysim.devices.DEVICES.made))
"""
    first = []
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        first.append(float(out[0]))
        assert out[1] == "1"
    assert min(first) < 0.3  # of what the import costs


def test_a_device_that_is_known_is_found_at_once():
    device("h100")
    found, nothing = (min(repeat(call, number=1000, repeat=7)) for call in (lambda: device("h100"), lambda: None))
    assert found < 100 * nothing


def test_replace_works_as_on_any_dataclass():
    assert replace(device("h100"), memory=device("h200").memory).memory.text == "141 GB"
