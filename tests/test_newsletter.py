"""The newsletter: figures that are computed, mails that need no network, a feed that is the same at every run."""

import email
import re
from email import policy
from pathlib import Path

import pytest
from lxml import etree
from lxml import html as parser

from mlsysbook import newsletter

ROOT = Path(__file__).parents[1]
ATOM = "{http://www.w3.org/2005/Atom}"
HEAD = "---\ntitle: A title\ndate: 2026-11-03\nsummary: It takes {{t}}.\nlet: |\n  t = written(3.2, 's', 2)\n---\n"
TEXT = "# A title\n\nIt takes **{{t}}**; see [the map](../map.md).\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 22 |\n"


@pytest.fixture(scope="module")
def issues():
    return newsletter.issues(ROOT)


def course(tmp_path, text, name="2026-11-a-title.md"):
    folder = tmp_path / "book" / "newsletter"
    folder.mkdir(parents=True)
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "_mail.css").write_text("h1 { color: #123456; }\n")
    return tmp_path


def test_the_issues_are_whole_and_worth_a_mail(issues):
    assert len(issues) >= 2 and [i.date for i in issues] == sorted((i.date for i in issues), reverse=True)
    for issue in issues:
        assert 500 <= len(issue.text.split()) <= 1000 and len(issue.summary) > 60
        assert "{{" not in issue.text + issue.summary and "$" not in issue.text, "mail programs set no formulas"


def test_figures_of_issues_are_those_of_the_committed_benchmarks(issues):
    box = next(i for i in issues if i.slug.endswith("box"))
    table = (ROOT / "benchmarks" / "grading.md").read_text(encoding="utf-8")
    for ratio in re.findall(r"\*\*([\d.]+×)\*\*", table):
        assert ratio in box.text
    assert len(newsletter.benchmark(ROOT, "grading")[0]) == 2
    # Where the issue links into the book, there is a page.
    for issue in issues:
        for target in re.findall(r"\]\((\.\./[^)#]+)\)", issue.text):
            assert (ROOT / "book" / "newsletter" / target).resolve().is_file(), target


@pytest.mark.parametrize("change, wanted", [
    (("{{t}}**", "{{u}}**"), "writes {{u}}; its let computes t"),
    (("2026-11-03", "2026-12-03"), "wants a day of 2026-11"),
    (("# A title", "# Another"), "wants '# A title'"),
    (("written(3.2", "1 / 0 + (3.2"), "line 1 of let: ZeroDivisionError"),
    (("  t = ", "  assert 1 > 2\n  t = "), "line 1 of let: AssertionError: assert 1 > 2"),
    (("summary:", "subject:"), "front matter has date, let, subject, title; wants"),
])  # fmt: skip
def test_an_issue_that_is_not_true_or_not_whole_is_not_published(tmp_path, change, wanted):
    root = course(tmp_path, (HEAD + TEXT).replace(*change))
    with pytest.raises(newsletter.IssueError, match=re.escape(wanted)):
        newsletter.publish(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mail_has_its_styles_in_its_elements_and_loads_nothing(issues):
    for issue in issues:
        text = newsletter.mail_html(issue, ROOT)
        page = parser.fromstring(text)
        assert not page.xpath("//style | //link | //script | //img | //@class") and "url(" not in text
        assert all(e.get("style") for e in page.xpath("//h1 | //h2 | //p | //td | //th"))
        assert page.xpath("//title")[0].text == issue.title and all(h.startswith("https://") for h in page.xpath("//a/@href"))


def test_links_lead_to_the_book_where_its_address_is_known(tmp_path):
    issue = newsletter.issues(course(tmp_path, HEAD + TEXT))[0]
    assert 'href="https://book.example/x/map.html"' in newsletter.mail_html(issue, tmp_path, "https://book.example/x/")
    assert "href" not in newsletter.mail_html(issue, tmp_path)


def test_the_text_version_is_readable_in_72_columns(tmp_path, issues):
    issue = newsletter.issues(course(tmp_path, HEAD + TEXT))[0]
    text = newsletter.mail_text(issue, "https://book.example")
    assert "It takes 3.2\u00a0s; see the map [1]." in text and "* one" in text and "a  b\n----\n1  22" in text
    assert "[1] https://book.example/map.html" in text
    for each in issues:
        assert max(len(line) for line in newsletter.mail_text(each).split("\n") if "http" not in line) <= 72


def test_a_message_has_both_versions_and_nobodys_address(issues):
    for issue in issues:
        data = newsletter.message(issue, ROOT)
        assert data == newsletter.message(issue, ROOT)
        mail = email.message_from_bytes(data, policy=policy.default)
        assert mail.get_content_type() == "multipart/alternative" and mail["Subject"] == issue.title and not mail.defects
        plain, html = mail.iter_parts()
        assert plain.get_content().replace("\r\n", "\n") == newsletter.mail_text(issue)
        assert html.get_content().replace("\r\n", "\n") == newsletter.mail_html(issue, ROOT)
        assert set(re.findall(r"@([\w.-]+)", f"{mail['From']} {mail['To']} {mail['Message-ID']}")) == {"course.example", "newsletter.example"}


def test_the_feed_is_valid_atom_and_the_same_at_every_run(issues):
    data = newsletter.feed(ROOT)
    assert data == newsletter.feed(ROOT)
    feed = etree.fromstring(data)
    entries = feed.findall(f"{ATOM}entry")
    assert feed.tag == f"{ATOM}feed" and [e.findtext(f"{ATOM}title") for e in entries] == [i.title for i in issues]
    ids = [feed.findtext(f"{ATOM}id"), *(e.findtext(f"{ATOM}id") for e in entries)]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"tag:[\w.]+,\d{4}:[\w-]+", i) for i in ids)
    assert feed.findtext(f"{ATOM}updated") == f"{max(i.date for i in issues)}T09:00:00+00:00"
    for e in entries:
        assert e.find(f"{ATOM}link").get("href").endswith(".html") and e.find(f"{ATOM}content").get("type") == "html"
