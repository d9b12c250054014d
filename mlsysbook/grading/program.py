"""A firmware check, outside: build what the box recorded, run it on an emulated board, put the cases to it.

The product is a stranger's text. It is compiled and run in boxes of their own, neither of which sees a case on a disk: a case
goes over the serial line when the compiler has long gone. What the program says of itself counts for nothing but its answers;
flash and RAM are the compiler's figures, cycles the simulator's.
"""

from dataclasses import dataclass

from boardkit.errors import KitError, PlatformMissing, SketchError, ToolMissing

from ..answers import firmware
from ..answers.record import decode, encode


class Missing(Exception):
    """A compiler or an emulator is not installed here. Nobody's fault that handed in, so no points are given or lost."""


class NoProgram(Exception):
    """There is nothing to run. The text is the student's to read and holds none that the submission chose; detail is not."""

    def __init__(self, text, detail=""):
        super().__init__(text)
        self.detail = detail


@dataclass(frozen=True)
class Ran:
    """What was built and its outcomes, case by case; limits that it is over; sizes, and the same in words."""

    product: object
    results: list
    over: list
    sizes: dict
    used: str


def ran(spec, made, cases, *, boxed):
    """Build and run the product of outcome `made` -> Ran. Raises Missing, NoProgram, and BoxError without a working box."""
    if type(made) is not dict or "out" not in made:
        raise NoProgram("not right: the cell that makes the program raised an error")
    try:
        product = decode(made["out"])
    except Exception as error:              # forged data can make decode raise anything
        raise NoProgram("not graded: its record cannot be read", str(error)) from None
    try:
        done = firmware.run(spec.firmware, product, cases, boxed=boxed)
    except firmware.NoProduct as error:
        raise NoProgram(f"not right: {error}") from None
    except (ToolMissing, PlatformMissing) as error:
        raise Missing(str(error)) from None
    except SketchError as error:
        said = "; ".join(str(d) for d in error.diagnostics)
        raise NoProgram(f"not right: does not compile{_where(spec.firmware, error)}", said) from None
    except KitError as error:
        raise NoProgram("not right: the program could not be built or started", str(error)) from None
    results = [{"out": encode(x)} for x in done.answers]
    silent = {"raised": ["NoAnswer"], "message": f"the program gave no answer: {done.ended}"}
    results += [silent] * (len(cases) - len(results))
    sizes = done.used
    over = [key for key in spec.firmware.limits if not sizes.get(key, float("inf")) <= getattr(spec.firmware, key)]
    return Ran(product, results, over, sizes, firmware.shown(sizes))


def _where(fw, error):
    """The first error's place, where that is in a file whose name the assignment gave."""
    first = next((d for d in error.diagnostics if d.severity == "error" and d.file in fw.files and d.line), None)
    return f", line {first.line} of {first.file}" if first else ""
