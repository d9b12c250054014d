"""What a reader would stumble over in a chapter, found before the reader does. book/AUTHORS.md says why each is asked for.

check() reads sources alone; whether numbers hold is what a build finds out. A finding is "file:line: what; what is wanted".
"""

import importlib
import re
from collections import Counter
from pathlib import Path

from ..errors import CourseError
from .figures import figure_names
from .site import front_matter

WORDS, FIGURES, EXERCISES, OBJECTIVES = (5000, 8000), (6, 12), (8, 12), (4, 8)
HARDEST, LONGEST = 14.0, 60         # school years that a text may ask for (Flesch-Kincaid), words of a sentence
REPEATED = 12                       # words in a row that no two paragraphs share
SECTIONS = ("Fallacies and pitfalls", "Exercises", "Key terms")
VERBS = ("apply", "audit", "calculate", "choose", "close", "compare", "count", "decide", "defend", "derive", "design", "detect",
         "diagnose", "estimate", "explain", "find", "measure", "model", "place", "predict", "rank", "size", "weigh")
_OPEN = re.compile(r"^(\s*)(`{3,}|:{3,}|~{3,})\{([\w:+.-]+)\}\s*(.*)$")
_UNIT = (r"(?:%|[kKMGTP]?i?B(?:/s)?|[µmn]?s|ms|min|h|hours?|seconds?|minutes?|days?|[kMGTP]?(?:FLOP|OP)(?:/s)?|[kMG]?W|k?Wh|[mk]?J|USD|"
         r"GHz|MHz|tokens?(?:/s| a second)?|requests?(?:/s| a second)?|pictures?(?:/s| a second)?|times)")
_TYPED = re.compile(rf"(?<![\w.,$/-])(\d[\d,]*(?:\.\d+)?)(?:\s|-|\u00a0)?({_UNIT})(?![\w/])")


def check(course, chapters=None):
    """Findings in the chapters given by path, or in all that are written; of outlines only what they promise."""
    root, found, seen = course.root / "book", [], {}
    paths = [Path(p) for p in chapters] if chapters else [root / f"{c.file}.md" for c in course.chapters]
    keys = set(re.findall(r"^@\w+\{([^,\s]+),", _read(root / "references.bib"), re.M))
    for path in paths:
        text = _read(path)
        page = Page(path, text, path.resolve().relative_to(course.root) if path.resolve().is_relative_to(course.root) else path)
        found += page.functions()
        if front_matter(text).get("outline") != "true":
            found += [*page.shape(), *page.numbers(), *page.exercises(), *page.references(keys), *page.prose(), *page.repeated(seen)]
        else:
            found += [*page.plan(), *page.repeated(seen)]
    return found + list(_references(root / "references.bib", course.root))


def _read(path):
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise CourseError(f"{path}: cannot be read ({error.strerror}); wants a chapter, such as book/vol1/13_model_serving.md") from None


class Page:
    """A chapter's source: its cells, and its prose line by line with everything else blanked."""

    def __init__(self, path, text, shown):
        self.text, self.shown, self.cells = text, shown, []
        lines, prose, stack = text.split("\n"), [], []
        end = lines.index("---", 1) if lines[0] == "---" and "---" in lines[1:] else -1
        code = []
        for i, line in enumerate(lines):
            top = stack[-1] if stack else None
            if i <= end:
                prose.append("")
            elif top and re.fullmatch(rf"\s*{re.escape(top[0][0])}{{{len(top[0])},}}\s*", line):
                stack.pop()
                if top[1] == "code-cell":
                    self.cells.append((top[2], "\n".join(code)))
                prose.append("")
            elif top and top[1] in ("code-cell", "code", "plain", "math", "raw", "bibliography"):
                code.append(line)
                prose.append("")
            elif match := _OPEN.match(line):
                stack.append((match[2], match[3], i + 1))
                code = []
                prose.append("")
            elif fence := re.match(r"^\s*(`{3,}|~{3,})\w*\s*$", line):
                stack.append((fence[1], "plain", i + 1))
                prose.append("")
            else:
                prose.append("" if re.match(r"^\s*:[\w-]+:( |$)", line) or re.match(r"^\(.*\)=$", line) else line)
        self.lines = prose
        self.code = "\n".join(source for _, source in self.cells)

    def at(self, line, message):
        return f"{self.shown}:{line}: {message}"

    def body(self):
        """Prose up to the exercises, as one text."""
        text = "\n".join(self.lines)
        return text.split("\n## Exercises")[0]

    def shape(self):
        """Sections, objectives, length and figures of a chapter."""
        front, headings = front_matter(self.text), [(i, h[1]) for i, x in enumerate(self.lines, 1) if (h := re.match(r"^#{1,2} (.+)$", x))]
        for field in ("title", "number", "volume", "minutes"):
            if not front.get(field):
                yield self.at(1, f"front matter has no {field}")
        for name in SECTIONS:
            if not any(name in h for _, h in headings):
                yield self.at(1, f"has no section {name!r}")
        wanted = ("{where-used}", "{bibliography}", "**The question.**")
        yield from (self.at(1, f"lacks {token}") for token in wanted if token not in self.text)
        count = len(re.findall(r"[^\W\d_][\w'’-]*", re.sub(r"\{[\w:]+\}`[^`]*`|\$[^$]*\$", "x", "\n".join(self.lines))))
        if not WORDS[0] <= count <= WORDS[1]:
            yield self.at(1, f"has {count:,} words of prose; wants {WORDS[0]:,} to {WORDS[1]:,}")
        names = figure_names(self.code)
        if not FIGURES[0] <= len(names) <= FIGURES[1]:
            yield self.at(1, f"has {len(names)} figures; wants {FIGURES[0]} to {FIGURES[1]}")
        if not re.search(r"^live\(", self.code, re.M):
            yield self.at(1, "has no live figure; wants one at least")
        for name in names:
            if f"{{glue:}}`fig-{name}`" not in self.text:
                yield self.at(self.line_of(f'"{name}"'), f"no sentence refers to figure {name!r} by {{glue:}}`fig-{name}`")
        goals = re.findall(r"^- \*\*(\w+)", "\n".join(self.lines[: next((i for i, h in headings if re.match(r"1\. ", h)), 80)]), re.M)
        if not OBJECTIVES[0] <= len(goals) <= OBJECTIVES[1]:
            yield self.at(1, f"has {len(goals)} objectives that begin with a verb in bold; wants {OBJECTIVES[0]} to {OBJECTIVES[1]}")
        yield from (self.at(1, f"objective {g!r} cannot be tested; wants one of {', '.join(VERBS)}") for g in goals if g not in VERBS)

    def plan(self):
        """Of an outline: a question, objectives, functions that exist and planned sections."""
        for name in ("## Objectives", "## Models", "## Plan"):
            if name not in self.text:
                yield self.at(1, f"the outline has no {name!r}")
        if len(re.findall(r"^\d+\. ", self.text, re.M)) < 5:
            yield self.at(1, "the outline plans fewer than five sections")

    def line_of(self, piece):
        at = self.text.find(piece)
        return self.text.count("\n", 0, at) + 1 if at >= 0 else 1

    def functions(self):
        """`mlsysim.…` in the text stands for something that can be called."""
        for i, line in enumerate(self.lines, 1):
            for name in re.findall(r"`(mlsysim(?:\.\w+)+)`", line):
                if not callable(_resolve(name)):
                    yield self.at(i, f"`{name}` is nothing in MLSys·im that can be called")

    def numbers(self):
        """Typed-in numbers with a unit that no cell has as an input; glued names that no cell gives; texts with digits."""
        inputs = literals(self.code)
        for i, line in enumerate(self.lines, 1):
            for number, unit in typed_in(line, inputs):
                yield self.at(i, f"'{number} {unit}' is typed in; a result wants number() and {{glue:text}}, an input a cell")
        given = set(re.findall(r"\b(?:number|exercise_key)\(\s*f?\"([a-z0-9{}:.-]+)\"", self.code))
        given |= {f"fig-{n}" for n in figure_names(self.code)}
        patterns = [re.compile(re.sub(r"\\\{.*?\\\}", r"[a-z0-9.-]+", re.escape(g)) + "$") for g in given]
        for i, line in enumerate(self.text.split("\n"), 1):
            for name in re.findall(r"\{glue:(?:text)?\}`([\w-]+)", line):
                if not any(p.match(name) for p in patterns):
                    yield self.at(i, f"{{glue}} {name!r} is given by no cell")
        for start, source in self.cells:
            for call in re.finditer(r"\bnumber\((?:[^()]|\([^()]*\))*?text=\"([^\"]*\d[^\"]*)\"", source):
                line = start + source.count("\n", 0, call.start()) + 1
                yield self.at(line, f"text={call[1]!r} has a digit typed in; make it from the value")
        used = {n.split(":")[0] for n in re.findall(r"\{glue:(?:text)?\}`([\w:-]+)", self.text)}
        for name in sorted(g for g in given if "{" not in g and not g.startswith("fig-") and g not in used):
            yield self.at(self.line_of(f'"{name}"'), f"{name!r} is computed and guarded, and no sentence uses it")

    def exercises(self):
        """Numbers of exercises, their difficulty, solutions, and keys for half of them."""
        found = re.findall(r"^(`{3,}|:{3,})\{exercise\}.*?\n(.*?)^\1\s*$", self.text, re.S | re.M)
        solutions = set(re.findall(r"\{solution\} (\S+)", self.text))
        if not EXERCISES[0] <= len(found) <= EXERCISES[1]:
            yield self.at(1, f"has {len(found)} exercises; wants {EXERCISES[0]} to {EXERCISES[1]}")
        keys = set(re.findall(r"exercise_key\(\s*\"([\w-]+)\"", self.code))
        with_key, levels = 0, []
        for _, body in found:
            label = next(iter(re.findall(r":label: (\S+)", body)), None)
            line = self.line_of(f":label: {label}") if label else self.line_of(body[:40])
            level = re.search(r"^\[(\d\d)\]", body, re.M)
            levels += [level[1]] if level else []
            with_key += any(f"`{k}`" in body for k in keys)
            if not level or level[1] not in ("10", "15", "20", "25", "30", "40"):
                yield self.at(line, "the exercise has no difficulty; wants [10], [15], [20], [25], [30] or [40] first")
            if label not in solutions:
                yield self.at(line, f"exercise {label!r} has no {{solution}}")
        if found and 2 * with_key < len(found):
            yield self.at(1, f"{with_key} of {len(found)} exercises have a key; wants half of them")
        if found and len(set(levels)) < 3:
            yield self.at(1, f"exercises have the difficulties {', '.join(sorted(set(levels)))}; wants three or more")
        if found and not re.search(r"exercise_key\(\s*\"[\w-]+\",\s*(\{|[a-z_]+,)", self.code):
            yield self.at(1, "no exercise has a parameter; wants exercise_key(name, {choice: value, ...})")

    def references(self, keys):
        for i, line in enumerate(self.lines, 1):
            for key in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", line):
                yield from (self.at(i, f"reference {k!r} is not in book/references.bib") for k in key.split(",") if k.strip() not in keys)
            for url in re.findall(r"\]\((https?://[^)]*)\)|<(https?://[^>]*)>", line):
                yield self.at(i, f"{''.join(url)} is linked from the text; outside addresses belong in references.bib")
            for target in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", line):
                if not (Path(self.shown).parent / target.split("#")[0]).exists() and not Path(target).exists():
                    yield self.at(i, f"link to {target} leads nowhere")

    def prose(self):
        """Sentences that are too long, a text that is too hard."""
        sentences = []
        for line, paragraph in self.paragraphs():
            if paragraph.lstrip().startswith(("|", "- ", "#", "$$")):
                continue
            for sentence in re.split(r"(?<=[.?!])\s+(?=[A-Z*{])", _plain(paragraph)):
                words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", sentence)
                if len(words) > LONGEST:
                    yield self.at(line, f"a sentence of {len(words)} words ('{' '.join(words[:6])} …'); wants {LONGEST} at most")
                if len(words) > 2:
                    sentences.append(words)
        if sentences:
            grade = reading_level(sentences)
            if grade > HARDEST:
                yield self.at(1, f"reads at grade {grade:.1f} (Flesch-Kincaid); wants {HARDEST:g} or less, by shorter sentences")

    def paragraphs(self):
        """(first line, text) of each paragraph of prose."""
        start, block = 1, []
        for i, line in enumerate([*self.lines, ""], 1):
            if line.strip():
                if not block:
                    start = i
                block.append(line)
            elif block:
                yield start, "\n".join(block)
                block = []

    def repeated(self, seen):
        """Runs of words that another paragraph has as well, here or in another chapter."""
        for line, paragraph in self.paragraphs():
            words = re.findall(r"[^\W_]+", _plain(paragraph).lower())
            for i in range(len(words) - REPEATED + 1):
                run = tuple(words[i : i + REPEATED])
                first = seen.setdefault(run, (self.shown, line))
                if first != (self.shown, line):
                    yield self.at(line, f"'{' '.join(run[:6])} …' stands at {first[0]}:{first[1]} as well; say it once")
                    break


def literals(code):
    """Values of the numbers that are written in Python code."""
    return {float(x.replace("_", "")) for x in re.findall(r"(?<![\w.])\d[\d_]*\.?\d*(?:e[+-]?\d+)?", code)}


def typed_in(line, inputs):
    """(number, unit) of each number with a unit in a line of prose that is not among the inputs, in whatever prefix."""
    plain = re.sub(r"\{[\w:]+\}`[^`]*`|`[^`]*`|\$[^$]*\$|\]\([^)]*\)", " ", line)
    for number, unit in _TYPED.findall(plain):
        value = float(number.replace(",", ""))
        scaled = {value, value / 100} if unit == "%" else {value * s for s in (1, 1e-3, 1e-6, 1e-9, 1e3, 1e6, 1e9)}
        if not any(abs(v - x) <= 1e-9 * abs(v) for v in scaled for x in inputs):
            yield number, unit


def _plain(paragraph):
    text = re.sub(r"\{cite(?::\w+)?\}`[^`]*`", "", paragraph)
    return re.sub(r"\$[^$]*\$|\{[\w:]+\}`[^`]*`|`[^`]*`", " x ", text).replace("**", "").replace("\n", " ")


def reading_level(sentences):
    """Flesch-Kincaid grade of lists of words; syllables are runs of vowels. Source: Kincaid et al. 1975."""
    words = [w for s in sentences for w in s]
    syllables = sum(max(1, len(re.findall(r"[aeiouy]+", re.sub(r"e$", "", w.lower())))) for w in words)
    return 0.39 * len(words) / len(sentences) + 11.8 * syllables / len(words) - 15.59


def _resolve(name):
    root, *rest = name.split(".")
    found = importlib.import_module(root)
    for i, part in enumerate(rest, 1):
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(".".join([root, *rest[:i]]))
            except ImportError:
                return None
    return found


def _references(path, root):
    """Entries without a DOI or address, and keys that are taken."""
    text, shown = _read(path), path.relative_to(root)
    entries = re.findall(r"^@\w+\{([^,\s]+),(.*?)^\}", text, re.M | re.S)
    for key, count in Counter(k for k, _ in entries).items():
        if count > 1:
            yield f"{shown}:1: {key} is there {count} times"
    for key, fields in entries:
        if not re.search(r"^\s*(doi|url)\s*=\s*\{\S+\}", fields, re.M):
            yield f"{shown}:{text[: text.index(key)].count(chr(10)) + 1}: {key} has neither doi nor url"
