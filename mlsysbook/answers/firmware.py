"""Firmware: a check whose result comes over a serial line, from a program that is built of what the student's code returns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Firmware:
    """How the product of a check becomes a program, and what that program must keep to.

    The check's `call` takes no argument and returns the product, plain data: a dict with a text for each name of `files`, and
    whatever else `expect` wants, such as weights. The texts are compiled beside kits/sketches/SKETCH for `target`; the arguments of
    a case, and nothing else of it, go over the line as `ask(link, *args)`, by default link.infer(x).outputs of boardkit.protocol.
    What comes back must equal `expect(product, *args)`, which runs outside the box.

    flash, ram (bytes), cycles (simavr only; from the last byte of a question to the last of its answer, of which each takes 1388):
    limits, each a behaviour.
    """

    sketch: str
    target: str
    files: tuple
    expect: object
    flash: int | None = None
    ram: int | None = None
    cycles: int | None = None
    ask: object = None

    def __post_init__(self):
        object.__setattr__(self, "files", (self.files,) if isinstance(self.files, str) else tuple(self.files))
        if self.cycles is not None and not self.target.startswith("simavr:"):
            raise ValueError(f"cycles={self.cycles}: {self.target} counts no cycles from outside; only simavr does")

    @property
    def limits(self):
        """The limits as behaviours -> {text: limit}."""
        named = {"flash": (self.flash, "B of flash"), "ram": (self.ram, "B of RAM"), "cycles": (self.cycles, "cycles an answer")}
        return {key: f"at most {most:,} {unit}" for key, (most, unit) in named.items() if most is not None}


def outcomes(spec, product, cases):
    """What a right program answers to each case -> list of outcomes. Raises what `expect` raises, which a forged product can choose."""
    from .record import decode, encode

    return [{"out": encode(spec.firmware.expect(product, *decode(encode(c.args))))} for c in cases]


class NoProduct(ValueError):
    """What the student's code returned is no product: one line."""


def texts(spec, product):
    """The files of a product -> {name: text}. Raises NoProduct."""
    if type(product) is not dict:
        raise NoProduct(f"wants a dict with {', '.join(spec.files)}, got {type(product).__name__}")
    for name in spec.files:
        if type(product.get(name)) is not str:
            raise NoProduct(f"wants the text of {name}, got {type(product.get(name)).__name__}")
    return {name: product[name] for name in spec.files}


@dataclass(frozen=True)
class Run:
    """What a program did. answers: one for each case that it answered; used: {"flash", "ram", "cycles"}; ended: why it stopped early."""

    answers: list
    used: dict
    ended: str = ""


def run(spec, product, cases, *, boxed, wait=20.0):
    """Build the product, run it, put the questions of `cases` -> Run. Raises NoProduct, and boardkit's KitError.

    boxed: build and run in boxes, since the text is a stranger's. No question is on any disk while the compiler runs.
    """
    import tempfile
    from pathlib import Path

    from boardkit.elf import memory
    from boardkit.protocol import Link
    from boardkit.targets import open_target
    from boardkit.toolchain import compile_sketch

    class _Counted(Link):
        sent = 0

        def call(self, command, payload=b""):
            self.sent += 1
            return super().call(command, payload)

    files = texts(spec, product)
    with tempfile.TemporaryDirectory(prefix="mlsys-firmware-") as folder:
        Path(folder).chmod(0o755)       # the box runs as another user
        report = compile_sketch(spec.sketch, spec.target, build=folder, files=files, boxed=boxed)
        size = memory(report.elf)       # the Arduino tools look for sections by name, and a program can name its own
        used, answers, ended, last = {"flash": max(report.flash, size.flash), "ram": max(report.ram, size.ram)}, [], "", []
        most = 100_000_000 + 8 * (spec.cycles or 5_000_000) * (len(cases) + 1)
        with open_target(spec.target, report, boxed=boxed, cycles_max=most, output_max=4096 * (len(cases) + 16)) as target:
            link = _Counted(target.serial, timeout=wait, retries=0)
            for c in cases:
                said = _ask(spec, link, c)
                if said is None:
                    ended = target.ended(wait=1.0) or "its answer is no frame, or comes too late"
                    break
                answers.append(said)
                last.append(link.sent - 1)      # a case's last question is the one that counts; the first asks who is there
        turns = target.counts().turns
        if last and last[-1] < len(turns):
            used["cycles"] = max(turns[k] for k in last)
    return Run(answers, used, ended)


def _ask(spec, link, c):
    """The answer to one case, None if there was none."""
    from serial import SerialException

    from boardkit.errors import ProtocolError

    try:
        return spec.ask(link, *c.args, **c.kwargs) if spec.ask else link.infer(*c.args).outputs
    except (ProtocolError, SerialException, OSError):
        return None


def explain(spec):
    """Build and run the student's program here, on the visible cases, and explain the first failure. Raises CheckFailed."""
    from boardkit.errors import PlatformMissing, SketchError, TimeLimit, ToolMissing

    from .check import CheckFailed, run_case, verdict
    from .record import decode, describe, encode

    made = run_case(spec.call, _nothing())
    if "out" not in made:
        raised, said = made["raised"][0], made["message"]
        raise CheckFailed(f"{spec.name}: not written yet" if raised == "NotImplementedError" else f"{spec.name}: raised {raised}: {said}")
    product, fw = decode(made["out"]), spec.firmware
    try:
        done = run(fw, product, spec.cases, boxed=False)
    except (NoProduct, TimeLimit) as error:
        raise CheckFailed(f"{spec.name}: {error}") from None
    except SketchError as error:
        lines = [str(d) for d in error.diagnostics[:8]]
        raise CheckFailed("\n".join([f"{spec.name}: does not compile for {fw.target}", *(f"  {line}" for line in lines)])) from None
    except (ToolMissing, PlatformMissing) as error:
        print(f"{spec.name}: cannot be tried here, it is built and run when it is graded ({error})")
        return
    for i, (c, want) in enumerate(zip(spec.cases, outcomes(spec, product, spec.cases), strict=True)):
        if i == len(done.answers):
            raise CheckFailed(f"{spec.name}: the program gave no answer to example {i + 1} of {len(spec.cases)}: {done.ended}")
        got = {"out": encode(done.answers[i])}
        if text := verdict(spec, c, got, want):
            raise CheckFailed(f"{spec.name}: example {i + 1} of {len(spec.cases)} fails on {fw.target}\n  got      "
                              f"{describe(done.answers[i])}\n  wanted   {describe(decode(want['out']))}\n  because  {text}")
    for key, most in fw.limits.items():
        if done.used.get(key, 0) > getattr(fw, key):
            raise CheckFailed(f"{spec.name}: wants {most}, takes {done.used[key]:,}")
    n = len(spec.cases)
    print(f"{spec.name}: {n} of {n} worked example{'s' if n != 1 else ''} right on {fw.target}; {shown(done.used)}; "
          "hidden cases are run when it is graded")


def shown(used):
    """Flash, RAM and cycles of a run, in words."""
    parts = [f"{used['flash']:,} B of flash", f"{used['ram']:,} B of RAM"]
    return ", ".join(parts + ([f"{used['cycles']:,} cycles an answer"] if "cycles" in used else []))


def _nothing():
    from .check import Case

    return Case((), {})
