"""What MLSys·im refuses, in one line that says what it got, what it wanted and what to do.

SimError (a ValueError)
├── UnitError       text that is no quantity, or a quantity of another kind than the one asked for
├── RangeError      a value outside its allowed range: negative, not finite, a fraction of a layer
├── UnknownName     a device, model or precision that is not listed; names the nearest one
└── Infeasible      a plan that does not fit: says what it needs, what there is, and by what factor
"""


class SimError(ValueError):
    """Base of every error that MLSys·im raises on purpose."""


class UnitError(SimError):
    pass


class RangeError(SimError):
    pass


class UnknownName(SimError):
    pass


class Infeasible(SimError):
    pass


def unknown(kind, name, known):
    """UnknownName for `name`, pointing at the nearest of `known` and listing them, or the nearest few of many."""
    import difflib

    near = difflib.get_close_matches(str(name).strip().lower().replace(" ", "-"), known, n=4, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    if len(known) > 40:
        shown = near[1:] or known[:3]
        known = [*shown, f"and {len(known) - len(shown) - bool(near)} others"]
    return UnknownName(f"unknown {kind} {clip(name)}; {hint}there are {', '.join(known)}")


def clip(x, limit=40):
    """repr of x, cut to `limit` characters."""
    text = repr(x)
    return text if len(text) <= limit else text[: limit - 3] + "..."
