"""Does every figure carry its source, and do the figures of a device agree with one another?"""

import re

import pytest
from pytest import approx

from mlsysim import device, ridge, units
from mlsysim.constants import BLE_SEND, FIBRE_INDEX, KINDS, Figure
from mlsysim.devices import DEVICES, TIERS
from mlsysim.errors import UnknownName


def figures(d):
    return [*d.peak.values(), *d.sparse.values(), d.bandwidth, d.memory, *(f for f in (d.power, d.flash) if f)]


@pytest.mark.parametrize("d", DEVICES.values(), ids=str)
def test_every_figure_has_unit_source_date_and_kind(d):
    for f in figures(d):
        assert (
            f.value > 0 and len(f.source) > 10 and f.kind in KINDS and re.fullmatch(r"20[0-9]{2}(-[01][0-9])?", f.date)
        ), f
        assert f.uncertainty > 0 if f.kind == "estimate" else f.uncertainty == 0, f


@pytest.mark.parametrize("d", DEVICES.values(), ids=str)
def test_every_figure_is_of_its_kind(d):
    wanted = [(f, "FLOP/s") for f in (*d.peak.values(), *d.sparse.values())] + [(d.bandwidth, "B/s"), (d.memory, "B")]
    wanted += [(f, u) for f, u in ((d.power, "W"), (d.flash, "B")) if f]
    for f, unit in wanted:
        assert units.parse(f.text, unit)[0] == approx(f.value, rel=1e-4), f


@pytest.mark.parametrize("d", DEVICES.values(), ids=str)
def test_dense_rates_are_not_sparse_ones(d):
    for precision, sparse in d.sparse.items():
        assert d.rate(precision) == approx(sparse.value / 2, rel=2e-3)


@pytest.mark.parametrize("d", DEVICES.values(), ids=str)
def test_narrower_numbers_are_not_slower(d):
    order = [p for p in ("fp32", "tf32", "fp16", "fp8", "int8") if p in d.peak]
    rates = [d.rate(p) for p in order]
    assert rates == sorted(rates)


# units x clock x operations a cycle, from the makers' architecture papers
@pytest.mark.parametrize(
    "name, precision, by_hand",
    [
        ("h100", "fp16", 132 * 4 * 512 * 2 * 1.83e9),
        ("a100", "fp16", 108 * 4 * 256 * 2 * 1.41e9),
        ("jetson-orin-nano", "fp16", 32 * 256 * 2 * 625e6),
        ("nrf52840", "int8", 2 * 2 * 64e6),
        ("stm32f746", "int8", 2 * 2 * 216e6),
        ("esp32-s3", "int8", 2 * 16 * 2 * 240e6),
    ],
)
def test_a_peak_is_units_times_clock_times_operations(name, precision, by_hand):
    assert device(name).rate(precision) == approx(by_hand, rel=0.03)


def test_there_is_a_device_in_every_tier():
    assert {d.tier for d in DEVICES.values()} == set(TIERS)


def test_the_ridge_of_a_card_is_far_above_that_of_a_microcontroller():
    assert ridge("h100") == approx(989e12 / 3.35e12) and ridge("nrf52840", precision="int8") == approx(1)


@pytest.mark.parametrize(
    "asked, near", [("H1000", "h100"), ("jetson orin nan", "jetson-orin-nano"), ("nrf52", "nrf52840")]
)
def test_an_unknown_device_points_at_the_nearest(asked, near):
    with pytest.raises(UnknownName, match=f"did you mean '{near}'"):
        device(asked)


def test_names_are_read_with_spaces_and_capitals_and_a_device_passes_as_it_is():
    d = device("Jetson Orin_Nano")
    assert device(d) is d and d.name == "jetson-orin-nano"


def test_an_unlisted_precision_names_what_there_is():
    with pytest.raises(UnknownName, match="NVIDIA A100 80 GB SXM: unknown precision 'fp8'.*fp16, bf16"):
        device("a100").rate("fp8")


def test_weights_live_in_flash_where_there_is_any():
    assert device("nrf52840").storage == 2**20 and device("l4").storage == 24e9


def test_a_figure_prints_with_its_source():
    assert str(Figure(1.5e-3, "mW", "a page", "2024", "measured", 0.1)) == "1.5 mW ± 10 % (measured: a page, 2024)"
    assert float(FIBRE_INDEX) == 1.468 and BLE_SEND.value == approx(6.40e-3 * 3)
