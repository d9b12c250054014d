"""Does text become the number it says, and does a number come back from its text?"""

import doctest
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis.strategies import floats, from_regex, integers, sampled_from, text
from pytest import approx

from mlsysim import units
from mlsysim.units import UnitError, format, parse, to_si

PREFIXES = {"k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "m": -3, "u": -6, "µ": -6, "n": -9}
SHOWN = [
    "B",
    "B/s",
    "bit",
    "bit/s",
    "s",
    "Hz",
    "FLOP",
    "FLOP/s",
    "FLOP/B",
    "W",
    "J",
    "J/B",
    "m",
    "%",
    "token",
    "token/s",
    "USD",
    "g",
    "",
    "MiB",
    "ms",
    "GB/s",
    "km",
]


@pytest.mark.parametrize(
    "text, value, unit",
    [
        ("3.35 TB/s", 3.35e12, "B/s"),
        ("80 GiB", 80 * 2**30, "B"),
        ("8 bit", 1, "B"),
        ("8b", 1, "B"),
        ("20 Mbps", 2.5e6, "B/s"),
        ("4.09 GMAC", 8.18e9, "FLOP"),
        ("65 TOP/s", 65e12, "FLOP/s"),
        ("1,500 km", 1.5e6, "m"),
        ("12_000 B", 12e3, "B"),
        ("1e9", 1e9, ""),
        ("35 %", 0.35, "%"),
        ("2 kWh", 7.2e6, "J"),
        ("3 J/s", 3, "W"),
        ("3 1/day", 3 / 86400, "Hz"),
        ("150 nJ/B", 1.5e-7, "J/B"),
        ("7 µs", 7e-6, "s"),
        ("-3 J", -3, "J"),
        (".5 s", 0.5, "s"),
        ("2 W*h", 7200, "J"),
        ("3 m^2", 3, "m^2"),
        (" 27\tms ", 0.027, "s"),
        (7, 7, ""),
    ],
)
def test_text_is_read_in_base_units(text, value, unit):
    assert parse(text) == (approx(value, rel=1e-15), unit)


@given(
    whole=integers(0, 10**9), part=integers(0, 999), exponent=integers(-20, 20), prefix=sampled_from(["", *PREFIXES])
)
def test_a_number_with_an_si_prefix_is_the_nearest_float(whole, part, exponent, prefix):
    exact = Fraction(whole * 1000 + part, 1000) * Fraction(10) ** (exponent + PREFIXES.get(prefix, 0))
    assert parse(f"{whole}.{part:03}e{exponent} {prefix}J")[0] == float(exact)


@given(value=floats(1e-12, 1e18), unit=sampled_from(SHOWN), sign=sampled_from([1, -1]))
def test_formatted_text_reads_back_within_half_a_percent(value, unit, sign):
    assert parse(format(sign * value, unit), unit)[0] == approx(sign * value, rel=5.001e-3, abs=0)


@given(count=integers(-(10**14), 10**14))
def test_whole_counts_are_shown_exactly(count):
    assert parse(format(count, "token")) == (count, "token")


@pytest.mark.parametrize(
    "value, unit, text",
    [
        (3.2e9, "B", "3.2 GB"),
        (8 * 2**30, "GiB", "8 GiB"),
        (12.5e6, "bit/s", "100 Mbit/s"),
        (999.9e9, "B", "1 TB"),
        (0, "B", "0 B"),
        (1.2e7, "m", "12,000 km"),
        (119, "s", "119 s"),
        (300, "s", "5 min"),
        (3 * 86400, "s", "3 days"),
        (0.0271, "s", "27.1 ms"),
        (0.0034, "%", "0.34 %"),
        (32768, "token", "32,768 token"),
        (3.0, "s/token", "3 s/token"),
        (-5e-7, "J", "-500 nJ"),
    ],
)
def test_a_value_takes_the_prefix_that_fits(value, unit, text):
    assert format(value, unit) == text


@pytest.mark.parametrize(
    "text, advice",
    [
        ("", "empty"),
        ("fast", "finite number"),
        ("nan", "finite number"),
        ("inf s", "finite number"),
        ("1e999 B", "finite number"),
        ("1e99999999999 B", "finite number"),
        ("3 GBs", "'GB'"),
        ("3 gb", "GB or Gb"),
        ("3 KB", "KiB for 1024"),
        ("5 TFLOPS", "TFLOP/s for a rate"),
        ("5 MBps", "MB/s"),
        ("1,5 GB", "decimals with a point"),
        ("1,50 GB", "thousands"),
        ("3 mB", "MB or Mb"),
        ("3 GB/", "missing"),
        ("3 xyz", "there are B, bit"),
        ("٣ B", "finite number"),
        ("9" * 200, "finite number"),
        (None, "NoneType"),
        (True, "bool"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_teaching_line(text, advice):
    with pytest.raises(UnitError) as caught:
        parse(text)
    assert advice in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text, unit, advice",
    [
        ("3 ms", "B", "is in s; wanted B, such as '3.2 GB'"),
        ("3.2", "B", "has no unit"),
        ("3 GB", "", "wanted a plain count"),
        ("35", "%", "'35 %'"),
        ("35 %", "", "plain count"),
        ("3 GB", "B/s", "'3.35 TB/s'"),
    ],
)
def test_another_kind_than_the_one_asked_for_is_refused(text, unit, advice):
    with pytest.raises(UnitError, match=advice):
        parse(text, unit=unit)


def test_a_kind_may_be_asked_for_in_any_of_its_units():
    assert parse("100 Mbit/s", unit="GB/s") == parse("12.5 MB/s", unit="bit/s") == (12.5e6, "B/s")


def test_a_unit_asked_for_in_code_must_exist():
    with pytest.raises(UnitError, match="unit='GBs'"):
        parse("3 GB", unit="GBs")


def test_not_finite_values_have_no_text():
    for bad in (float("nan"), float("inf")):
        with pytest.raises(UnitError):
            format(bad, "s")


def test_numbers_pass_the_edge_and_text_is_converted():
    assert to_si(3.0, "B") == 3.0 and to_si("3 kB", "B") == 3000
    with pytest.raises(UnitError, match="memory: '3 s'"):
        to_si("3 s", "B", "memory")


@given(text(max_size=60) | from_regex(r"[0-9.,_eE+-]{1,12} ?[kMGTPmunKi]{0,2}(B|b|s|FLOP|W|/|\*){1,4}", fullmatch=True))
def test_any_text_is_read_or_refused_and_nothing_else(text):
    try:
        value, unit = parse(text)
    except UnitError:
        return
    assert parse(format(value, unit, digits=15)) == (approx(value, rel=1e-14), unit)


def test_the_examples_in_the_docstring_hold():
    assert doctest.testmod(units).failed == 0


def test_reading_units_loads_no_numpy():
    code = "import sys; from mlsysim.units import parse; parse('3 GB'); print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
