"""Energy, carbon and water against published accounts, and a carbon curve against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from mlsysim import train
from mlsysim.devices import device
from mlsysim.errors import RangeError, SimError, UnitError, UnknownName
from mlsysim.sustainability import footprint, machine_energy, shift
from mlsysim.systems import cluster, site

MWH, KWH, TONNE, HOUR = 3.6e9, 3.6e6, 1e6, 3600.0
CURVE = 300 + 200 * np.cos(np.arange(24) * np.pi / 12)  # dirty at midnight, clean at noon


def test_gpt_3_as_its_authors_account_for_it():
    """Patterson et al. 2021, table 4: 1,287 MWh, 552 t."""
    seconds = 3.14e23 / (10_000 * 24.6e12)
    assert seconds / 86400 == approx(14.8, rel=0.01)
    f = footprint(machine_energy(10_000, seconds, power="330 W"), pue=1.10, carbon="0.429 kg/kWh")
    assert f.energy / MWH == approx(1287, rel=0.01) and f.carbon / TONNE == approx(552, rel=0.01)


def test_bloom_as_its_authors_account_for_it():
    """Luccioni et al. 2023: 1,082,990 hours of A100, 433,196 kWh, 57 g a kWh: 24.7 t."""
    energy = machine_energy(1, 1_082_990 * HOUR, device=device("a100"))
    f = footprint(energy, pue=1.0, carbon="57 g/kWh")
    assert energy / KWH == approx(433_196, rel=1e-5) and f.carbon / TONNE == approx(24.7, rel=0.01)


def test_llama_2_with_the_intensity_that_its_largest_model_implies():
    """Touvron et al. 2023b, table 2: hours at 400 W (350 W for 34B) and tonnes."""
    hours, watts = np.array([184_320, 368_640, 1_038_336, 1_720_320]), np.array([400, 400, 350, 400])
    energy = machine_energy(1, hours * HOUR, power=watts)
    carbon = 291.42 * TONNE / energy[-1]  # g/J, PUE inside
    f = footprint(energy, pue=1.0, carbon=carbon)
    assert f.carbon[:3] / TONNE == approx([31.22, 62.44, 153.90], rel=0.01) and f.carbon.sum() / TONNE == approx(539, rel=0.01)


def test_llama_3_1_with_the_intensity_that_its_largest_model_implies():
    """Model card: 1.46, 7.0 and 30.84 million hours at 700 W: 420, 2,040 and 8,930 t, 11,390 t in all."""
    energy = machine_energy(1, np.array([1.46e6, 7.0e6, 30.84e6]) * HOUR, device="h100")
    f = footprint(energy, pue=1.0, carbon=8930 * TONNE / energy[-1])
    assert f.carbon[:2] / TONNE == approx([420, 2040], rel=0.02) and f.carbon.sum() / TONNE == approx(11_390, rel=0.01)


def test_a_training_run_brings_its_energy():
    run = train("llama-2-7b", cluster("dgx-a100", gpus=64), batch=64, tokens=2048, tp=8, run_tokens=1e9)
    assert footprint(run, site="sweden").energy == approx(run.energy * 1.56)
    energy = machine_energy(8, "10 h", device="h100", load=0.5, host="200 W")
    assert footprint(energy, site="sweden").operational == approx(8 * 10 * 0.55 * 1.56 * 40.7)


def test_embodied_carbon_is_spread_over_life():
    f = footprint(0.0, devices=1000, seconds="30 days", embodied="h100", life="1825 days")
    assert f.carbon == f.embodied == approx(1000 * device("h100").embodied.value * 30 / 1825)
    assert f.operational == 0
    whole = footprint("1 MWh", site="norway", devices=1, seconds="1825 days", embodied="150 kg", life="1825 days")
    assert whole.carbon == approx(whole.operational + 150e3)


def test_water_is_litres_of_the_machines_energy():
    f = footprint("1 MWh", site="aws")
    assert f.water == approx(0.15 * 1000 * 1000)  # g
    assert np.isnan(footprint("1 MWh", site="france").water) and footprint("1 MWh", site="france", wue="1 L/kWh").water == approx(1e6)


@given(st.floats(1.0, 1e15), st.floats(1.0, 3.0), st.floats(1e-6, 1e-3))
def test_operational_carbon_is_linear_in_all_three(energy, pue, carbon):
    f = footprint(energy, pue=pue, carbon=carbon)
    assert f.carbon == approx(energy * pue * carbon) and f.energy == approx(energy * pue)
    why = f.why()
    assert all(why.elasticities[k] == approx(1, abs=1e-3) for k in ("energy", "PUE", "intensity of the grid"))


def test_a_cleaner_place_is_cleaner():
    grids = ["norway", "france", "united-states", "poland"]
    assert (np.diff([footprint("1 GWh", site=g).carbon for g in grids]) > 0).all()
    assert site("google", grid="france").pue.value == 1.09


def brute(length, ready, within, step=60):
    """Mean intensity of the best contiguous start, minute by minute."""
    at = np.arange(0, within + 1, step) + ready
    level = np.array([CURVE[int(t // 3600) % 24] for t in at])
    n = int(length // step)
    return min(level[i : i + n].mean() for i in range(len(at) - n))


@given(st.integers(1, 20), st.integers(0, 23), st.integers(0, 24))
def test_the_best_start_is_that_of_brute_force(length, ready, slack):
    s = shift(KWH, length * HOUR, CURVE, ready=ready * HOUR, within=(length + slack) * HOUR)
    assert s.carbon == approx(brute(length * 3600, ready * 3600, (length + slack) * 3600), rel=1e-9)
    assert s.carbon <= s.baseline * (1 + 1e-12) and ready * HOUR <= s.start <= (ready + slack) * HOUR


@given(st.floats(0.1, 60), st.floats(0, 30), st.floats(0, 40))
def test_pausing_is_never_worse_and_neither_than_the_cleanest_hour(length, ready, slack):
    options = dict(ready=ready * HOUR, within=(length + slack) * HOUR)
    whole, parts = (shift(KWH, length * HOUR, CURVE, pausable=p, **options) for p in (False, True))
    assert CURVE.min() * (1 - 1e-9) <= parts.carbon <= whole.carbon * (1 + 1e-9) <= whole.baseline * (1 + 1e-6)
    assert parts.seconds <= (length + slack) * HOUR * (1 + 1e-9)


def test_a_flat_curve_and_whole_days_save_nothing():
    assert shift("5 MWh", "7 h", np.full(24, 400.0)).saving == approx(0)
    assert shift("5 MWh", "48 h", CURVE).saving == approx(0)
    assert shift(KWH, HOUR, CURVE, pausable=True).carbon == approx(100)  # noon


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: footprint(-5), RangeError, "energy: got -5"),
        (lambda: footprint("5 kW"), UnitError, "energy"),
        (lambda: footprint(1.0, pue=0.9), RangeError, "pue: got 0.9"),
        (lambda: footprint(1.0, carbon="57 g"), UnitError, "carbon"),
        (lambda: footprint(1.0, site="frnce"), UnknownName, "france"),
        (lambda: footprint(1.0, devices=1, seconds=1, embodied="1 kg"), SimError, "life: got None"),
        (lambda: footprint(1.0, devices=1, seconds=1, embodied="stm32l4r5", life=1), SimError, "embodied"),
        (lambda: machine_energy(0, 1.0, power=1), RangeError, "devices: got 0"),
        (lambda: machine_energy(1, "-5 days", power=1), RangeError, "seconds"),
        (lambda: machine_energy(1, 1.0, device="stm32h7a3"), SimError, "power"),
        (lambda: shift(1.0, 1.0, [1, 2, 3]), RangeError, "24 intensities"),
        (lambda: shift(1.0, "5 h", CURVE, within="4 h"), RangeError, "within"),
    ],
)
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
