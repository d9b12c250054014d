"""check: run the student's function on cases. At the keyboard it explains; in the box it only records."""

import sys
from dataclasses import dataclass

from . import mode
from .compare import difference
from .record import decode, describe, encode

WORKED = "worked examples"


class CheckFailed(AssertionError):
    """A visible case failed. Shown in a notebook as its message alone, without a traceback."""

    def _render_traceback_(self):
        return [str(self)]


@dataclass(frozen=True)
class Case:
    """One call: positional and keyword arguments, and the behaviour that it shows."""

    args: tuple
    kwargs: dict
    behaviour: str = WORKED

    def encoded(self):
        return {"args": encode(self.args), "kwargs": encode(self.kwargs), "behaviour": self.behaviour}

    @classmethod
    def from_encoded(cls, d):
        return cls(decode(d["args"]), decode(d["kwargs"]), str(d.get("behaviour", WORKED)))


@dataclass(frozen=True)
class Property:
    """What must hold of a result: `holds(out, *args, **kwargs)` is true."""

    text: str
    holds: object


@dataclass(frozen=True)
class CheckSpec:
    """All that a check cell said."""

    name: str
    cases: tuple
    call: object
    compare: str | None = "close"
    rtol: float | None = None
    atol: float | None = None
    properties: tuple = ()
    forbid: tuple = ()
    firmware: object = None


def case(*args, behaviour=WORKED, **kwargs):
    """One call of the function under test; `behaviour` names what its failure would mean."""
    return Case(args, kwargs, behaviour)


def prop(text, holds):
    """A property of every result: `holds(out, *args, **kwargs)` must be true. `text` completes "the result must ..."."""
    return Property(text, holds)


def check(name, cases, *, call=None, compare="close", rtol=None, atol=None, properties=(), forbid=(), firmware=None):
    """Run the visible cases of exercise `name` and explain the first failure.

    The function under test is the global `name` of the notebook, or `call`. Wanted results were computed from the
    reference when the assignment was built. compare: "close" (same type, shape and dtype), "value" (dtype ignored) or
    None (only `properties` decide). `forbid` lists names that the exercise does without, such as "np.matmul". firmware: a
    Firmware, where the result comes from a program on an emulated board; `call` then returns what the program is built of.

    Raises CheckFailed.
    """
    if compare not in ("close", "value", None):
        raise ValueError(f"compare={compare!r}: wants 'close', 'value' or None")
    if call is None:
        call = sys._getframe(1).f_globals.get(name)
    spec = CheckSpec(name, tuple(cases), call, compare, rtol, atol, tuple(properties), tuple(forbid), firmware)
    if mode.handler is not None:
        mode.handler.check(spec)
        return
    _explain(spec)


def run_case(call, c):
    """Call the function on copies of the arguments -> JSON-able outcome: what came out, or what was raised."""
    args, kwargs = decode(encode(c.args)), decode(encode(c.kwargs))
    before = encode((args, kwargs))
    try:
        outcome = {"out": encode(call(*args, **kwargs))}
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        outcome = {"raised": [k.__name__ for k in type(error).__mro__[:-1]], "message": str(error)[:500]}
    if encode((args, kwargs)) != before:
        outcome["changed"] = True
    return outcome


def verdict(spec, c, got, want):
    """None if outcome `got` of case `c` is as it should be, else one line. `want` is the reference's outcome or None."""
    if want is not None:
        if "raised" in want:
            wanted = want["raised"][0]
            if "raised" not in got:
                return f"wanted the error {wanted}: {want.get('message', '')}"[:300]
            if wanted not in got["raised"]:
                return f"wanted the error {wanted}, got {got['raised'][0]}: {got.get('message', '')}"[:300]
            return None
        if "raised" in got:
            return f"raised {got['raised'][0]}: {got.get('message', '')}"[:300]
        if bool(got.get("changed")) != bool(want.get("changed")):
            return "an argument was changed by the call" if got.get("changed") else "an argument should have been changed in place"
    elif "raised" in got:
        return f"raised {got['raised'][0]}: {got.get('message', '')}"[:300]
    out = decode(got["out"])
    if spec.compare is not None and want is not None:
        text = difference(out, decode(want["out"]), compare=spec.compare, rtol=spec.rtol, atol=spec.atol)
        if text:
            return text
    args, kwargs = decode(encode(c.args)), decode(encode(c.kwargs))
    for p in spec.properties:
        if not p.holds(out, *args, **kwargs):
            return f"the result must {p.text}"
    return None


def _explain(spec):
    from .identity import sidecar

    if spec.call is None:
        raise CheckFailed(f"{spec.name}: there is no function of this name yet; run the cell that defines it")
    from .forbid import used

    for name in used(spec.call, spec.forbid):
        raise CheckFailed(f"{spec.name}: uses {name}, which this exercise does without")
    if spec.firmware is not None:
        from .firmware import explain

        explain(spec)
        return
    wanted = sidecar().get("wanted", {}).get(spec.name, [None] * len(spec.cases))
    for i, (c, want) in enumerate(zip(spec.cases, wanted, strict=True)):
        got = run_case(spec.call, c)
        if got.get("raised", [""])[0] == "NotImplementedError":
            raise CheckFailed(f"{spec.name}: not written yet")
        text = verdict(spec, c, got, want)
        if text:
            raise CheckFailed(_failure(spec, i, c, got, want, text))
    n = len(spec.cases)
    print(f"{spec.name}: {n} of {n} worked example{'s' if n != 1 else ''} right; hidden cases are run when it is graded")


def _failure(spec, i, c, got, want, text):
    parts = [describe(a) for a in c.args] + [f"{k}={describe(v)}" for k, v in c.kwargs.items()]
    called = (",\n" if any("\n" in part for part in parts) else ", ").join(parts)
    name = getattr(spec.call, "__name__", spec.name)
    lines = [f"{spec.name}: example {i + 1} of {len(spec.cases)} fails ({c.behaviour})" if c.behaviour != WORKED
             else f"{spec.name}: example {i + 1} of {len(spec.cases)} fails", f"  called   {name}({called})"]
    lines.append("  got      " + (describe(decode(got["out"])) if "out" in got else f"{got['raised'][0]}: {got['message']}"))
    if want is not None and spec.compare is not None:
        lines.append("  wanted   " + (describe(decode(want["out"])) if "out" in want else f"{want['raised'][0]}: {want['message']}"))
    lines.append(f"  because  {text}")
    return "\n".join(line.replace("\n", "\n           ") for line in lines)
