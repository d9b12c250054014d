"""Slips that no template need name: a wrong prefix, bits for bytes, GiB for GB, minutes for hours, a factor of two.

They earn nothing. They are looked for when an answer is neither right nor one of the part's own misconceptions, and
tell a student where to look.
"""

_TEN = [10.0**k for k in (1, 2, 3, 4, 5, 6, 9, 12, 15)]
_BINARY = (2**30 / 1e9, 2**40 / 1e12, 2**20 / 1e6, 2**10 / 1e3)
# name, factors, symbols of which the unit must have one ("" for any), where to look
_SLIPS = (
    ("GiB and GB", _BINARY, ("B",), "a GiB has 1024 MiB, a GB 1000 MB"),
    ("bits and bytes", (8.0,), ("B", "bit"), "a byte has eight bits"),
    ("power of ten", _TEN, ("",), "look at the prefixes"),
    ("hours and seconds", (60.0, 3600.0), ("s", "h", "J"), "look at minutes, hours and seconds"),
    ("factor of two", (2.0,), ("",), "one way or both, multiply-adds or operations, one or a pair?"),
)


def slip(part, value, target):
    """(name, sentence) of the slip that explains value where target is right, or None."""
    if value <= 0 or target <= 0:
        return None
    symbols = part.unit.replace("*", "/").split("/")
    for name, factors, wanted, where in _SLIPS:
        if wanted != ("",) and not set(wanted) & set(symbols):
            continue
        for factor in factors:
            if not part.apart(factor, 1.0):         # within the tolerance: it would explain anything
                continue
            for f, way in ((factor, "large"), (1 / factor, "small")):
                if part.near(value, target * f):
                    return name, f"{factor:,.4g} times too {way}: {where}."
    return None
