"""The boards of boards.toml, and which of them an emulator stands in for."""

import difflib
import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

from .errors import BoardError


@dataclass(frozen=True)
class Board:
    """A board. clock in Hz, flash and ram in bytes (what a sketch may use; 0: not limited by the board).

    fqbn: its name at an Arduino toolchain; cross: the compiler and flags that build for it without one. target: the emulator
    that runs its programs here; here: "sketch" (.ino compiles and runs), "kernels" (another target runs the same kernels) or
    "nothing". stand_in: the board that does so.
    """

    name: str
    title: str
    mcu: str
    clock: int
    flash: int
    ram: int
    here: str
    sources: tuple
    fqbn: str = ""
    target: str = ""
    stand_in: str = ""
    note: str = ""
    cross: str = ""
    flags: tuple = ()
    machine: str = ""


@functools.cache
def boards():
    """All boards by name -> dict of Board."""
    table = tomllib.loads((Path(__file__).parent / "boards.toml").read_text(encoding="utf-8"))
    return {name: Board(name, **{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for name, row in table.items()}


def board(name):
    """The board called `name`, or whose emulator (simavr:atmega328p) or FQBN it is. Raises BoardError with the nearest names."""
    if isinstance(name, Board):
        return name
    for b in boards().values():
        if name in (b.name, b.target, b.fqbn) and name:
            return b
    if name.count(":") in (2, 3) and not name.startswith(("simavr:", "qemu:", "qemu-user:", "socket:")):
        return Board(name, name, "", 0, 0, 0, "nothing", (), fqbn=name)      # any board that an installed core knows
    known = [b.name for b in boards().values()] + [b.target for b in boards().values() if b.target]
    near = difflib.get_close_matches(name, known, n=1)
    raise BoardError(f"no board {name!r}" + (f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"))
