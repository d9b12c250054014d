"""Feedback: it says what was found, and nothing in it runs, fetches, hides or floods."""

import json
import os
import re
import threading
import time
from functools import partial
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output, new_raw_cell

from mlsysbook.grading import collect, feedback, inert
from mlsysbook.grading.deadlines import LatePolicy

TINY = "drills-tiny"
SECRET = "0123456789abcdef" * 8
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ALLOWED = {"html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer"} | inert._TAGS


class Parsed(HTMLParser):
    """Elements, attributes and text of a page, as a browser would see them."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text += data


def harmless(html):
    """Raise AssertionError for an element, attribute or address that a page has no need of."""
    page = Parsed(html)
    assert set(page.tags) <= ALLOWED, set(page.tags) - ALLOWED
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name, value)
        assert name not in ("srcdoc", "formaction", "action", "srcset", "background", "data", "ping", "xlink:href"), (tag, name)
        if name == "src":
            assert tag == "img" and re.match(r"data:image/(png|jpeg|gif);base64,", value), (tag, value[:80])
        if name == "href":
            assert re.match(r"(https?://|mailto:|#)", value, re.IGNORECASE), value[:80]
        if name == "style":
            raise AssertionError((tag, value))
    return page


def make(classroom, course, **options):
    with classroom.at_work():
        return {p.student: p for p in feedback.feedback(classroom, course.assignments, **options)}


def page_of(classroom, student):
    return (classroom.feedback(student, TINY) / "tiny.html").read_text()


def exchanged(classroom, student=None):
    return sorted((classroom.exchange / "tiny" / "feedback").iterdir())


def edit(classroom, student, change):
    """Change the autograded notebook of a student, as running hostile code would have."""
    path = classroom.autograded(student, TINY) / "tiny.ipynb"
    nb = nbformat.read(path, as_version=4)
    change(nb)
    path.chmod(0o644)
    path.write_text(json.dumps(nb))


def test_a_page_shows_every_item_with_the_judges_line_and_what_waits(graded_class, course, write_record):
    record = write_record(graded_class, "ada")
    record["items"][0] |= {"score": 1.5, "note": "1 of 2 behaviours", "behaviours": {"small numbers": True, "negative numbers": False}}
    record["items"][1] |= {"mistake": "bits are not bytes"}
    write_record(graded_class, "ada", items=record["items"])
    make(graded_class, course)
    page = harmless(page_of(graded_class, "ada"))
    text = " ".join(page.text.split())
    assert "5 of 10 points" in text and "5 points are still to be graded by hand" in text
    assert text.count("1 of 2 behaviours") == 2 and text.count("Not yet: negative numbers.") == 2 and "small numbers" not in text
    assert "bits are not bytes" in text and "def double" not in text
    assert "raise NotImplementedError" in text


def test_points_given_by_hand_and_a_comment_are_shown_and_released_again(graded_class, course):
    first = make(graded_class, course)
    assert {p.state for p in first.values()} == {"released"}
    assert {p.state for p in make(graded_class, course).values()} == {"same"}
    with graded_class.gradebook() as gb:
        grade = gb.find_grade("rubric-why", "tiny", TINY, "ada")
        grade.manual_score, grade.needs_manual_grade = 4.0, False
        gb.find_comment("rubric-why", "tiny", TINY, "ada").manual_comment = "**Good**, but <script>alert(1)</script> why?"
        gb.db.commit()
    again = make(graded_class, course)
    assert (again["ada"].state, again["bob"].state) == ("changed", "same")
    page = harmless(page_of(graded_class, "ada"))
    assert "9 of 10 points" in page.text and "by hand" not in page.text and "Good" in page.text
    assert len(exchanged(graded_class)) == 2


def test_nbgrader_tells_the_student_that_regraded_feedback_is_new(graded_class, course, tmp_path, monkeypatch, write_record):
    """nbgrader issue 1201, seen from the student's side."""
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache" / "tiny" / f"ada+{TINY}+2026-01-01 00:00:00.000000 UTC"
    cache.mkdir(parents=True)
    (cache / "submission_secret.txt").write_text("ada" * 20)
    (cache / "tiny.ipynb").write_text("{}")

    def listed():
        api = graded_class.api(Exchange={"cache": str(tmp_path / "cache")})
        api.coursedir.student_id = "ada"
        with graded_class.logged():
            found = api.exchange.List(cached=True, coursedir=api.coursedir, authenticator=api.authenticator, parent=api,
                                      config=api.config).start()
            info = found[0]["submissions"][0]
            api.fetch_feedback(TINY, "ada")
        return info["has_exchange_feedback"], info["has_local_feedback"], info["feedback_updated"]

    make(graded_class, course)
    assert listed() == (True, False, False)
    assert listed() == (True, True, False)
    write_record(graded_class, "ada", items=[])
    make(graded_class, course)
    assert listed() == (True, True, True)


def test_late_work_says_what_it_cost(graded_class, course):
    with graded_class.gradebook() as gb:
        gb.update_or_create_assignment(TINY, duedate="2026-01-01 00:00:00 UTC")
    graded_class.late = LatePolicy(percent_per_day=10, max_percent=40)
    make(graded_class, course)
    text = Parsed(page_of(graded_class, "ada")).text
    assert "3 of 10 points" in text and re.search(r"2 points were taken off because the work came \d+\.\d days late", text)


@pytest.mark.parametrize(("kind", "shown"), [("timestamp", True), ("limit", True), ("damaged", True), ("tamper", False),
                                             ("escape", False), ("copied-variant", False), ("patched", False)])
def test_a_student_is_told_facts_about_the_submission_and_not_how_cheating_is_noticed(graded_class, course, kind, shown, write_record):
    write_record(graded_class, "ada", flags=[{"kind": kind, "note": "zebra"}])
    make(graded_class, course)
    assert ("zebra" in page_of(graded_class, "ada")) == shown


def test_a_submission_of_which_nothing_could_be_graded_gets_a_page_with_the_reason(graded_class, course, write_record):
    import shutil

    shutil.rmtree(graded_class.autograded("ada", TINY))
    write_record(graded_class, "ada", fate="damaged", score=0.0, flags=[{"kind": "damaged", "note": "tiny.ipynb is not a notebook"}])
    assert make(graded_class, course)["ada"].state == "released"
    text = harmless(page_of(graded_class, "ada")).text
    assert "damaged" in text and "tiny.ipynb is not a notebook" in text


def test_one_page_that_fails_does_not_stop_the_others(graded_class, course):
    (graded_class.autograded("ada", TINY) / "tiny.ipynb").write_text("{")
    pages = make(graded_class, course)
    assert pages["ada"].state == "failed" and pages["ada"].note and pages["bob"].state == "released"


def test_a_submission_without_secret_is_named_and_does_not_stop_the_others(released, hand_in, course, autograde):
    hand_in("ada", secret=None)
    hand_in("bob", secret=SECRET)
    with released.at_work():
        collect.collect(released, TINY)
    for student in ("ada", "bob"):
        autograde(released, student)
    pages = make(released, course)
    assert (pages["ada"].state, pages["bob"].state) == ("unreleased", "released")
    assert pages["ada"].note == "the submission has no submission_secret.txt"


def test_a_page_does_not_go_to_a_newer_submission_that_is_not_graded(graded_class, hand_in, course):
    (graded_class.autograded("ada", TINY) / "submission_secret.txt").unlink()          # as our own grader leaves it
    assert make(graded_class, course)["ada"].state == "released"
    hand_in("ada", files={"more.txt": "x"})
    with graded_class.at_work():
        collect.collect(graded_class, TINY)
    assert make(graded_class, course)["ada"].note == "a newer submission was collected and is not graded yet"


def test_a_page_that_a_student_put_there_is_not_released(graded_class, course):
    for where in (graded_class.autograded("ada", TINY), graded_class.feedback("ada", TINY)):
        where.mkdir(parents=True, exist_ok=True)
        (where / "other.html").write_text("<script>")
    make(graded_class, course)
    assert len(exchanged(graded_class)) == 2
    assert not (graded_class.feedback("ada", TINY) / "other.html").exists()


def test_stock_commands_make_the_same_page(graded_class, course):
    make(graded_class, course)
    ours = page_of(graded_class, "ada")
    with graded_class.logged():
        assert graded_class.api().generate_feedback(TINY, force=True)["success"]
        assert graded_class.api().release_feedback(TINY)["success"]
    assert page_of(graded_class, "ada") == ours and len(exchanged(graded_class)) == 2


def test_a_page_is_small_and_offline(graded_class, course):
    make(graded_class, course)
    html = page_of(graded_class, "ada")
    assert len(html) < 20_000
    assert "default-src 'none'" in html and html.index("Content-Security-Policy") < html.index("<title")
    assert not re.search(r"https?://|//cdn|<script|@import|url\(", html)


# -- hostile contents -----------------------------------------------------------------------------------------------------

SCRIPT = "<script>document.title='ran';fetch('http://127.0.0.1:PORT/script')</script>"
HOSTILE_HTML = [
    SCRIPT,
    "<img src=x onerror=\"document.title='ran'\"><img src='http://127.0.0.1:PORT/img.png'>",
    "<svg onload=\"document.title='ran'\"><script>document.title='ran'</script><image href='http://127.0.0.1:PORT/svg'/></svg>",
    "<iframe src='http://127.0.0.1:PORT/frame'></iframe><iframe srcdoc=\"<script>parent.document.title='ran'</script>\"></iframe>",
    "<a href=\"javascript:document.title='ran'\">click</a><a href='JaVaScRiPt&colon;x'>y</a>"
    "<a href='data:text/html,<script>1</script>'>z</a>",
    "<style>@import 'http://127.0.0.1:PORT/css'; body{background:url(http://127.0.0.1:PORT/bg)}</style>"
    "<p style=\"background:url(http://127.0.0.1:PORT/style)\">x</p>",
    "<link rel=stylesheet href=http://127.0.0.1:PORT/link><meta http-equiv=refresh content='0;url=http://127.0.0.1:PORT/refresh'>",
    "<base href='http://127.0.0.1:PORT/'><form action=http://127.0.0.1:PORT/form><input name=a autofocus "
    "onfocus=\"document.title='ran'\"></form>",
    "<video src=http://127.0.0.1:PORT/v poster=http://127.0.0.1:PORT/p autoplay></video><object data=http://127.0.0.1:PORT/o></object>"
    "<embed src=http://127.0.0.1:PORT/e>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=document.title=\"ran\"&gt;'>",
    "<noscript><p title=\"</noscript><img src=x onerror=document.title='ran'>\"></noscript>",
    "</pre></div></body></html><script>document.title='ran'</script>",
    "<details open ontoggle=\"document.title='ran'\">x</details><template><script>1</script></template>",
    "<p class='score mark-graded comment nbgrader_cell' id='top'>looks like the page's own</p>",
    "<div>" * 20_000,
    "<b>" + "&lt;" * 15_000,
]
HOSTILE_TEXT = ["\x1b[2J\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b]8;;http://evil\x1b\\link", "a\x00b\x08c\x7f", "\u202egnp.exe",
                "\r" * 50_000, "x" * 3_000_000, "\ud800 lone", "<script>document.title='ran'</script>", "{{ 7 * 7 }}{% raw %}",
                "A\u200bB\u2066C"]


def hostile(nb, port=1):
    """Put every kind of hostile content into every place of a notebook."""
    html = [h.replace("PORT", str(port)) for h in HOSTILE_HTML]
    mimes = ["text/html", "text/markdown", "image/svg+xml", "application/javascript", "text/latex", "text/vnd.mermaid", "text/plain",
             "application/vnd.jupyter.widget-view+json", "application/pdf", "image/png", "image/jpeg", "application/x-unknown"]
    for h in html:
        nb.cells.append(new_markdown_cell(h))
        text = (f"[a](javascript:document.title='ran') ![b](http://127.0.0.1:{port}/md) ![c](attachment:x.png)\n\n{h}\n\n"
                f"```mermaid\n{h}\n```")
        nb.cells.append(new_markdown_cell(text, attachments={"x.png": {"image/svg+xml": h}, h[:40]: {"text/html": h}}))
        nb.cells.append(new_raw_cell(h, metadata={"raw_mimetype": "text/html", "format": "text/html"}))
        cell = new_code_cell(h)
        cell.outputs = [new_output("stream", name="stdout", text=h), new_output("error", ename=h, evalue=h, traceback=[h, h])]
        for mime in mimes:
            more = {mime: {"isolated": True, "width": h}, "filenames": {mime: "../../etc/passwd"}}
            cell.outputs.append(new_output("display_data", data={mime: h}, metadata=more))
        nb.cells.append(cell)
        nb.cells.append(new_code_cell(""))
        nb.cells[-1].id = nb.cells[-1].execution_count = h
        nb.cells[-1].metadata = nbformat.from_dict({"tags": [h], "nbgrader": {
            "grade": True, "grade_id": h, "solution": True, "points": h, "locked": False, "schema_version": 3, "comment": h, "score": h}})
    for t in HOSTILE_TEXT:
        cell = new_code_cell(f"# {t[:200]}")
        cell.outputs = [new_output("stream", name=t[:20], text=t), new_output("execute_result", data={"text/plain": t, "text/html": t})]
        nb.cells += [cell, new_markdown_cell(t)]
    nb.cells.append(new_code_cell("many", outputs=[new_output("stream", name="stdout", text="x" * 9_000) for _ in range(2_000)]))
    nb.cells[-1].outputs.append(new_output("display_data", data={"image/png": PIXEL}))
    nb.metadata.update({"title": html[0], "language_info": {"name": html[0], "pygments_lexer": html[1]}, "kernelspec": {"name": html[0]},
                        "widgets": {"application/vnd.jupyter.widget-state+json": {"x": html[0]}}})


def record_hostile(write_record, classroom, student, port=1):
    html = SCRIPT.replace("PORT", str(port))
    items = [{"id": "check-double", "kind": "check", "name": html, "score": 0.0, "points": 3, "note": f"raised {html}\x1b[2J",
              "value": None, "behaviours": {html: False}, "mistake": html, "unit": html}]
    write_record(classroom, student, fate=html, items=items, flags=[{"kind": "damaged", "note": html}])


def test_hostile_contents_come_out_inert(graded_class, course, write_record):
    edit(graded_class, "ada", hostile)
    record_hostile(write_record, graded_class, "ada")
    started = time.monotonic()
    assert make(graded_class, course)["ada"].state == "released"
    assert time.monotonic() - started < 60
    html = page_of(graded_class, "ada")
    page = harmless(html)
    assert "127.0.0.1" in page.text                     # shown as the text that it is
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\u2066\u200b]", html) and "\\x1b" in page.text and "\\u202e" in page.text
    assert len(html) < 6 * inert.MAX_PAGE and "characters are not shown" in page.text and "more outputs are not shown" in page.text


def test_what_is_harmless_stays(graded_class, course):
    def change(nb):
        table = "<table class='dataframe'><thead><tr><th>n</th></tr></thead><tbody><tr><td>42</td></tr></tbody></table>"
        nb.cells.append(new_markdown_cell("## Findings\nIt is *slow*: `a < b` and $O(n^2)$, see [docs](https://numpy.org).\n\n"
                                          "| a | b |\n|---|---|\n| 1 | 2 |"))
        nb.cells.append(new_code_cell("plot()", outputs=[
            new_output("display_data", data={"image/png": PIXEL, "text/plain": "<Figure>"}),
            new_output("execute_result", data={"text/html": table, "text/plain": "n 42"})]))

    edit(graded_class, "ada", change)
    make(graded_class, course)
    html = page_of(graded_class, "ada")
    page = harmless(html)
    assert {"h2", "em", "table", "thead", "td", "img", "a"} <= set(page.tags)
    assert f"data:image/png;base64,{PIXEL}" in html and "a < b" in page.text and "42" in page.text and "$O(n^2)$" in page.text
    assert ("a", "href", "https://numpy.org") in page.attributes


@pytest.mark.parametrize("source", ["[a" * 5_000, "*" * 30_000, "> " * 3_000 + "x", "`" * 20_001, "|a" * 8_000 + "\n" + "|-" * 8_000,
                                    "![a](attachment:none.png)", "$$" * 9_999, "- " * 5_000, "\\begin{a}" * 3_000, "<" * 20_000,
                                    "[x]: " + "a" * 20_000, "# " + "*a_" * 8_000])
def test_markdown_that_is_hard_to_parse_costs_seconds_at_most(source):
    started = time.monotonic()
    harmless(inert.markdown(source))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(("text", "shown"), [("\x1b[1;31merror\x1b[0m", "error"), ("10%\r50%\r100%\nend", "100%\nend"),
                                             ("a\r\nb\r\n", "a\nb\n"), ("tab\tnew\n", "tab\tnew\n"), ("\x07", "\\x07"),
                                             ("naïve 北 𝛼", "naïve 北 𝛼")])
def test_text_looks_as_a_terminal_would_leave_it(text, shown):
    assert inert.visible(text) == shown


# -- in a browser -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def listener():
    """A server that remembers every request -> (port, list of paths)."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_POST = do_HEAD = do_OPTIONS = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], seen
    server.shutdown()
    server.server_close()


@pytest.fixture
def browse(chromium):
    """browse(url) opens a page in a headless Chromium -> (page, addresses it asked for)."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                                    "--disable-background-networking", "--disable-component-update", "--disable-sync"])
        context = browser.new_context()

        def browse(url):
            page, asked = context.new_page(), []
            page.on("request", lambda request: asked.append(request.url))
            page.on("dialog", lambda dialog: asked.append(f"dialog {dialog.message}"))
            page.goto(url, wait_until="load")
            page.wait_for_timeout(700)
            return page, asked

        yield browse
        browser.close()


def ran(page, seen):
    """Whether a script of the page has run and asked for something, if not at once then soon."""
    until = time.monotonic() + 60
    while not (page.title() == "ran" and seen) and time.monotonic() < until:
        page.wait_for_timeout(100)
    return page.title() == "ran" and seen != []


@pytest.mark.browser
def test_in_a_browser_nothing_of_a_hostile_page_runs_or_leaves(graded_class, course, listener, browse, write_record):
    port, seen = listener
    edit(graded_class, "ada", partial(hostile, port=port))
    record_hostile(write_record, graded_class, "ada", port)
    make(graded_class, course)
    page, asked = browse((graded_class.feedback("ada", TINY) / "tiny.html").as_uri())
    assert page.title() == f"{TINY}: feedback for ada"
    assert page.evaluate("document.scripts.length") == 0
    for link in page.query_selector_all("a:not([href])")[:5]:
        link.dispatch_event("click")
    page.wait_for_timeout(300)
    assert page.title() == f"{TINY}: feedback for ada"
    assert seen == [] and [u for u in asked if not u.startswith(("file:", "data:"))] == []


@pytest.mark.browser
def test_the_policy_alone_stops_what_slips_into_a_page(graded_class, course, listener, browse, tmp_path):
    """The second line: even raw hostile HTML, put past the first, neither runs nor asks."""
    port, seen = listener
    make(graded_class, course)
    body = "".join(h for h in HOSTILE_HTML if "http-equiv=refresh" not in h and "<base" not in h).replace("PORT", str(port))
    slipped = tmp_path / "slipped.html"
    slipped.write_text(page_of(graded_class, "ada").replace("<main>", f"<main>{body}"))
    page, _ = browse(slipped.as_uri())
    assert page.title() == f"{TINY}: feedback for ada" and seen == []
    bare = tmp_path / "bare.html"
    bare.write_text(f"<!DOCTYPE html><title>t</title>{body}")
    page, _ = browse(bare.as_uri())
    assert ran(page, seen)          # without the policy it does: the check can fail


def formgrader_page(classroom, student, *, stock=False):
    """What nbgrader's formgrader renders for a submission, by its own exporter and templates under the class's configuration."""
    from nbconvert.exporters import HTMLExporter
    from nbgrader.server_extensions.formgrader import handlers
    from traitlets.config import Config

    c = Config() if stock else classroom.nbgrader_config()
    c.HTMLExporter.template_name = "formgrade"
    c.HTMLExporter.extra_template_basedirs = [handlers.template_path]
    resources = {"assignment_id": TINY, "notebook_id": "tiny", "submission_id": "x", "index": 0, "total": 1, "base_url": "",
                 "student": student, "last_name": "T", "first_name": "A", "notebook_path": "x"}
    html, _ = HTMLExporter(config=c).from_filename(str(classroom.autograded(student, TINY) / "tiny.ipynb"), resources=resources)
    return html


@pytest.mark.browser
def test_in_the_formgrader_nothing_of_a_hostile_notebook_runs_or_leaves(graded_class, listener, browse, tmp_path):
    port, seen = listener
    edit(graded_class, "ada", partial(hostile, port=port))
    html = formgrader_page(graded_class, "ada")
    own = [u for u in re.findall(r'(?:src|href)="([^"]*)"', formgrader_page(graded_class, "bob")) if u.startswith("http")]
    path = tmp_path / "formgrader.html"
    path.write_text(html)
    page, asked = browse(path.as_uri())
    assert page.title() != "ran" and seen == []
    assert {u.split("?")[0] for u in asked if u.startswith("http")} <= {u.split("?")[0] for u in own}
    assert os.path.getsize(path) < 6 * inert.MAX_PAGE
    assert "<script" not in html[html.index("notebook-container"):]


@pytest.mark.browser
def test_in_a_stock_formgrader_it_would_have_run(graded_class, listener, browse, tmp_path):
    port, seen = listener
    edit(graded_class, "ada", lambda nb: nb.cells.append(new_markdown_cell(SCRIPT.replace("PORT", str(port)))))
    path = tmp_path / "formgrader.html"
    path.write_text(formgrader_page(graded_class, "ada", stock=True))
    page, _ = browse(path.as_uri())
    assert ran(page, seen)


@pytest.mark.parametrize(("note", "behaviours", "listed"), [
    ("not written", {"core": False, "edges": False}, []),
    ("1 of 2 behaviours right; not right: edges", {"core": True, "edges": False}, []),
    ("not right: core", {"core": False, "edges": True, "types": False}, ["types"]),
    ("right", {"core": True}, []),
])
def test_a_failing_behaviour_is_said_once(note, behaviours, listed):
    assert feedback._failing({"note": note, "behaviours": behaviours}) == listed
