"""Quantities are text at the edge and plain floats inside.

>>> parse("3.35 TB/s")
(3350000000000.0, 'B/s')
>>> parse("100 Mbit/s", unit="B/s")
(12500000.0, 'B/s')
>>> format(8589934592, "B"), format(8589934592, "GiB"), format(0.0271, "s")
('8.59 GB', '8 GiB', '27.1 ms')

Inside, every value is in the base unit of its kind: B, s, FLOP, B/s, W, J, m ... A bit is an eighth of a byte and a MAC
is two FLOP; both are read and never kept. A percentage stays apart from a plain count: "35 %" is (0.35, "%").

The table is our own. Pint 0.25 makes bits and bytes dimensionless, so GB + 1 is 8,000,000,001; reads "3 b" as barns
and "1 Gb/s" as gilberts a second; knows neither FLOP nor token; and takes 0.27 s to import, for a file that every
notebook loads (2026-11, `python -c "import pint; pint.UnitRegistry()"`). This file imports `re` and nothing larger.
"""

import math
import re
from functools import lru_cache

from .errors import UnitError, clip

__all__ = ["UnitError", "format", "parse", "to_si"]

# The order in which kinds are written: "FLOP/B", "J/token", "B/s".
_KINDS = ("FLOP", "B", "token", "USD", "g", "J", "m", "%", "s")
_PLAIN = (0,) * len(_KINDS)
_UP, _DOWN = "kMGTPEZY", "muµμnpf"
_TENS = {"": 0} | {p: 3 * i for i, p in enumerate(_UP, 1)}
_TENS |= {"m": -3, "u": -6, "µ": -6, "μ": -6, "n": -9, "p": -12, "f": -15}  # µ is a sign, μ a Greek letter
_TWOS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def _kind(**powers):
    return tuple(powers.get(k, 0) for k in _KINDS)


# symbol -> (factor as numerator and denominator, kind, decimal prefixes, takes Ki Mi Gi ...). Integers all the way keep
# "4.1 GMAC" the float nearest to 8.2e9: the one rounding is the division at the end.
_BASE = {
    "B": (1, 1, _kind(B=1), _UP, True),
    "byte": (1, 1, _kind(B=1), "", False),
    "bytes": (1, 1, _kind(B=1), "", False),
    "bit": (1, 8, _kind(B=1), _UP, True),
    "bits": (1, 8, _kind(B=1), "", False),
    "b": (1, 8, _kind(B=1), _UP, True),
    "bps": (1, 8, _kind(B=1, s=-1), _UP, False),
    "s": (1, 1, _kind(s=1), "muµμnp", False),
    "min": (60, 1, _kind(s=1), "", False),
    "h": (3600, 1, _kind(s=1), "", False),
    "day": (86400, 1, _kind(s=1), "", False),
    "days": (86400, 1, _kind(s=1), "", False),
    "month": (730 * 3600, 1, _kind(s=1), "", False),  # a twelfth of 365 days, as clouds bill it
    "Hz": (1, 1, _kind(s=-1), "kMG", False),
    "FLOP": (1, 1, _kind(FLOP=1), _UP, False),
    "OP": (1, 1, _kind(FLOP=1), _UP, False),
    "MAC": (2, 1, _kind(FLOP=1), _UP, False),
    "W": (1, 1, _kind(J=1, s=-1), "kMG" + _DOWN, False),
    "J": (1, 1, _kind(J=1), "kMGTP" + _DOWN, False),
    "Wh": (3600, 1, _kind(J=1), "kMGm", False),
    "m": (1, 1, _kind(m=1), "kmuµμn", False),
    "cm": (1, 100, _kind(m=1), "", False),
    "L": (1, 1000, _kind(m=3), "m", False),
    "g": (1, 1, _kind(g=1), "kmuµμ", False),
    "t": (10**6, 1, _kind(g=1), "kM", False),
    "token": (1, 1, _kind(token=1), "kMGT", False),
    "tokens": (1, 1, _kind(token=1), "", False),
    "USD": (1, 1, _kind(USD=1), "kM", False),
    "%": (1, 100, (*_PLAIN[:7], 1, 0), "", False),
}


def _table():
    names = {"1": (1, 1, _PLAIN)}
    for symbol, (num, den, kind, prefixes, binary) in _BASE.items():
        for p in ["", *prefixes]:
            ten = _TENS[p]
            names[p + symbol] = (num * 10 ** max(ten, 0), den * 10 ** max(-ten, 0), kind)
        for p, two in _TWOS.items() if binary else ():
            names[p + symbol] = (num << two, den, kind)
    return names


_NAMES = _table()
_LISTED = "B, bit, s, min, h, month, Hz, FLOP, MAC, W, J, Wh, m, L, g, token, USD, %"
# sign, digits before and after the point, exponent, unit
_NUMBER = re.compile(
    r"\s*([+-]?)(?=\.?[0-9])([0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]*(?:_[0-9]+)*)(?:\.([0-9]*))?"
    r"(?:[eE]([+-]?[0-9]+))?\s*(.*?)\s*"
)
_FACTOR = re.compile(r"([^\s^0-9]+|1)(?:\^([1-3]))?")
_EXAMPLE = {
    "B": "3.2 GB",
    "bit": "8 Mbit",
    "s": "27 ms",
    "B/s": "3.35 TB/s",
    "bit/s": "20 Mbit/s",
    "FLOP": "8.2 GFLOP",
    "FLOP/s": "989 TFLOP/s",
    "Hz": "1.4 GHz",
    "W": "700 W",
    "J": "1.3 mJ",
    "m": "1,500 km",
    "%": "35 %",
    "token": "4,096 token",
    "token/s": "120 token/s",
    "USD": "2.5 USD",
    "g": "400 g",
    "FLOP/B": "295 FLOP/B",
    "J/B": "150 nJ/B",
    "": "32",
}


def parse(text, unit=None):
    """Text such as "3.2 GB" -> (3.2e9, "B"): a float in base units, and the base unit.

    `unit` asks for a kind, given in any of its units: parse(text, unit="B"). A number without a unit is a plain count,
    "", and so is an int or float. Takes thousands commas and underscores, 1e9, SI prefixes, Ki Mi Gi for bytes and
    bits, products and quotients. GB is 10^9 bytes and GiB 2^30; B is a byte and b a bit.

    Raises UnitError if there is no finite number, the unit is unknown, or it measures another kind.
    """
    value, kind = _read(text)
    if unit is not None:
        wanted = _unit(unit, f"unit={unit!r}")[2]
        if kind != wanted:
            got = f"{clip(text)} is in {_symbol(kind)}" if any(kind) else f"{clip(text)} has no unit"
            raise UnitError(f"{got}; wanted {unit or 'a plain count'}, such as {_example(unit)!r}")
    return value, _symbol(kind)


def to_si(value, unit, name="value"):
    """Text becomes a float in base units, checked to be of the kind `unit`; numbers and arrays pass as they are."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value, unit)[0]
    except UnitError as error:
        raise UnitError(f"{name}: {error}") from None


def format(value, unit="", digits=3):
    """A value in base units as text: format(3.2e9, "B") -> "3.2 GB".

    A unit without a prefix takes the one that fits; a unit with a prefix is kept: format(3.2e9, "MiB"). `value` is in
    base units whatever `unit` is, so format(12.5e6, "bit/s") is "100 Mbit/s". Rounded to `digits` significant digits
    (parse gives it back to 0.5 %); a whole number of tokens or things is exact. Raises UnitError if it is not finite.
    """
    number = float(value)
    if not math.isfinite(number):
        raise UnitError(f"{number} is not a finite number; there is no way to write it in {unit or 'counts'}")
    num, den, kind = _unit(unit, f"unit={unit!r}")
    number = number * den / num
    first, rest = re.fullmatch(r"([^/*·]*)(.*)", unit, re.S).groups()
    if unit in ("", "token", "tokens") and number == int(number) and abs(number) < 1e15:
        text = f"{int(number):,}"
    elif first in _LADDERS and (first != "s" or not rest) and number:
        for factor, symbol in _LADDERS[first]:
            text, first = _digits(number / factor, digits), symbol
            if abs(float(text.replace(",", ""))) >= _ENOUGH.get(symbol, 1):
                break
    else:
        text = _digits(number, digits)
    return f"{text} {first}{rest}" if unit else text


# Prefixes that format may choose, largest first; minutes, hours and days only from two on.
_ENOUGH = {"min": 2, "h": 2, "days": 2}
_LADDERS = {
    s: [(10.0 ** _TENS[p.strip()], p.strip() + s) for p in prefixes]
    for s, prefixes in {
        "B": "EPTGMk ",
        "bit": "EPTGMk ",
        "FLOP": "YZEPTGMk ",
        "MAC": "YZEPTGMk ",
        "OP": "YZEPTGMk ",
        "W": "GMk mµn",
        "J": "PTGMk mµnpf",
        "Hz": "GMk ",
        "m": "k mµn",
        "g": "k mµ",
    }.items()
}
_LADDERS["s"] = [
    (86400.0, "days"),
    (3600.0, "h"),
    (60.0, "min"),
    (1.0, "s"),
    (1e-3, "ms"),
    (1e-6, "µs"),
    (1e-9, "ns"),
    (1e-12, "ps"),
]


def _digits(x, digits):
    rounded = float(f"{x:.{digits}g}")
    if not 1000 <= abs(rounded) < 1e15:
        return f"{rounded:.{digits}g}"
    whole, _, part = f"{rounded:,.{max(digits - len(str(int(abs(rounded)))), 0)}f}".partition(".")
    return f"{whole}.{part.rstrip('0')}".rstrip(".")


def _read(text):
    if isinstance(text, str):
        return _read_text(text)
    if isinstance(text, bool) or not isinstance(text, int | float):
        raise UnitError(f"got a {type(text).__name__}; write a number and a unit, such as '3.2 GB'")
    return _finite(float(text), text), _PLAIN


@lru_cache(maxsize=512)
def _read_text(text):
    if not text.strip():
        raise UnitError("got an empty text; write a number and a unit, such as '3.2 GB'")
    found = _NUMBER.fullmatch(text) if len(text) <= 120 else None
    if not found:
        raise UnitError(
            f"{clip(text)} does not start with a finite number; write a number and a unit, such as '3.2 GB'"
        )
    sign, whole, part, exponent, unit = found.groups(default="")
    if unit[:1] == ",":
        raise UnitError(f"{clip(text)}: a comma groups thousands, as in 1,500; write decimals with a point, as in 1.5")
    num, den, kind = _unit(unit, clip(text))
    digits, ten = int(whole.replace(",", "").replace("_", "") + part), int(exponent or 0) - len(part)
    if digits and abs(ten) > 400:  # beyond any float, and too long to multiply out
        digits, ten = (_finite(math.inf, text) if ten > 0 else 0), 0
    try:
        value = digits * num * 10 ** max(ten, 0) / (den * 10 ** max(-ten, 0))
    except OverflowError:
        _finite(math.inf, text)
    return -value if sign == "-" else value, kind


def _finite(x, text):
    if not math.isfinite(x):
        raise UnitError(f"{clip(text)} is not a finite number; write a number and a unit, such as '3.2 GB'")
    return x


@lru_cache(maxsize=512)
def _unit(unit, where):
    """Factor (numerator, denominator) and kind of a unit such as "TB/s" or "J/B"."""
    num, den, kind = 1, 1, _PLAIN
    if not unit:
        return num, den, kind
    for i, part in enumerate(re.split(r"\s*/\s*", unit)):
        for factor in re.split(r"\s*[*·]\s*", part):
            found = _FACTOR.fullmatch(factor)
            if not found or found[1] not in _NAMES:
                raise UnitError(f"{where}: {_advice(factor)}")
            n, d, k = _NAMES[found[1]]
            power = int(found[2] or 1)
            num, den = (num * n**power, den * d**power) if i == 0 else (num * d**power, den * n**power)
            kind = tuple(a + (b if i == 0 else -b) * power for a, b in zip(kind, k, strict=True))
    return num, den, kind


def _advice(name):
    if not name:
        return "a unit is missing beside / or *"
    if re.fullmatch(r"[kKMGTPEZY]?(FLOPS|FLOPs|OPS|OPs|flops|flop)", name):
        p = name[0].replace("K", "k") if name[0] in "kKMGTPEZY" else ""
        return f"{name!r} may be a rate or a count; write {p}FLOP/s for a rate, {p}FLOP for a count"
    if name in ("KB", "Kb", "KBit", "Kbit"):
        return f"{name!r} may be 1000 or 1024; write k{name[1:]} for 1000, Ki{name[1:]} for 1024"
    if re.fullmatch(r"[kKMGTP]?Bps", name):
        return f"{name!r} is written {name[:-3].replace('K', 'k')}B/s; bps is bits a second"
    same = [n for n in _NAMES if n.lower() == name.lower()]
    if same:
        both = "; B is a byte, b is a bit" if len(same) > 1 else ""
        return f"unknown unit {name!r}; did you mean {' or '.join(same)}{both}?"
    import difflib

    near = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.5)
    return f"unknown unit {name!r}; " + (
        f"the nearest is {near[0]!r}" if near else f"there are {_LISTED}, with SI prefixes"
    )


@lru_cache(maxsize=256)
def _symbol(kind):
    """Base unit of a kind: "B/s", "W" rather than "J/s", "Hz" rather than "1/s"."""
    for symbol in ("W", "Hz"):
        if kind == _BASE[symbol][2]:
            return symbol
    up = "*".join(_power(k, n) for k, n in zip(_KINDS, kind, strict=True) if n > 0)
    down = "".join("/" + _power(k, -n) for k, n in zip(_KINDS, kind, strict=True) if n < 0)
    return (up or "1") + down if down else up


def _power(name, n):
    return name if n == 1 else f"{name}^{n}"


def _example(unit):
    return _EXAMPLE.get(unit, f"1 {unit}")
