"""Mark schemes as data, from where notebooks have them: nothing is written twice, so a page or a list shows what a grader marks by.

`schemes` reads the rubric cells of author sources, `challenges` the designs of StaffML, `DECISION` the shares by which the judge scores.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from ..errors import CourseError, SourceError
from ..labs.decision import EVIDENCE, SHARES, TEXTS, WORDS

_CELL = re.compile(r'^# %% \[markdown\] rubric="(\w+)" points=([\d.]+)\n((?:#.*\n)+)', re.M)
_SCHEME = re.compile(r"### BEGIN MARK SCHEME\n(.*?)\n### END MARK SCHEME", re.S)
_NUMBERED = re.compile(r"^(?:\d+\.|\*|-) +", re.M)
_POINTS = re.compile(r"(?:[*-] )?(\d+(?:\.\d+)?) points?: +")


@dataclass(frozen=True)
class Scheme:
    """How free text is marked. criteria: ((points, text), ...); where they are worth more than `points`, the first that are met count."""

    where: str                      # tinytorch/01_tensor
    name: str
    points: float
    question: str
    criteria: tuple[tuple[float, str], ...]
    before: str = ""                # what stands above and below the criteria
    after: str = ""

    @property
    def capped(self):
        return sum(p for p, _ in self.criteria) > self.points


def schemes(course):
    """The scheme of every rubric cell -> [Scheme], in the order of the catalogue. Raises SourceError."""
    return [s for a in course.assignments if a.author_source.is_file() for s in read(a.author_source, a.name)]


def texts(root):
    """All schemes below a course's folder, as texts: a page that shows them is out of date when these have changed."""
    return [repr(s) for path in sorted((root / "modules").glob("*/*/*.py")) for s in read(path, path.stem)]


def find(course, where, name=None):
    """The schemes of an assignment, or the one called `name`."""
    found = [s for s in read(course.find(where).author_source, course.find(where).name) if name in (None, s.name)]
    if not found:
        raise CourseError(f"{where} has no rubric{f' {name!r}' if name else ''}; `mlsys rubric` lists all")
    return found


def read(path, where):
    """The schemes of one author source."""
    text = Path(path).read_text(encoding="utf-8")
    for cell in _CELL.finditer(text):
        body = "\n".join(line[2:] for line in cell[3].splitlines())
        scheme = _SCHEME.search(body)
        line = text[:cell.start()].count("\n") + 1
        if not scheme:
            raise SourceError(path, line, f"rubric={cell[1]!r} has no mark scheme")
        before, criteria, after = parse(scheme[1])
        points = float(cell[2])
        worth = sum(p for p, _ in criteria)
        if not criteria or worth < points or worth > points and "at most" not in before:
            raise SourceError(path, line, f"rubric={cell[1]!r}: the criteria are worth {worth:g} of {points:g} points; write "
                                          "`One point each:` and a list, or `2 points: ...`")
        yield Scheme(where, cell[1], points, body[:scheme.start()].strip(), criteria, before, after)


def parse(text):
    """A mark scheme -> (what stands before the criteria, ((points, criterion), ...), what stands after)."""
    blocks, before, after, found, each = text.strip().split("\n\n"), [], [], [], 0.0
    for block in blocks:
        flat = " ".join(block.split())
        if re.match(r"(?:[*-] )?\d+(?:\.\d+)? points?:", flat):
            for part in re.split(r"\n(?=[*-] )", block) if block[0] in "*-" else [block]:
                words = " ".join(part.split())
                match = _POINTS.match(words)
                found.append((float(match[1]), words[match.end():]))
        elif each and _NUMBERED.match(block):
            found += [(each, " ".join(part.split())) for part in _NUMBERED.split(block) if part.strip()]
        elif re.search(r"[Oo]ne point each[^.]*:$", flat):
            each = 1.0
            before.append(flat)
        else:
            (after if found else before).append(flat)
    return "\n\n".join(before), tuple(found), "\n\n".join(after)


def decision():
    """The scheme of every decision: the shares by which the judge scores, and what a person reads."""
    binding, evidence, written = SHARES
    return Scheme("labs and kits", "decision", 1.0, "claim, binding, evidence, rejected, risk", (
        (float(binding), "binding names the limit that the model of the lab finds for this student's numbers."),
        (float(evidence), f"evidence names {EVIDENCE} different answers of the notebook that are right, a third of this share each."),
        (float(written), f"{', '.join(TEXTS[:-1])} and {TEXTS[-1]} are there: {WORDS} words or more, the student's own and different from "
                         "each other, a third of this share each.")))


@cache
def challenges():
    """Design challenges of StaffML with the numbers of one variant -> [Scheme] of 1 point, whose criteria are shares."""
    from staffml.parts import Design
    from staffml.pools import draws, variant
    from staffml.template import load, names
    from staffml.worked import worked

    found = []
    for t in map(load, names()):
        if any(isinstance(part, Design) for part in t.parts):
            i = draws(t.name)["draws"][0]
            told = worked(t, i, variant(t, i))
            found += [Scheme(t.name, part["name"], 1.0, f"{told['prompt']} {part['question']}", tuple(part["rubric"]), t.title)
                      for part in told["parts"] if part["rubric"]]
    return found


@cache
def calibration():
    """Sample answers with their points -> [{"title", "scheme" | "decision", "answers": [...]}], from calibration.yml."""
    return yaml.safe_load((Path(__file__).parent / "calibration.yml").read_text(encoding="utf-8"))


def hand_points(course):
    """Points by hand and in all -> {part: (by hand, all)}."""
    found = {}
    for a in course.assignments:
        hand, total = found.get(a.part, (0.0, 0.0))
        own = sum(s.points for s in read(a.author_source, a.name)) if a.author_source.is_file() else 0.0
        found[a.part] = hand + own, total + a.points
    return found


# Pages

def markdown(scheme, level=3):
    """A scheme as MyST: question, criteria as a list, what stands around them."""
    unit = lambda p: f"{p:g} point{'s' * (p != 1)}"  # noqa: E731
    head = f"{scheme.where}, `{scheme.name}`" if "/" in scheme.where else f"{scheme.where}: `{scheme.name}`"
    lines = [f"{'#' * level} {head} ({unit(scheme.points)}{', at most' if scheme.capped else ''})", "", scheme.question, ""]
    if scheme.before and not scheme.before.startswith("One point each:"):
        lines += [scheme.before, ""]
    lines += [*(f"- **{unit(p)}** {text}" for p, text in scheme.criteria), "", scheme.after, ""]
    return "\n".join(lines)


def fold(scheme):
    """A scheme behind its name, for a page with many of them."""
    head, _, rest = markdown(scheme).partition("\n")
    return f":::{{dropdown}} {head.lstrip('# ')}\n{rest.strip()}\n:::\n"


def weights_markdown(course):
    """What the plans propose, a column a term."""
    weights = course.schedule["weights"]
    parts = dict.fromkeys(part for shares in weights.values() for part in shares)
    rows = [f"| {part} | {' | '.join(str(shares.get(part, '')) for shares in weights.values())} |" for part in parts]
    return "\n".join([f"| per cent | {' | '.join(name.capitalize() for name in weights)} |", f"|---|{'---|' * len(weights)}", *rows]) + "\n"


def decision_markdown():
    """The shares of a decision as a table."""
    said = [f"| {s.numerator}/{s.denominator} | {text} |" for s, (_, text) in zip(SHARES, decision().criteria, strict=True)]
    return "\n".join(["| share of the points | for |", "|---|---|", *said]) + "\n"


def challenge_markdown(scheme):
    """A design challenge with its shares."""
    lines = [f"**{scheme.before}** (`staffml drill --template {scheme.where}`). {scheme.question}", "",
             *(f"- **{100 * share:g} %** {text}" for share, text in scheme.criteria), ""]
    return "\n".join(lines)


def calibration_markdown(level=3):
    """The samples: the answer, then its points and reasons in a fold."""
    lines = []
    for group in calibration():
        lines += [f"{'#' * level} {group['title']}", "", *([group["note"], ""] if "note" in group else [])]
        for n, a in enumerate(group["answers"], 1):
            lines += [f"**Answer {n}**", ""]
            if "decision" in a:
                d = a["decision"]
                lines += [f"> claim: {d['claim'] or '(empty)'}; binding: {d['binding']}; evidence: {', '.join(d['evidence'])}; "
                          f"rejected: {d['rejected'] or '(empty)'}; risk: {d['risk'] or '(empty)'}", "",
                          ":::{dropdown} Points and reasons", f"**{a['score']:g} points.** {a['reasons']}", ":::", ""]
                continue
            shares = sum(a["points"]) <= 1 and any(p % 1 for p in a["points"])
            total = f"{100 * sum(a['points']):g} %" if shares else f"{sum(a['points']):g} points"
            each = zip(a["points"], a["reasons"], strict=True)
            said = [f"{n}. {f'{100 * p:g} %' if shares else f'{p:g}'}: {why}" for n, (p, why) in enumerate(each, 1)]
            lines += [f"> {a['text']}", "", ":::{dropdown} Points and reasons", f"**{total}**", "", *said, ":::", ""]
    return "\n".join(lines)


def by_hand_markdown(course):
    """Points by hand and by machine, part by part."""
    names = {"tinytorch": "TinyTorch modules", "labs": "labs that are written", "kits": "kits", "drills": "drill sets"}
    lines = ["| part | notebooks | points | by hand |", "|---|---|---|---|"]
    for part, (hand, total) in hand_points(course).items():
        count = sum(a.part == part for a in course.assignments)
        lines.append(f"| {names[part]} | {count} | {total:g} | {hand:g} ({100 * hand / total:.0f} %) |")
    return "\n".join(lines) + "\n"
