"""What is installed for the kits, and whether it works: the tools by name, and an echo on every emulator."""

import shutil
from dataclasses import dataclass

from . import process
from .errors import KitError
from .runner import avr_runner
from .targets import open_target, targets
from .toolchain import compile_sketch, find_toolchain


@dataclass(frozen=True)
class Tool:
    """A program, what it is for, and its version: "" where it is missing."""

    name: str
    use: str
    version: str


def tools():
    """The tools of the kits -> list of Tool."""
    return [
        Tool("arduino-cli", "boards: compile, flash", _version(lambda: find_toolchain("arduino-cli").version)),
        Tool("arduino-builder", "AVR sketches", _version(lambda: find_toolchain("arduino-builder").version)),
        Tool("simavr", "AVR emulator", _version(lambda: f"runner compiled: {avr_runner().name}")),
        *(Tool(name, use, _version(lambda name=name: _first_line(name))) for name, use in (
            ("arm-none-eabi-gcc", "Cortex-M programs"), ("qemu-system-arm", "Cortex-M emulator"),
            ("aarch64-linux-gnu-gcc", "AArch64 programs"), ("qemu-aarch64", "AArch64 emulator"))),
        Tool("pyserial", "every line", _version(_pyserial)),
    ]


def tried():
    """An echo on each emulator -> (URL, one sentence, whether it worked) of one after the other."""
    for url in targets():
        try:
            report = compile_sketch("echo", url)
            with open_target(url, report) as target:
                target.serial.write(b"are you there\n")
                heard = target.serial.readline()
            if heard != b"are you there\n":
                yield url, f"sent back {heard[:40]!r}, which is not what was sent", False
                continue
        except KitError as error:
            yield url, str(error), False
            continue
        turns = target.counts().turns
        cost = f", {turns[0]:,} simulated cycles" if turns else ""
        yield url, f"echo works: {report.flash:,} B of flash{cost} ({report.backend}, {report.seconds:.1f} s)", True


def _version(ask):
    try:
        return ask()
    except KitError:
        return ""


def _first_line(name):
    if shutil.which(name) is None:
        raise process.missing(name)
    lines = process.run([name, "--version"], timeout=30).out.splitlines()
    return lines[0] if lines else "?"


def _pyserial():
    from .targets import pyserial

    return pyserial().__version__
