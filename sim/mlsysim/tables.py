"""Tables of figures: TOML files under data/, cut at their headers and parsed one record at a time.

A figure is an array: text, key of its source, kind, relative uncertainty, note; the last three have defaults.

    [sources.l4]
    title = "NVIDIA L4 Tensor Core GPU datasheet"
    date = "2023"
    url = "https://..."

    [l4]
    bandwidth = ["300 GB/s", "l4"]
    peak.fp16 = ["121 TFLOP/s", "l4", "datasheet", 0, "printed with sparsity, halved"]

A whole file takes tomllib some 50 ms, one record a tenth of one; so a header stands alone at the start of its line, and
nothing else may start a line with a bracket.
"""

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache, cached_property
from pathlib import Path

from .constants import KINDS, Figure
from .errors import RangeError, SimError, clip, unknown
from .units import parse

DATA = Path(__file__).parent / "data"
_HEADER = re.compile(r'^\[(?:"([^"\n]+)"|([\w.-]+))\][ \t]*(?:#.*)?$', re.M)
_DATE = re.compile(r"(?:19|20)\d\d(?:-(?:0[1-9]|1[0-2]))?")


@cache
def table(path):
    """The Table in data/`path`, such as "devices/cloud.toml", or in any file by its full path; nothing is read yet."""
    return Table(path)


class Table:
    """One TOML file of records and their sources. Errors name the file, the record and the field."""

    def __init__(self, path):
        self.path = path
        self._sources = {}

    @cached_property
    def sections(self):
        """Header -> (its line, its text), in the order of the file."""
        text = (DATA / self.path).read_text(encoding="utf-8")
        found = list(_HEADER.finditer(text))
        ends = [m.start() for m in found[1:]] + [len(text)]
        sections = {}
        for m, end in zip(found, ends, strict=True):
            header = m[1] or m[2]
            if header in sections:
                raise SimError(f"{self.path}: [{header}] appears twice")
            sections[header] = text.count("\n", 0, m.start()), text[m.end() : end]
        return sections

    @property
    def names(self):
        return [header for header in self.sections if not header.startswith("sources.")]

    def read(self, header):
        """The section as tomllib reads it: a dict of text, numbers, arrays and dicts."""
        import tomllib

        line, text = self.sections[header]
        try:
            return tomllib.loads("\n" * line + text)
        except tomllib.TOMLDecodeError as error:
            raise SimError(f"{self.path}: [{header}]: {error}") from None

    def source(self, key):
        """(title, date, url) of [sources.`key`]."""
        if key not in self._sources:
            if f"sources.{key}" not in self.sections:
                raise unknown("source", key, [s[8:] for s in self.sections if s.startswith("sources.")])
            got = self.read(f"sources.{key}")
            if set(got) != {"title", "date", "url"} or not all(isinstance(v, str) for v in got.values()):
                raise SimError(f"[sources.{key}] has {', '.join(got)}; wanted title, date and url, all text")
            if not _DATE.fullmatch(got["date"]) or not re.match(r"https?://\S+$", got["url"]):
                raise SimError(f"[sources.{key}]: wanted a date such as '2024-03' and a url; got {clip(got, 120)}")
            self._sources[key] = got["title"], got["date"], got["url"]
        return self._sources[key]

    def figure(self, raw, unit):
        """A Figure of the kind `unit` from its array, or a dict of them from a table of arrays."""
        if isinstance(raw, dict):
            return {key: self.figure(value, unit) for key, value in raw.items()}
        text, key, kind, spread, note = _array(raw)
        value = parse(text, unit)[0]
        if not value > 0:
            raise RangeError(f"got {text!r}; wanted more than 0")
        title, date, url = self.source(key)
        return Figure(value, text.partition(" ")[2].strip(), title, date, kind, float(spread), note, url)

    def fields(self, name, cls, units):
        """Keyword arguments of dataclass `cls` from record `name`; `units` says which fields are figures, in what."""
        known = {f.name: f for f in fields(cls)}
        got = {}
        for key, raw in self.read(name).items():
            where = f"{self.path}: [{name}] {key}"
            if key not in known:
                raise SimError(f"{where}: {unknown('field', key, list(known))}")
            try:
                got[key] = self.figure(raw, units[key]) if key in units else raw
            except SimError as error:
                raise type(error)(f"{where}: {error}") from None
        missing = [f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING]
        missing = [key for key in missing if key not in got and key != "name"]
        return got | {"name": name}, missing


def _array(raw):
    if not isinstance(raw, list) or not 2 <= len(raw) <= 5:
        raise SimError(f"got {clip(raw)}; wanted [text, source, kind, uncertainty, note], the last three optional")
    text, key, kind, spread, note = (*raw, *("datasheet", 0.0, "")[len(raw) - 2 :])
    if not all(isinstance(x, str) for x in (text, key, kind, note)) or kind not in KINDS:
        raise SimError(f"got {clip(raw)}; wanted text, source, one of {', '.join(KINDS)}, a number, a note")
    if isinstance(spread, bool) or not isinstance(spread, int | float) or not 0 <= spread < 1:
        raise SimError(f"got an uncertainty of {clip(spread)}; wanted a number from 0 to below 1")
    if kind == "estimate" and not (spread and note):
        raise SimError(f"{text!r} is an estimate: it needs an uncertainty above 0 and a note that says how")
    return text, key, kind, spread, note


class Registry(Mapping):
    """Records of one class by name, in one or more files, each made when it is first asked for.

    finish(path, fields) fills in what the file leaves out.
    """

    def __init__(self, kind, cls, units, *paths, finish=lambda path, got: got):
        self.kind, self.cls, self.units, self.paths, self.finish = kind, cls, units, paths, finish
        self.made = {}

    @cached_property
    def where(self):
        """Name -> path of the file that has it."""
        where = {}
        for path in self.paths:
            for name in table(path).names:
                if name in where:
                    raise SimError(f"{path}: [{name}] is already in {where[name]}")
                where[name] = path
        return where

    def find(self, name):
        """The record called `name`, read with any capitals, spaces or underscores; a record passes as it is."""
        if isinstance(name, self.cls):
            return name
        try:
            return self.made[name]
        except (KeyError, TypeError):
            key = str(name).strip().lower().replace("_", "-").replace(" ", "-")
            if key not in self.where:
                raise unknown(self.kind, name, list(self.where)) from None
            return self[key]

    def __getitem__(self, name):
        if name not in self.made:
            path = self.where[name]
            got, missing = table(path).fields(name, self.cls, self.units)
            try:
                got = self.finish(path, got)
            except SimError as error:
                raise type(error)(f"{path}: [{name}]: {error}") from None
            except KeyError as error:
                raise SimError(f"{path}: [{name}] lacks {error.args[0]}") from None
            missing = [key for key in missing if key not in got]
            if missing:
                raise SimError(f"{path}: [{name}] lacks {', '.join(missing)}")
            self.made[name] = self.cls(**got)
        return self.made[name]

    def __iter__(self):
        return iter(self.where)

    def __len__(self):
        return len(self.where)
