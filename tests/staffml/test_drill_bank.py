"""The question bank: every template has its page, links lead somewhere, text survives Markdown, foreign files stay."""

import html.parser
import os
import re
import subprocess
import sys

import pytest
from markdown_it import MarkdownIt

from staffml import bank, load
from staffml.pools import draws, variant
from staffml.session import every
from staffml.worked import worked


@pytest.fixture(scope="module")
def made():
    return bank.pages(every())


class Reader(html.parser.HTMLParser):
    """Elements that are open and closed in order, ids, links and text."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.links, self.words = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given[k] for k in ("href", "src") if k in given]
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_all_templates_are_there_and_all_links_lead_to_a_page(made):
    assert set(made) == {"index.md", "find.html", *(f"{t.name}.md" for t in every())}
    for name, text in made.items():
        links = re.findall(r"\]\(([^)]+)\)|href=\"([^\"]+)\"", text)
        assert links
        for link in (a or b for a, b in links):
            target = os.path.normpath(os.path.join(os.path.dirname(name), link))
            assert target in made, (name, link)
    assert all(f"]({t.name}.md)" in made["index.md"] for t in every())


def words(text):
    return " ".join(text.split())


def test_a_page_holds_the_question_the_answers_and_what_each_mistake_hears(made):
    """As a reader of CommonMark with tables shows it, so escapes are taken back by somebody else's code."""
    reader = MarkdownIt("commonmark").enable("table")
    for template in every():
        draw = draws(template.name)["draws"][0]
        found = worked(template, draw, variant(template, draw))
        page = Reader(reader.render(made[f"{template.name}.md"]))
        shown = words("".join(page.words))
        assert page.open == [] and words(found["prompt"]) in shown and template.title in shown
        for part in found["parts"]:
            assert words(part["question"]) in shown and part["answer"] in shown
            assert all(words(choice) in shown for choice in part["choices"])
            for _, value, _, name, why in part["wrong"]:
                assert words(value) in shown and words(f"{name}: {why}" if why else name) in shown
            assert all(words(text) in shown for _, text in part["rubric"])
        for row in found["table"]["rows"] if found["table"] else ():
            assert all(words(cell) in shown for cell in row)


def test_the_page_to_search_is_whole_html_with_every_template_and_no_address(made):
    page = Reader(made["find.html"])
    assert page.open == [] and len(set(page.ids)) == len(page.ids)
    assert {t.name.replace("/", "-") for t in every()} < set(page.ids)
    assert sorted(page.links) == sorted(f"{t.name}.md" for t in every())
    assert "://" not in made["find.html"] and "@" not in re.sub(r"@media", "", made["find.html"])
    text = " ".join("".join(page.words).split())
    template = load("memory/kv_cache")
    draw = draws(template.name)["draws"][0]
    assert " ".join(worked(template, draw, variant(template, draw))["prompt"].split()) in text


def test_text_that_means_something_in_markdown_or_html_is_escaped():
    assert bank._md("% a*b_c | $d$ <e> [f] {g}`h`\\") == r"\% a\*b\_c \| \$d\$ \<e\> \[f\] \{g\}\`h\`" + "\\\\"
    assert bank._h('<a href="x">') == "&lt;a href=&quot;x&quot;&gt;"


def run(folder, *arguments, **environment):
    return subprocess.run([sys.executable, "-m", "staffml", "bank", *map(str, arguments)], capture_output=True, text=True, cwd=folder,
                          env=os.environ | environment, timeout=120)


def test_the_command_writes_the_same_bytes_whatever_the_surroundings(tmp_path, made):
    done = run(tmp_path, "one", "--area", "memory", PYTHONHASHSEED="1", TZ="Asia/Tokyo", LC_ALL="C")
    count = sum(t.area == "memory" for t in every())
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith(f"one: {count} templates; open one/find.html")
    assert run(tmp_path, "two", "--area", "memory", PYTHONHASHSEED="2", LC_ALL="C.UTF-8").returncode == 0
    files = {p.relative_to(tmp_path / "one"): p.read_bytes() for p in (tmp_path / "one").rglob("*.*")}
    assert files == {p.relative_to(tmp_path / "two"): p.read_bytes() for p in (tmp_path / "two").rglob("*.*")} and len(files) == count + 2
    assert files[next(p for p in files if p.name == "kv_cache.md")].decode() == made["memory/kv_cache.md"]


def test_pages_of_templates_that_are_gone_go_and_foreign_files_stay(tmp_path):
    first, second = load("memory/kv_cache"), load("power/duty_cycle")
    bank.write(tmp_path, [first, second])
    (tmp_path / "power" / "notes.md").write_text("mine")
    _, gone = bank.write(tmp_path, [first])
    assert gone == [tmp_path / "power/duty_cycle.md"] and (tmp_path / "power/notes.md").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.md").write_text("mine")
    with pytest.raises(bank.BankError, match="is in the way and was not made by staffml bank"):
        bank.write(tmp_path / "other", [first])
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["index.md"]
    done = run(tmp_path, "third", "--ending", "pdf")
    assert done.returncode == 2 and done.stderr == "staffml: --ending is 'pdf'; wants md or html\n" and not (tmp_path / "third").exists()
