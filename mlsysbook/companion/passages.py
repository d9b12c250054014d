"""The book cut into passages that can be found and cited: built pages in, one JSON index out.

Read from the finished pages, because only there every computed number stands in its sentence. A passage has at most 150 words, lies
in one section, and is called page#anchor/n. Exercises, solutions, code and lists of references are left out: they answer nothing.
"""

import re
from pathlib import Path

import yaml

from .ask import PARAMETERS, STOPWORDS

WORDS = 150
JOIN = "\0"                                 # at an end of a block that must not stand without its neighbour
NAME = "passages"
SOURCES = Path(__file__).resolve().parents[2] / "book" / "companion"     # names.yml and asked.yml
STARTS = ("Fallacy: ", "Pitfall: ")
_SKIPPED = ("aside", "script", "style", "svg", "figure .mls-controls", ".cell_input", ".above-input", ".headerlink", ".eqno", ".exercise",
            ".solution", ".bibtex-citation", ".mls-label", ".mls-say", "summary.admonition-title", "div.highlight", ".mls-key", "nav",
            ".mlc-check")  # fmt: skip
_ENDS = {"Exercises", "Where this comes from", "Key terms"}
_SENTENCE = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][”’»\")\]]))\s+(?=[“‘«\"(\[]?[^\sa-z])|(?<=[。！？])(?=\S)")     # bm25.js has it too
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def index(site, pages, folder=SOURCES, glossary="glossary"):
    """The index of the built pages `pages`: chapters, passages, terms, other names of one thing, and how to search -> dict for JSON.

    site: folder of a built site; folder: that of names.yml, asked.yml and content/, book/companion. What a card asks, its section answers.
    """
    site, chapters, found, folder = Path(site), {}, [], Path(folder)
    language, wanted = "en", _yaml(folder / "asked.yml")
    for page in pages:
        soup = _soup(site / f"{page}.html")
        language = soup.html.get("lang") or language
        top = soup.select_one("article section, main section")
        volume, number = re.match(r"vol(\d)/(\d\d)_", page).groups()
        found += _chapter(page, top)
        chapters[page] = {"number": f"V{volume}-{number}", "title": _words(top.find("h1"))}
    terms = _glossary(_soup(site / f"{glossary}.html"), glossary) if (site / f"{glossary}.html").is_file() else []
    found += [{"id": t["id"], "heading": t["term"], "text": f"{t['term']}: {t['meaning']}"} for t in terms]
    asked, there = {}, {}
    for p in found:
        there.setdefault(p["id"].rpartition("/")[0], p["heading"])
    for page, chapter in chapters.items():
        for anchor, texts in wanted.get(chapter["number"], {}).items():
            if f"{page}#{anchor}" in there:
                asked[f"{page}#{anchor}"] = list(texts)
        sections = {_plain(h.split(" › ")[-1]): key for key, h in there.items() if key.startswith(f"{page}#")}
        cards = folder / "content" / f"{chapter['number'].replace('-', '_').lower()}.yml"
        for card in _yaml(cards)["cards"] if cards.is_file() else ():
            if key := sections.get(_plain(card["section"])):
                asked.setdefault(key, []).append(re.sub(r"\{\{.*?\}\}|\$.*?\$|[`*]", "", card["front"]))
    return {"version": 2, "language": language, "chapters": chapters, "passages": found, "terms": terms, "asked": asked,
            "names": [*names([(t["term"], t["meaning"]) for t in terms]), *_yaml(folder / "names.yml")],
            "parameters": PARAMETERS, "stopwords": sorted(STOPWORDS)}


def names(terms):
    """Short and long names of one thing, from terms such as "service-level objective (SLO)" and "TTFT, TPOT" -> [[short, long], ...]."""
    found = []
    for term, meaning in terms:
        for long, short in re.findall(r"([\w’' -]+?) \(([A-Z][\w-]{1,})\)", term):
            found.append([short, long.strip()])
        shorts = [s.strip() for s in term.split(",")]
        longs = [m.strip(" .") for m in meaning.split(";")]
        if all(re.fullmatch(r"[A-Z]{2,}[\w-]*", s) for s in shorts) and len(shorts) == len(longs):
            found += [[s, m] for s, m in zip(shorts, longs, strict=True) if len(m.split()) <= 6]
    return found


def _plain(title):
    """A heading as its source has it and as a page has it, alike."""
    return title.replace("’", "'").replace("`", "")


def _yaml(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _soup(path):
    from bs4 import BeautifulSoup

    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def _chapter(page, top):
    for skipped in top.select(", ".join(_SKIPPED)):
        skipped.decompose()
    for note in top.select("div.admonition"):
        if note.find("ul") and top.find("section") and note.find_next("h2") is top.find("h2"):
            note.decompose()                # the objectives promise, they do not answer
    yield from _section(page, top, [])


def _section(page, section, above):
    """Passages of a section and of those inside it, in the order of the page."""
    heading = section.find(re.compile("^h[1-6]$"), recursive=False)
    title = _words(heading)
    if title in _ENDS or section.get("id", "").startswith(tuple(_anchor(e) for e in _ENDS)):
        return
    path = [*above, title] if above or heading.name != "h1" else []
    blocks, inner = [], []
    for child in section.find_all(True, recursive=False):
        if child.name == "section":
            inner.append(child)
        elif child is not heading:
            blocks += _blocks(child)
    for n, text in enumerate(_packed(blocks), 1):
        yield {"id": f"{page}#{section['id']}/{n}", "heading": " › ".join(path) or title, "text": text}
    for child in inner:
        yield from _section(page, child, path or [])


def _anchor(title):
    return re.sub(r"\W+", "-", title.lower())


def _blocks(element):
    """The texts of a block: a paragraph each; a row of a table is a line of its own."""
    if element.name in ("table",) or element.select_one(":scope > table"):
        head = [_words(c) for c in element.select("thead th")]
        for row in element.select("tbody tr"):
            cells = [_words(c) for c in row.find_all(["td", "th"])]
            named = enumerate(zip(head or [""] * len(cells), cells, strict=False))
            yield "; ".join(f"{h}: {c}" if i and h else c for i, (h, c) in named if c) + "."
    elif "math" in element.get("class", ()):
        yield f"{JOIN}{_words(element)}"    # a formula belongs to the sentence before it
    elif element.name in ("ul", "ol", "dl"):
        for item in element.find_all(["li", "dd", "dt"], recursive=False):
            yield _words(item)
    elif element.name == "p" or not element.find(["p", "li", "table", "figcaption"]):
        if element.get("class") and "admonition-title" in element["class"]:
            yield _words(element).rstrip(".:") + f".{JOIN}"        # a title belongs to what it is the title of
        else:
            yield _words(element)
    else:
        for child in element.find_all(True, recursive=False):
            yield from _blocks(child)


def _words(element):
    """Text of an element on one line, formulas in characters that anyone can read."""
    if element is None:
        return ""
    for formula in element.select(".math") + ([element] if "math" in element.get("class", ()) else []):
        tex = re.sub(r"^\s*\\[(\[]|\\[)\]]\s*$", "", formula.get_text().strip())
        formula.string = readable(tex)
    text = re.sub(r"\s+", " ", element.get_text()).strip()
    return re.sub(r"\s+([,.;:])", r"\1", text)


def _packed(blocks):
    """Blocks in passages of at most WORDS words; what is longer is divided between sentences."""
    parts, joined = [], False               # (text, whether a block begins here)
    for block in blocks:
        for i, sentence in enumerate(sentences(block.strip(JOIN))):
            if parts and i == 0 and (joined or block.startswith(JOIN)):
                parts[-1] = (f"{parts[-1][0]} {sentence}", parts[-1][1])
            else:
                parts.append((sentence, i == 0))
        joined = block.endswith(JOIN)
    out, size = [], 0
    for i, (text, first) in enumerate(parts):
        n = _size(text)
        if out and text.startswith(STARTS):
            yield " ".join(out)
            out, size = [], 0
        end = next((j for j in range(i + 1, len(parts)) if parts[j][1]), len(parts))
        block = n + sum(_size(t) for t, _ in parts[i + 1:end]) if first else n
        if out and (size + n > WORDS or size + block > WORDS and size > WORDS / 3):
            yield " ".join(out)
            out, size = [], 0
        out.append(text)
        size += n
    if out:
        yield " ".join(out)


def _size(text):
    """Words; two characters of a script without spaces count as one."""
    return len(text.split()) + len(_CJK.findall(text)) // 2


def sentences(text):
    """A paragraph as its sentences."""
    return [s for s in _SENTENCE.split(text) if s]


def _glossary(soup, page):
    found = []
    for term in soup.select("dl.glossary > dt"):
        meaning = term.find_next_sibling("dd")
        link = meaning.find("a", href=True)
        chapter = link["href"].partition("#")[0].removesuffix(".html") if link else ""
        if link:
            link.decompose()
        for mark in term.select(".headerlink"):
            mark.decompose()
        text = _words(meaning)
        found.append({"id": f"{page}#{term['id']}/1", "term": _words(term), "meaning": text, "page": chapter})
    return found


# TeX that the chapters use, as text. What is not here stays as it was written, and a test of the book finds it.
_SIGNS = {"times": "×", "approx": "≈", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "cdot": "·", "ast": "*", "to": "→", "dots": "…",
          "Rightarrow": "⇒", "Longleftrightarrow": "⇔", "top": "T", "sum": "Σ", "prod": "Π", "infty": "∞", "partial": "∂", "nabla": "∇",
          "in": "∈", "pm": "±", "ll": "≪", "gg": "≫", "neq": "≠", "ne": "≠", "propto": "∝", "sim": "~", "ell": "ℓ", "int": "∫",
          "lceil": "⌈", "rceil": "⌉", "lfloor": "⌊", "rfloor": "⌋", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε",
          "varepsilon": "ε", "eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "pi": "π", "rho": "ρ",
          "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ", "psi": "ψ", "omega": "ω", "Delta": "Δ", "Phi": "Φ", "Sigma": "Σ",
          "Omega": "Ω", "Theta": "Θ", "Lambda": "Λ", "quad": " ", "qquad": " ", "mid": "|", "cdots": "…", "ldots": "…", "div": "÷",
          "bigl": "", "bigr": "", "left": "", "right": "", "big": "", "Big": "", "limits": "", "displaystyle": "", "langle": "⟨",
          "rangle": "⟩", "forall": "∀", "cup": "∪", "cap": "∩", "circ": "∘", "odot": "⊙", "prime": "′"}  # fmt: skip
_NAMED = {"min", "max", "ln", "log", "exp", "arg", "Pr", "sin", "cos", "tanh", "lim", "argmin", "argmax", "det", "dim"}
_PLAIN = {"text", "mathrm", "mathbf", "mathcal", "mathbb", "operatorname", "mathit", "textbf", "boldsymbol", "hat", "bar", "tilde"}
_SUB = str.maketrans("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
_SUP = str.maketrans("0123456789+-=()niT", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱᵀ")


def readable(tex):
    """TeX as a line of text: \\frac{S}{1-\\rho} -> S/(1 − ρ)."""
    tokens = re.findall(r"\\[a-zA-Z]+|\\.|[{}^_&]|\s+|[^\\{}^_&\s]", tex)
    text, _ = _tex(tokens, 0)
    text = re.sub(r"(?<=[\w)⌉⌋₀-₉⁰-⁹²³])\s*-\s*(?=[\w(\\])", " − ", text).replace("-", "−")
    return re.sub(r"\s+", " ", text).strip()


def _argument(tokens, i):
    """The group or the single thing at i -> (text, index after it)."""
    while i < len(tokens) and tokens[i].isspace():
        i += 1
    if i < len(tokens) and tokens[i] == "{":
        return _tex(tokens, i + 1)
    name, end = tokens[i][1:] if i < len(tokens) else "", i + 1
    for _ in range(1 if name in _PLAIN or name == "sqrt" else 2 if name.endswith("frac") else 0):
        _, end = _argument(tokens, end)
    return _tex(tokens[i:end], 0)[0], end


def _tex(tokens, i):
    """Tokens up to the closing brace -> (text, index after it)."""
    out = []
    while i < len(tokens):
        token, i = tokens[i], i + 1
        name = token[1:]
        if token == "}":
            break
        if token == "{":
            inner, i = _tex(tokens, i)
            out.append(inner)
        elif token in "^_":
            inner, i = _argument(tokens, i)
            table = _SUP if token == "^" else _SUB
            small = inner.replace(" ", "")
            if all(ord(c) in table for c in small):
                out.append(small.translate(table))
            else:
                out.append(token + (f"({inner})" if re.search(r"[\s/+]", inner) and token == "^" else inner))
        elif token == "&":
            continue
        elif not token.startswith("\\"):
            out.append(token)
        elif name in ("frac", "tfrac", "dfrac", "binom"):
            top, i = _argument(tokens, i)
            bottom, i = _argument(tokens, i)
            ratio = f"{_wrapped(top)}/{_wrapped(bottom, below=True)}"
            after = next((t for t in tokens[i:] if not t.isspace() and t not in ("\\,", "\\;")), "}")
            factor = after.isalpha() or after == "(" or after[1:] in _SIGNS and _SIGNS[after[1:]].isalpha()
            out.append(f"C({top}, {bottom})" if name == "binom" else f" ({ratio}) " if factor else f" {ratio} ")
        elif name == "sqrt":
            inner, i = _argument(tokens, i)
            out.append(f"√{inner}" if len(inner) == 1 else f"√({inner})")
        elif name in ("underbrace", "overbrace"):
            inner, i = _argument(tokens, i)
            out.append(inner)
            if i < len(tokens) and tokens[i] in "_^":
                label, i = _argument(tokens, i + 1)
                out.append(f" [{label}] ")
        elif name in ("begin", "end"):
            _, i = _argument(tokens, i)
        elif name in _PLAIN:
            inner, i = _argument(tokens, i)
            out.append(inner)
        elif name in _NAMED:
            out.append(f" {name} ")
        elif name in _SIGNS:
            sign = _SIGNS[name]
            out.append(f" {sign} " if sign in "×≈≤≥·→⇒⇔≪≫≠∝" and sign else sign)
        elif token in ("\\,", "\\;", "\\:", "\\ ", "\\!", "\\\\"):
            out.append(" ")
        elif token in ("\\{", "\\}", "\\%", "\\_", "\\#", "\\&", "\\$"):
            out.append(name)
        else:
            out.append(token)
    return "".join(out), i


def _wrapped(text, below=False):
    """Above or below a stroke: in brackets where it would be read wrongly without."""
    text = text.strip()
    unclear = re.search(r"[\s+−-]" + (r"|[·×/]|(?<=\w)[^\W\d_](?![₀-₉])" if below else ""), text)
    return f"({text})" if unclear and not re.fullmatch(r"\([^()]*\)", text) else text
