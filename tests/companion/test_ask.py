"""Ask the book: passages of small pages and of the real ones, 20 + 5 questions, the same ranks in JavaScript, and the command."""

import json
import re
import subprocess

import pytest
import yaml
from typer.testing import CliRunner

from mlsysbook.companion import passages
from mlsysbook.companion.ask import STOPWORDS, AskError, Book, load, stem, words

from .conftest import ROOT

COMPANION = ROOT / "book" / "companion"
PAGE = """<html lang="en"><body><main><article><section id="serving"><h1>Serving<a class="headerlink" href="#serving">#</a></h1>
<aside class="margin"><p>Lab 13</p></aside><p>Servers serve.</p>
<div class="admonition"><p class="admonition-title">After this chapter you can</p><ul><li><p>do it</p></li></ul></div>
<section id="the-line"><h2>1. The line<a class="headerlink" href="#the-line">#</a></h2>
<p>At 90% it takes <span class="pasted-text">248 ms</span>, and so</p>
<div class="math notranslate"><span class="eqno">(23)</span>\\[ T_{99} = \\ln(100)\\,\\frac{S}{1-\\rho} . \\]</div>
<div class="cell"><div class="cell_input"><pre>number("tail", 248)</pre></div></div><p>LONG</p>
<section id="deeper"><h3>Deeper</h3><table><thead><tr><th>what</th><th>then</th></tr></thead><tbody><tr><td>a line</td><td>wait</td></tr></tbody></table>
</section></section>
<section id="fallacies"><h2>2. Fallacies</h2><p><strong>Fallacy: one.</strong> No.</p><p><strong>Pitfall: two.</strong> Yes.</p></section>
<section id="exercises"><h2>Exercises</h2><div class="exercise admonition"><p>How long?</p></div></section>
<section id="key-terms"><h2>Key terms</h2><p>table</p></section></section></article></main></body></html>"""


def short(ident):
    """vol1/13_model_serving#two-services/1 -> model_serving#two-services."""
    return (ident.split("/", 1)[1][3:] if ident.startswith("vol") else ident).rpartition("/")[0]


def questions(name):
    return yaml.safe_load((ROOT / "tests" / "companion" / f"{name}.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def book(site):
    return load(site)


@pytest.fixture
def small(tmp_path):
    (tmp_path / "vol1").mkdir()
    sentence = "Eight servers behind one line serve all of them in turn. "
    (tmp_path / "vol1" / "13_serving.html").write_text(PAGE.replace("LONG", sentence * 30), encoding="utf-8")
    (tmp_path / "glossary.html").write_text("""<html lang="en"><body><dl class="glossary"><dt id="term-SLO">service-level objective (SLO)
        <a class="headerlink" href="#">#</a></dt><dd><p>A bound on latency. <a href="vol1/13_serving.html">V1-13</a></p></dd></dl></body></html>""")
    (tmp_path / "names.yml").write_text("- [GPU, accelerator]\n")
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "v1_13.yml").write_text("cards:\n- {section: 1. The line, front: 'How `long` is {{n}} $x$?'}\n- {section: Gone, front: 'Why?'}\n")
    (tmp_path / "asked.yml").write_text("V1-13:\n  the-line: [\"How long is the line?\"]\n  gone: [\"What?\"]\n")
    return tmp_path


def test_passages_have_the_numbers_and_formulas_that_a_reader_sees(small):
    made = passages.index(small, ["vol1/13_serving"], small)
    by_id = {p["id"].removeprefix("vol1/13_serving"): p for p in made["passages"]}
    assert list(by_id) == ["#serving/1", "#the-line/1", "#the-line/2", "#the-line/3", "#deeper/1", "#fallacies/1", "#fallacies/2", "glossary#term-SLO/1"]
    assert by_id["#serving/1"]["text"] == "Servers serve." and by_id["#serving/1"]["heading"] == "Serving"
    assert by_id["#the-line/1"]["text"].startswith("At 90% it takes 248 ms, and so T₉₉ = ln (100) S/(1 − ρ).")
    assert by_id["#deeper/1"] == {"id": "vol1/13_serving#deeper/1", "heading": "1. The line › Deeper", "text": "a line; then: wait."}
    assert by_id["#fallacies/2"]["text"] == "Pitfall: two. Yes."
    assert all(len(p["text"].split()) <= passages.WORDS for p in made["passages"])
    assert made["chapters"] == {"vol1/13_serving": {"number": "V1-13", "title": "Serving"}}
    assert made["names"] == [["SLO", "service-level objective"], ["GPU", "accelerator"]]
    assert made["asked"] == {"vol1/13_serving#the-line": ["How long is the line?", "How long is  ?"]}
    assert made["terms"][0]["meaning"] == "A bound on latency." and made["terms"][0]["page"] == "vol1/13_serving"


@pytest.mark.parametrize("tex, text", [
    (r"\rho \le 1 - 4.6/k", "ρ ≤ 1 − 4.6/k"), (r"\frac{L}{k} A", "(L/k) A"), (r"\tfrac{1}{2} m v^2", "(1/2) m v²"), (r"\sqrt{2 C M}", "√(2 C M)"),
    (r"e^{-\lambda t}", "e^(−λ t)"), (r"\underbrace{a+b}_{\text{all of it}}", "a+b [all of it]"), (r"\lceil m/a \rceil", "⌈ m/a ⌉"),
    (r"10^{-7}", "10⁻⁷"), (r"T_\text{compute}", "T_compute"), (r"\unknown{x}", r"\unknownx")])  # fmt: skip
def test_formulas_are_readable_as_text(tex, text):
    assert passages.readable(tex) == text


def test_words_of_scripts_without_spaces_are_pairs():
    assert words("待ち行列のGPU 지연, Little’s") == ["待ち", "ち行", "行列", "列の", "gpu", "지연", "little"]
    assert not {w for w in STOPWORDS if w != w.lower() or len(w) == 1 and w.isdigit()}


def test_a_folder_without_an_index_says_what_to_do(tmp_path):
    with pytest.raises(AskError, match="mlsys book"):
        load(tmp_path)


def test_what_is_known_of_sections_names_real_ones(book):
    asked = yaml.safe_load((COMPANION / "asked.yml").read_text(encoding="utf-8"))
    known = {f"{c['number']}#{key.partition('#')[2]}" for key in book.data["asked"] for page, c in book.data["chapters"].items() if key.startswith(f"{page}#")}
    assert {f"{number}#{anchor}" for number, sections in asked.items() for anchor in sections} == known
    written = {number for number in asked}
    assert {c["number"] for c in book.data["chapters"].values()} == written


def test_passages_of_the_book_lead_to_places_that_are_there(site, book, record_property):
    found, pages = book.passages, {}
    assert len({p["id"] for p in found}) == len(found) > 300
    for p in found:
        page, _, rest = p["id"].partition("#")
        if page not in pages:
            pages[page] = set(re.findall(r'<(?:section|dt)[^>]* id="([^"]+)"', (site / f"{page}.html").read_text(encoding="utf-8")))
        assert rest.rpartition("/")[0] in pages[page], p["id"]
        assert 0 < len(p["text"].split()) <= passages.WORDS and "glue" not in p["text"] and "\\" not in p["text"], p["id"]
    size = (site / "_static" / "companion" / "passages.js").stat().st_size
    assert size < 400_000
    record_property("table", f"ask the book: {len(found)} passages, {size / 1000:.0f} kB, loaded when asked")


def test_twenty_questions_are_answered_and_five_refused(book):
    asked = questions("questions")
    assert len(asked["answered"]) == 20 and len(asked["refused"]) == 5
    places = {short(p["id"]) for p in book.passages}
    assert not {s for q in asked["answered"] for s in q["right"]} - places, "a section that is not there"
    replies = {q["ask"]: (book.ask(q["ask"]), q["right"]) for q in asked["answered"]}
    wrong = [q for q, (reply, right) in replies.items() if not reply.answered or short(reply.answers[0].id) not in right]
    assert len(wrong) <= 2, wrong
    assert [q for q in asked["refused"] if book.ask(q).answered] == []


def test_the_threshold_separates_the_questions_it_was_set_by(book, record_property):
    asked = questions("calibration")
    assert len(asked["inside"]) >= 30 and len(asked["outside"]) >= 30
    assert not {q["ask"] for q in asked["inside"]} & {q["ask"] for q in questions("questions")["answered"]}
    answered = [q["ask"] for q in asked["inside"] if book.ask(q["ask"]).answered]
    refused = [q for q in asked["outside"] if not book.ask(q).answered]
    record_property("table", f"ask the book: answers {len(answered)} of {len(asked['inside'])} questions that it can, "
                             f"refuses {len(refused)} of {len(asked['outside'])} that it cannot")  # fmt: skip
    assert len(answered) >= 0.95 * len(asked["inside"]) and len(refused) >= 0.95 * len(asked["outside"])


@pytest.mark.parametrize("name, least_first, least_shown, most_answered", [("heldout", 16, 18, 0), ("blind", 20, 22, 1), ("fresh", 18, 21, 0)])
def test_questions_that_nothing_was_chosen_by(book, record_property, name, least_first, least_shown, most_answered):
    asked = questions(name)
    replies = [(book.ask(q["ask"]), q["right"]) for q in asked["answered"]]
    first = sum(r.answered and short(r.answers[0].id) in right for r, right in replies)
    shown = sum(any(short(a.id) in right for a in r.answers) for r, right in replies)
    answered = [q for q in asked["refused"] if book.ask(q).answered]
    record_property("table", f"ask the book: of {len(replies)} questions in {name}.yml, {first} have the right section first, {shown} show it, "
                             f"{sum(not r.answered for r, _ in replies)} are refused; {len(answered)} of {len(asked['refused'])} that it cannot "
                             "answer are answered")  # fmt: skip
    assert first >= least_first and shown >= least_shown
    assert len(answered) <= most_answered, answered


SAME = """
import { Book, sentences, stem, words } from "%s/js/bm25.js";
import { readFileSync } from "node:fs";
const { index, questions, texts } = JSON.parse(readFileSync(0, "utf8"));
const book = new Book(index);
console.log(JSON.stringify({
  stems: texts.map((t) => words(t).map(stem)), sentences: texts.map(sentences),
  ranks: questions.map((q) => book.rank(q).slice(0, 20).map((f) => [f.i, f.score, f.coverage])),
  replies: questions.map((q) => book.ask(q)),
}));
"""


@pytest.mark.node
def test_the_browser_ranks_as_python_does(book, bundled, tmp_path):
    asked = [q if isinstance(q, str) else q["ask"] for name in ("questions", "calibration", "heldout", "blind", "fresh") for part in questions(name).values() for q in part]
    asked += ["", "the", "待ち行列 latency", "KV", "What's Little’s law?"]
    texts = [p["text"] for p in book.passages] + ["待ち行列のGPU温度。지연 시간。", *(f"{w}s {w}bly {w}logy {w}ing" for w in ("possi", "techno", "assem"))]
    entry = tmp_path / "same.js"
    entry.write_text(SAME % COMPANION)
    done = subprocess.run(["node", bundled(entry) / "same.mjs"], input=json.dumps({"index": book.data, "questions": asked, "texts": texts}),
                          capture_output=True, text=True, check=True, timeout=60)  # fmt: skip
    told = json.loads(done.stdout)
    assert told["stems"] == [[stem(w) for w in words(t)] for t in texts]
    assert told["sentences"] == [passages.sentences(t) for t in texts]
    for question, ranks, reply in zip(asked, told["ranks"], told["replies"], strict=True):
        mine = book.rank(question, 20)
        assert [r[0] for r in ranks] == [i for _, _, i in mine], question
        assert [n for r in ranks for n in r[1:]] == pytest.approx([n for s, c, _ in mine for n in (s, c)], rel=1e-9)
        own = book.ask(question)
        assert (reply["answered"], reply["unknown"]) == (own.answered, list(own.unknown)), question
        assert [(a["id"], a["text"]) for a in reply["answers"]] == [(a.id, a.text) for a in own.answers], question


def test_the_command_answers_with_places_and_fails_when_the_book_does_not(site):
    from mlsysbook.cli import app, ask  # noqa: F401  (registers the command)

    run = CliRunner().invoke
    told = run(app, ["ask", "--site", str(site), "--json", "What is chunked prefill for?"])
    reply = json.loads(told.stdout)
    assert told.exit_code == 0 and reply["answered"] and 1 <= len(reply["answers"]) <= 3
    assert (site / f"{reply['answers'][0]['page']}.html").is_file()
    told = run(app, ["ask", "--site", str(site), "What", "is", "chunked", "prefill", "for?"])
    assert told.exit_code == 0 and "chunked-prefill" in told.stdout and told.stdout.startswith("[1] ")
    told = run(app, ["ask", "--site", str(site), "How do I install PyTorch on Windows?"])
    assert told.exit_code == 1 and told.stdout == "The book does not answer this. It never uses install, windows.\n"


def test_the_same_pages_give_the_same_index(small):
    assert json.dumps(passages.index(small, ["vol1/13_serving"], small)) == json.dumps(passages.index(small, ["vol1/13_serving"], small))


def test_books_without_passages_answer_nothing(small):
    assert not Book(passages.index(small, [], small) | {"passages": [], "terms": []}).ask("How long is the line?").answered
