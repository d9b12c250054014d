"""What of a program goes where: sections and symbols of an ELF file, 32 or 64 bit, little endian.

A program from a student's text may be any bytes at all, so nothing here trusts an offset or a length.
Source: Tool Interface Standard, ELF specification 1.2; System V ABI, ELF-64.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from .errors import KitError

_ALLOC, _WRITE = 2, 1                   # section flags
_SYMTAB, _NOBITS = 2, 8                 # section types
_OBJECT, _FUNCTION = 1, 2               # symbol types
_MAX = 1 << 16                          # sections, and symbols, that are looked at


@dataclass(frozen=True)
class Symbol:
    """A name with a size (bytes) and a place: "flash" (code and constants), "data" (flash and RAM) or "ram" (zeroed at start)."""

    name: str
    size: int
    place: str
    address: int


@dataclass(frozen=True)
class Memory:
    """Bytes of a program: flash holds code, constants and the initial values of data; ram is data and what starts at zero."""

    flash: int
    ram: int


def symbols(path):
    """Symbols of the ELF file at `path` that take room, the largest first -> list of Symbol. Raises KitError."""
    sections, data, layout = _open(path)
    found = set()
    for s in sections:
        if s["type"] != _SYMTAB or s["link"] >= len(sections):
            continue
        strings = _bytes(data, sections[s["link"]])
        table = _bytes(data, s)
        for at in range(0, min(len(table), _MAX * layout.symbol.size) - layout.symbol.size + 1, layout.symbol.size):
            name, value, size, info, index = layout.fields(layout.symbol.unpack_from(table, at))
            if not size or info & 15 not in (_OBJECT, _FUNCTION) or index >= len(sections):
                continue
            place = _place(sections[index])
            if place:
                found.add(Symbol(_text(strings, name), size, place, value))
    return sorted(found, key=lambda s: (-s.size, s.address, s.name))


def plain(name):
    """A symbol's name without C++'s decoration, types of arguments left out: _ZN5Print5writeEh is Print::write."""
    head = re.match(r"_ZT([VSI])|_ZN?K?L?", name)
    if head is None:
        return name
    parts, at = [], head.end()
    if head[1] and name[at:at + 1] == "N":
        at += 1
    while (size := re.match(r"[LK]?(\d+)", name[at:])) is not None:
        at += size.end()
        parts.append(name[at:at + int(size[1])])
        at += int(size[1])
        if "N" not in head[0]:
            break
    return "::".join(parts) + (" (table)" if head[1] else "") if parts else name


def sections(path):
    """Sections of the ELF file at `path` that have a name and a size -> list of (name, bytes, flags). Raises KitError.

    flags, as readelf prints them: A takes room in a running program, W can be written, N has no bytes in the file.
    """
    found, _, _ = _open(path)
    return [(s["name"], s["size"], "A" * bool(s["flags"] & _ALLOC) + "W" * bool(s["flags"] & _WRITE) + "N" * (s["type"] == _NOBITS))
            for s in found if s["name"] and s["size"]]


def memory(path):
    """Bytes that the program at `path` takes -> Memory. Raises KitError."""
    sections, _, _ = _open(path)
    size = {"flash": 0, "data": 0, "ram": 0}
    for s in sections:
        if place := _place(s):
            size[place] += s["size"]
    return Memory(size["flash"] + size["data"], size["data"] + size["ram"])


def _place(section):
    if not section["flags"] & _ALLOC or section["name"] == ".eeprom":
        return None
    if section["type"] == _NOBITS:
        return "ram"
    return "data" if section["flags"] & _WRITE else "flash"


class _Layout:
    def __init__(self, wide):
        self.wide = wide
        self.header = struct.Struct("<16xHHIQQQIHHHHHH" if wide else "<16xHHIIIIIHHHHHH")
        self.section = struct.Struct("<IIQQQQIIQQ" if wide else "<IIIIIIIIII")
        self.symbol = struct.Struct("<IBBHQQ" if wide else "<IIIBBH")

    def fields(self, raw):
        if self.wide:
            name, info, _, index, value, size = raw
        else:
            name, value, size, info, _, index = raw
        return name, value, size, info, index


def _open(path):
    data = Path(path).read_bytes()
    if data[:4] != b"\x7fELF" or len(data) < 52 or data[4] not in (1, 2) or data[5] != 1:
        raise KitError(f"{Path(path).name} is no little-endian ELF file; pass the .elf of a CompileReport")
    layout = _Layout(wide=data[4] == 2)
    try:
        *_, offset, _, _, _, _, size, count, names = layout.header.unpack_from(data)
        if size != layout.section.size or count > _MAX:
            raise struct.error(f"section headers of {size} bytes")
        raw = [layout.section.unpack_from(data, offset + i * size) for i in range(count)]
    except struct.error as error:
        raise KitError(f"{Path(path).name} is damaged ({error}); compile it again") from None
    keys = ("name", "type", "flags", "address", "offset", "size", "link")
    sections = [dict(zip(keys, r, strict=False)) for r in raw]
    strings = _bytes(data, sections[names]) if names < len(sections) else b""
    for s in sections:
        s["name"] = _text(strings, s["name"])
    return sections, data, layout


def _bytes(data, section):
    return b"" if section["type"] == _NOBITS else data[section["offset"]:section["offset"] + section["size"]]


def _text(strings, at):
    return strings[at:strings.find(b"\0", at)][:200].decode("utf-8", "replace") if at < len(strings) else ""
