"""Ask the book: the passages that answer a question, each with its place, or the word that the book does not answer.

BM25 over passages (Robertson and Zaragoza 2009) and the share of the question's information that one passage covers. The browser does
the same in book/companion/js/bm25.js; a test holds both to the same ranks and scores.
"""

import math
import re
import unicodedata
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path

from ..errors import CourseError

# k1 and b are the usual ones. floor: a passage counts as no shorter than this share of the mean, or a line of the glossary would win
# against the section that explains. phrase: weight of several words that are one name. other: that of a word which only another name
# brings in. together: weight of all questions that a section is known to answer, as one text, beside that of the closest of them.
# threshold: evidence that an answer needs, the best score times the largest share of the question's information that one passage
# covers; set by tests/companion/calibration.yml. share: what a further passage must have of the evidence of the first.
PARAMETERS = {"k1": 1.2, "b": 0.75, "floor": 0.6, "phrase": 0.6, "other": 0.5, "together": 0.3, "threshold": 7.0, "answers": 3,
              "share": 0.35}
STOPWORDS = set("""
a about above across actually after again against ago all almost along already also although always am among an and another any
anybody anyone anything anyway anywhere are around as ask asked at away back be became because become becomes been before behind
being below beside besides between beyond both bring brings brought but by call called came can cannot come comes coming could
course dear define definition describe did difference do does doing done down during each either else enough especially etc even
ever every everybody everyone everything explain far feel few find for found from further gave get gets getting give given gives
giving go goes going gone good got had happen happened happens hardly has have having he help helps her here hers him his hold how
however i if in indeed inside instead into is it its itself just keep keeps kind know known last least left let lets like likely
ll look looks lot made mainly make makes making many may maybe me mean means meant mention might mine more most mostly much must
my myself name namely near need needs neither never next no nobody nor not nothing now of off okay on once one ones only onto or
other others otherwise ought our ours out over own part people per perhaps please possible probably problem put puts quite rather
re real really regarding right s same saw say saying says see seem seems seen several shall she should show since so some somebody
somehow someone something sometimes somewhere sort still such suddenly suppose sure take taken takes taking talk tell tells than
thank thanks that the their theirs them themselves then there therefore these they thing things think this those though through
throughout thus to together too toward towards tried tries true try trying turn turns under understand unless until up upon us use
used useful uses using usually various ve very via want wants was way ways we well went were what whatever when whenever where
wherever whether which while who whoever whole whom whose why will wish with within without wonder work works would wrong yes yet
you your yours yourself
""".split())
BRIEF = 40                                      # words of an extract, where the passage has them
_WORD = re.compile(r"[^\W_]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


class AskError(CourseError):
    """There is no index to ask, or it is of another version."""


@dataclass(frozen=True)
class Answer:
    """One passage that answers: where it stands, the sentences that fit best, and how much of the question it covers (0 to 1)."""

    id: str
    page: str
    anchor: str
    chapter: str
    heading: str
    text: str
    score: float
    coverage: float


@dataclass(frozen=True)
class Reply:
    """Answers to a question, best first; none where the book does not answer. `unknown` are words that it never uses."""

    question: str
    answered: bool
    answers: tuple[Answer, ...]
    evidence: float
    coverage: float
    unknown: tuple[str, ...]

    def as_dict(self):
        return asdict(self)


def words(text):
    """Words of a text in lower case; a run of Chinese, Japanese or Korean characters becomes its overlapping pairs."""
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    found = []
    for word in _WORD.findall(re.sub(r"'s\b", "", text)):
        at = 0
        for run in _CJK.finditer(word):
            found += _latin(word[at:run.start()])
            found += [run[0][i:i + 2] for i in range(max(1, len(run[0]) - 1))]
            at = run.end()
        found += _latin(word[at:])
    return found


def _latin(word):
    return [word] if len(word) > 1 or word.isdigit() else []


def stem(word):
    """Porter's stem of an English word; anything else stays as it is.

    -bly and -logy are taken off first: implementations of Porter's algorithm differ there, and the browser's must not differ from this.
    """
    if not re.fullmatch(r"[a-z]{3,}", word):
        return word
    return _porter().stemWord(re.sub(r"logy$", "log", re.sub(r"bly$", "ble", word)))


@cache
def _porter():
    import snowballstemmer

    return snowballstemmer.stemmer("porter")


def load(site):
    """The index of a built site -> Book. Raises AskError where there is none."""
    from .build import FOLDER, unscript
    from .passages import NAME

    path = Path(site) / FOLDER / f"{NAME}.js"
    try:
        data = unscript(path.read_text(encoding="utf-8"))
    except OSError:
        raise AskError(f"{path}: no index of passages there; build the book with `mlsys book`, or name its folder with --site") from None
    if data.get("version") != 2:
        raise AskError(f"{path}: is of version {data.get('version')!r}, wants 2; build the book again with `mlsys book`")
    return Book(data)


class Book:
    """An index of passages, ready to be asked."""

    def __init__(self, data):
        self.data, self.parameters = data, data["parameters"]
        self.passages, self.stopwords = data["passages"], set(data["stopwords"])
        self.sections = [p["id"].rpartition("/")[0] for p in self.passages]

    @cached_property
    def phrases(self):
        """Names of several words, as stems: what they mean together is not what they mean apart."""
        names = [n for group in self.data["names"] for n in group] + [n for t in self.data["terms"] for n in re.split(r"[,()]", t["term"])]
        return {" ".join(s) for s in (list(map(stem, words(n))) for n in names) if 2 <= len(s) <= 3}

    def tokens(self, text):
        """Stems of a text in their order, then the phrases in it."""
        found = list(map(stem, words(text)))
        runs = [" ".join(found[i:i + n]) for n in (2, 3) for i in range(len(found) - n + 1)]
        return found + [run for run in runs if run in self.phrases]

    @cached_property
    def counts(self):
        """Tokens of each passage and its heading, with their numbers."""
        return [Counter(self.tokens(f"{p['heading']} {p['text']}")) for p in self.passages]

    @cached_property
    def asked(self):
        """Questions that a section is known to answer: section -> [(tokens, length over the mean)]."""
        stems = {key: [frozenset(self.informative(text)) for text in texts] for key, texts in self.data["asked"].items()}
        sizes = [len(s) for of in stems.values() for s in of]
        mean = sum(sizes) / max(1, len(sizes))
        return {key: [(s, len(s) / mean) for s in of] for key, of in stems.items()}

    @cached_property
    def together(self):
        """All of these questions as one text: section -> (tokens with their numbers, length over the mean, not below `floor`)."""
        texts = {key: Counter(t for stems, _ in of for t in stems) for key, of in self.asked.items()}
        mean = sum(sum(c.values()) for c in texts.values()) / max(1, len(texts))
        return {key: (c, max(sum(c.values()) / mean, self.parameters["floor"])) for key, c in texts.items()}

    @cached_property
    def lengths(self):
        """Length of each passage over the mean, not below `floor`."""
        sizes = [sum(c.values()) for c in self.counts]
        mean = sum(sizes) / max(1, len(sizes))
        return [max(n / mean, self.parameters["floor"]) for n in sizes]

    @cached_property
    def frequency(self):
        """In how many passages a stem stands."""
        return Counter(s for c in self.counts for s in c)

    @cached_property
    def others(self):
        """Other names of one thing: [(stems of a name, stems of another name)]."""
        groups = [[tuple(map(stem, words(name))) for name in group] for group in self.data["names"]]
        return [(a, b) for group in groups for a in group for b in group if a != b]

    @cached_property
    def defined(self):
        """What a line of the glossary defines: number of the passage -> the names of its term, as stems."""
        terms = {t["id"]: t["term"] for t in self.data["terms"]}
        return {i: [tuple(map(stem, words(name))) for name in re.split(r"[,()]", terms[p["id"]]) if words(name)]
                for i, p in enumerate(self.passages) if p["id"] in terms}

    def informative(self, text):
        """Tokens of a text that are no stopwords, each once: phrases last."""
        dull = {stem(w) for w in words(text) if w in self.stopwords}
        return list(dict.fromkeys(t for t in self.tokens(text) if t not in dull))

    def idf(self, s):
        n, total = self.frequency.get(s, 0), len(self.passages)
        return math.log(1 + (total - n + 0.5) / (n + 0.5))

    def query(self, question):
        """Stems of the informative words, in their order -> {stem: [other names of what it names, each a tuple of stems]}."""
        kept = [t for t in self.informative(question) if " " not in t]
        return {s: [other for name, other in self.others if s in name and all(t in kept for t in name)] for s in kept}

    def rank(self, question, limit=None):
        """[(score, coverage, number of the passage)], best first; equal scores in the order of the book.

        A passage scores by its words, by the question closest to this one that its section is known to answer, and by all of those
        together. A line of the glossary is ranked only where the question has the whole name of its term.
        """
        query = self.query(question)
        weights, phrase, other = dict.fromkeys(query, 1.0), self.parameters["phrase"], self.parameters["other"]
        weights |= dict.fromkeys((t for t in self.informative(question) if " " in t), phrase)
        for name in (name for others in query.values() for name in others):
            for t in name:
                weights.setdefault(t, other)
            if " ".join(name) in self.phrases:
                weights.setdefault(" ".join(name), phrase * other)
        weights = {t: w * self.idf(t) for t, w in weights.items()}
        told = {s: self.idf(s) for s in query}
        total, found, near = sum(told.values()), [], {}
        for key, of in self.asked.items():
            best, _, stems = max((self._bm25(weights, dict.fromkeys(stems, 1), length), -n, stems) for n, (stems, length) in enumerate(of))
            near[key] = best + self.parameters["together"] * self._bm25(weights, *self.together[key]), stems
        for i, count in enumerate(self.counts):
            if i in self.defined and not any(all(t in weights for t in name) for name in self.defined[i]):
                continue
            score = self._bm25(weights, count, self.lengths[i])
            if score > 0:
                more, stems = near.get(self.sections[i], (0.0, frozenset()))
                has = {t for t in weights if t in count or more and t in stems}
                covered = sum(told[s] for s, others in query.items() if s in has or any(all(t in has for t in o) for o in others))
                found.append((score + more, covered / total, i))
        found.sort(key=lambda f: (-f[0], f[2]))
        return found[:limit]

    def _bm25(self, weights, count, length):
        k1, b = self.parameters["k1"], self.parameters["b"]
        scale = k1 * (1 - b + b * length)
        return sum(w * count[s] * (k1 + 1) / (count[s] + scale) for s, w in weights.items() if s in count)

    def ask(self, question):
        """Answer a question -> Reply, with one passage a section."""
        ranked = self.rank(question)
        least = self.parameters["share"] * ranked[0][0] * ranked[0][1] if ranked else 0.0
        first = {self.sections[i]: (s, c, i) for s, c, i in reversed(ranked) if s * c >= least}       # the best of each section
        best = sorted(first.values(), key=lambda f: (-f[0], f[2]))[:self.parameters["answers"]]
        ranked = ranked[:self.parameters["answers"]]
        query = self.query(question)
        coverage = max((c for _, c, _ in ranked), default=0.0)
        evidence = coverage * max((s for s, _, _ in ranked), default=0.0)
        answered = evidence >= self.parameters["threshold"]
        unknown = tuple(dict.fromkeys(w for w in words(question) if (s := stem(w)) in query and s not in self.frequency and not query[s]))
        answers = tuple(self._answer(f, query) for f in best) if answered else ()
        return Reply(question, answered, answers, round(evidence, 4), round(coverage, 4), unknown)

    def _answer(self, found, query):
        score, coverage, i = found
        p = self.passages[i]
        page, _, rest = p["id"].partition("#")
        chapter = self.data["chapters"].get(page)
        return Answer(p["id"], page, rest.rpartition("/")[0], f"{chapter['number']} {chapter['title']}" if chapter else "Glossary",
                      p["heading"], self.extract(p["text"], query), round(score, 4), round(coverage, 4))

    def extract(self, text, query, most=3):
        """The run of at most `most` sentences that fits a query best, with what stands before it where it would be short of words."""
        from .passages import sentences

        parts = sentences(text)
        wanted = {t: self.idf(s) for s, others in query.items() for t in [s, *(t for o in others for t in o)]}
        have = [set(map(stem, words(p))) & wanted.keys() for p in parts]
        best, at = -1.0, (0, 1)
        for first in range(len(parts)):
            for last in range(first + 1, min(len(parts), first + most) + 1):
                value = sum(wanted[t] for t in sorted(set().union(*have[first:last]))) - 0.15 * (last - first)
                if value > best + 1e-9:
                    best, at = value, (first, last)
        first, last = at
        while len(" ".join(parts[first:last]).split()) < BRIEF and last - first < len(parts):
            first, last = (first - 1, last) if first else (first, last + 1)
        return " ".join(parts[first:last])
