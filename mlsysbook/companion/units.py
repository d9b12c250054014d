"""In which units the answer to a question may be typed: its own, others of the same kind, and none."""

TIMES = {"s": 1, "min": 60, "h": 3600}


def accepted(unit):
    """{symbol: factor}: a number typed with `symbol` times the factor is in `unit`.

    Units that MLSys·im knows come with their SI prefixes and names; "requests/s" is taken a minute or an hour as well; others alone.
    """
    from mlsysim import units

    if not unit:
        return {"": 1.0, "%": 0.01}
    if unit == "%":
        return {"%": 1.0, "": 1.0}
    above, slash, below = unit.partition("/")
    found = {"": 1.0, unit: 1.0}
    table = units._NAMES
    alike = {above: 1.0}
    if above in table:
        alike |= {name: _ratio(table[name], table[above]) for name in table if table[name][2] == table[above][2] and name != "1"}
    elif slash and below in TIMES:
        alike[""] = 1.0
    under = {t: TIMES[below] / seconds for t, seconds in TIMES.items()} if below in TIMES else {below: 1.0}
    for top, factor in alike.items():
        for bottom, share in under.items() if slash else [("", 1.0)]:
            found.setdefault(f"{top}{slash}{bottom}", factor * share)
    return found


def _ratio(one, other):
    return one[0] * other[1] / (one[1] * other[0])
