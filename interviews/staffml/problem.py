"""The student's side: one baked variant, shown. It needs no template and holds no answer."""

import textwrap

_UNITS = {"": "a whole number", "B": "bytes", "s": "seconds", "h": "hours", "J": "joules", "FLOP": "floating-point operations",
          "OP": "operations"}
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
        self.parts = dict(sorted(variant["parts"].items(), key=lambda named: named[1].get("number", 0)))
        self.table = variant.get("table")

    def __getattr__(self, name):
        given = self.__dict__.get("given", {})
        if name not in given:
            raise AttributeError(f"this problem does not give {name!r}; it gives {', '.join(given)}")
        return given[name]

    def __dir__(self):
        return [*super().__dir__(), *self.given]

    def __str__(self):
        return self.scenario() + "\n\n" + "\n".join(self.question(i, part) for i, part in enumerate(self.parts.values(), 1))

    __repr__ = __str__

    def scenario(self):
        """The prompt and its table as text."""
        paragraphs = [textwrap.fill(paragraph, _WIDTH) for paragraph in self.prompt.split("\n\n")]
        return "\n\n".join([*paragraphs, self.table_text()] if self.table else paragraphs)

    def question(self, i, part):
        """Question number i as text, its choices below it."""
        text = textwrap.fill(f"{i}. {part['question']} ({form(part)})", _WIDTH, subsequent_indent="   ")
        return "\n".join([text, *(f"   {n}) {choice}" for n, choice in enumerate(part.get("choices", ()), 1))])

    def table_text(self):
        """The table as text, numbers to the right."""
        lines = [self.table["columns"], *self.table["rows"]]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return "\n".join("  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True)))
                         for line in lines)

    def _repr_markdown_(self):
        paragraphs = [self.prompt]
        if self.table:
            lines = [self.table["columns"], ["---", *["---:"] * (len(self.table["columns"]) - 1)], *self.table["rows"]]
            paragraphs.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        questions = []
        for i, part in enumerate(self.parts.values(), 1):
            questions.append(f"{i}. {part['question']} *({form(part)})*")
            questions += [f"   {n}) {choice}" for n, choice in enumerate(part.get("choices", ()), 1)]
        return "\n\n".join([*paragraphs, "\n".join(questions)])


def drill(variant):
    """Show a variant: `problem = drill(variant())`."""
    return Problem(variant)


def form(part):
    """What an answer looks like, and how close it must be."""
    kind = part.get("kind", "number")
    if kind in ("choice", "diagnosis"):
        return "the number of one choice"
    if kind == "design":
        return "in your own words, marked against a rubric"
    unit = _UNITS.get(part["unit"], part["unit"]) if part["unit"] or not part["tolerance"] else "a number"
    if kind == "fermi":
        return f"{unit}, within a factor of {part['within']:g}"
    return f"{unit}, {'to within {:g} %'.format(100 * part['tolerance']) if part['tolerance'] else 'exactly'}"
