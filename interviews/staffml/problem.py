"""The student's side: one baked variant, shown. It needs no template and holds no answer."""

import textwrap

_UNITS = {"": "a whole number", "B": "bytes", "s": "seconds", "FLOP": "floating-point operations", "J": "joules"}
_WIDTH = 100


class ProblemError(ValueError):
    """A variant that cannot be shown. One line."""


class Problem:
    """A drill with its numbers filled in, as text. `problem.layers` is a number of this student's, in SI units."""

    def __init__(self, variant):
        missing = [key for key in ("given", "prompt", "parts") if key not in variant]
        if missing:
            raise ProblemError(f"this variant has no {missing[0]!r}: fetch the assignment again")
        self.given = dict(variant["given"])
        self.prompt = variant["prompt"]
        self.parts = dict(variant["parts"])

    def __getattr__(self, name):
        given = self.__dict__.get("given", {})
        if name not in given:
            raise AttributeError(f"this problem does not give {name!r}; it gives {', '.join(given)}")
        return given[name]

    def __dir__(self):
        return [*super().__dir__(), *self.given]

    def __str__(self):
        paragraphs = [textwrap.fill(paragraph, _WIDTH) for paragraph in self.prompt.split("\n\n")]
        questions = [textwrap.fill(f"{i}. {part['question']} ({_form(part)})", _WIDTH, subsequent_indent="   ")
                     for i, part in enumerate(self.parts.values(), 1)]
        return "\n\n".join([*paragraphs, "\n".join(questions)])

    __repr__ = __str__

    def _repr_markdown_(self):
        questions = [f"{i}. {part['question']} *({_form(part)})*" for i, part in enumerate(self.parts.values(), 1)]
        return "\n\n".join([self.prompt, "\n".join(questions)])


def drill(variant):
    """Show a variant: `problem = drill(variant())`."""
    return Problem(variant)


def _form(part):
    """What an answer looks like, and how close it must be."""
    close = f"to within {100 * part['tolerance']:g} %" if part["tolerance"] else "exactly"
    return f"{_UNITS.get(part['unit'], part['unit'])}, {close}"
