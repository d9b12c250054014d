"""Questions as data: what the command line, plan files and sweeps ask, and the assertions that a plan makes of its answer.

    ask({"solve": "llama-3.1-8b", "device": "h100", "tokens": 1, "context": 4096})
    check({"serve": ..., "device": ..., "assert": {"tpot": "<= 30 ms"}})

A question has one verb, solve, serve or train, whose value is a model; all else are keyword arguments of that function,
numbers or text with a unit. train takes on = the name of a node and gpus. Published as JSON Schema by schema().
"""

import inspect
import re
from dataclasses import fields
from pathlib import Path

import numpy as np

from . import units
from .errors import SimError, clip, unknown
from .result import UNITS

# verb -> (module, function, arguments that are not keywords of it)
VERBS = {"solve": ("solving", ("device",)), "serve": ("serving", ("device",)), "train": ("training", ("on", "gpus"))}
TEXT = ("device", "on", "precision", "weights", "cache", "recompute", "logits", "launch", "execution")  # their values stay text
SHAPE = ("tokens", "context", "tp", "logits", "flash", "execution")  # of a model's graph, which solve passes on
_LIMIT = re.compile(r"\s*(<=|>=|<|>|==)\s*(.+)")


def function(verb):
    """The function that answers a verb. Raises UnknownName."""
    if verb not in VERBS:
        raise unknown("verb", verb, list(VERBS))
    from importlib import import_module

    return getattr(import_module(f".{VERBS[verb][0]}", __package__), verb)


def arguments(verb):
    """Argument -> its default (None where one has to be given) of a verb's question, the model apart."""
    given = {name: None for name in VERBS[verb][1]}
    for p in inspect.signature(function(verb)).parameters.values():
        if p.kind is p.KEYWORD_ONLY:
            given[p.name] = None if p.default is p.empty else p.default
    return given | ({name: None for name in SHAPE if name not in given} if verb == "solve" else {})


def value(name, text):
    """An argument from text: a number, a quantity with its unit, true or false, or a name."""
    if not isinstance(text, str) or name in TEXT:
        return text
    lowered = text.strip().lower()
    if lowered in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[lowered]
    got, unit = units.parse(text)
    if unit not in ("", "token"):
        return text  # the function reads the unit itself
    return int(got) if got == int(got) else got


def verb_of(question):
    """The verb of a question. Raises SimError unless there is exactly one."""
    if not isinstance(question, dict):
        raise SimError(f"a question is a table such as {{solve = 'resnet-50', device = 'h100'}}; got {clip(question)}")
    found = [v for v in VERBS if v in question]
    if len(found) != 1:
        raise SimError(f"a question has one of {', '.join(VERBS)}; got {', '.join(found) or ', '.join(map(str, question)) or 'nothing'}")
    return found[0]


def ask(question):
    """Answer a question -> a Solution, Serving or Training. Raises SimError that names the argument."""
    verb = verb_of(question)
    known = arguments(verb)
    given = {k: v for k, v in question.items() if k not in (verb, "assert", "title")}
    for name in given:
        if name not in known:
            raise unknown(f"argument of {verb}", name, sorted(known))
    given = {name: np.asarray(v) if isinstance(v, list) else value(name, v) for name, v in given.items()}
    missing = [name for name in VERBS[verb][1] if name not in given]
    missing += [p.name for p in inspect.signature(function(verb)).parameters.values()
                if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in given]  # fmt: skip
    if missing:
        raise SimError(f"{verb}: {', '.join(missing)} missing; wanted for example {_example(verb)}")
    if verb == "train":
        return function(verb)(question[verb], (given.pop("on"), given.pop("gpus")), **given)
    return function(verb)(question[verb], given.pop("device"), **given)


def _example(verb):
    return {
        "solve": "solve = 'resnet-50', device = 'a100', batch = 64",
        "serve": "serve = 'llama-3.1-8b', device = 'h100', batch = 16",
        "train": "train = 'gpt-3-175b', on = 'dgx-a100', gpus = 1024, batch = 1536, tokens = 2048, tp = 8, pp = 8",
    }[verb]


def unit_of(result, name):
    """Unit of a result's field. Raises UnknownName with the fields."""
    known = [f.name for f in fields(result) if f.repr]
    if name not in known:
        raise unknown(f"field of {type(result).__name__}", name, known)
    return UNITS.get(name, result.units.get(name, ""))


def check(question):
    """Answer a question and hold it to its assertions -> (result, [(text, met)]): assert = {tpot = "<= 30 ms"}."""
    result = ask(question)
    met = []
    for name, text in question.get("assert", {}).items():
        unit = unit_of(result, name)
        found = _LIMIT.fullmatch(str(text))
        if not found:
            raise SimError(f"assert {name}: got {clip(text)}; wanted a comparison such as '<= 30 {unit or ''}'".rstrip())
        sign, limit = found[1], units.parse(found[2], unit)[0]
        got = np.asarray(getattr(result, name), float)
        holds = {"<=": got <= limit, ">=": got >= limit, "<": got < limit, ">": got > limit, "==": got == limit}[sign]
        worst = got.max() if sign[0] == "<" else got.min()
        met.append((f"{name} {sign} {found[2].strip()}: it is {units.format(float(worst), unit)}", bool(np.all(holds))))
    return result, met


def read(path):
    """A question from a TOML or JSON file. Raises SimError with the place of a mistake."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SimError(f"{path}: {error.strerror}") from None
    try:
        if path.suffix == ".json":
            import json

            return json.loads(text)
        import tomllib

        return tomllib.loads(text)
    except ValueError as error:
        raise SimError(f"{path}: {error}") from None


def schema():
    """JSON Schema (2020-12) of a question and of a result."""
    number = {"anyOf": [{"type": "number"}, {"type": "string", "description": "a quantity with its unit, such as '512 token'"},
                        {"type": "array", "items": {"type": "number"}}]}  # fmt: skip
    text, flag = {"type": "string"}, {"type": "boolean"}
    verbs = []
    for verb in VERBS:
        known = arguments(verb)
        kinds = {n: text if n in TEXT else flag if isinstance(d, bool) or n == "flash" else number for n, d in known.items()}
        common = {"assert": {"type": "object", "additionalProperties": text}, "title": text}
        verbs.append({"type": "object", "required": [verb, *VERBS[verb][1]], "additionalProperties": False,
                      "properties": {verb: {**text, "description": "name of a model"}, **kinds, **common}})  # fmt: skip
    term = {"type": "object", "required": ["name", "value", "unit"], "properties": {
        "name": text, "value": {"type": ["number", "array"]}, "unit": text, "formula": text, "source": text,
        "join": {"enum": ["sum", "max", "overlap", "product"]}, "parts": {"type": "array", "items": {"$ref": "#/$defs/term"}}}}  # fmt: skip
    result = {"type": "object", "required": ["result", "seconds"], "properties": {
        "result": text, "tree": {"$ref": "#/$defs/term"},
        **{name: {"description": unit or "a share or a count"} for name, unit in UNITS.items()}}}  # fmt: skip
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "MLSys·im",
            "oneOf": [{"$ref": "#/$defs/question"}, {"$ref": "#/$defs/result"}],
            "$defs": {"question": {"oneOf": verbs}, "result": result, "term": term}}  # fmt: skip
