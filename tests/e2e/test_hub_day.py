"""One day with the hub, in a real browser: a student fetches, works and submits; an instructor grades; feedback comes back.

As root with real Unix users and PAM; otherwise one user in both parts. Screenshots: build/artefacts/hub/.
"""

import shutil
import sqlite3
from contextlib import contextmanager

import pytest

from tests.e2e import hub_class as h

playwright = pytest.importorskip("playwright.sync_api", reason="needs the test extra: playwright")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
SHOTS = h.REPO / "build" / "artefacts" / "hub"
SOLUTION = "def squares(n):\n    return [i * i for i in range(1, n + 1)]"
ANSWER = "One multiplication and one addition for each number: $2n$ operations."

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("node"), reason="no Node for the hub's proxy"),
]


@contextmanager
def person(browser, hub, name, password, *, tolerate="nothing"):
    """A browser of one person, logged in. Requests that leave the machine are stopped and fail the test, but for those that
    begin with `tolerate`."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(45_000)
    away = []

    def gate(route):
        if route.request.url.startswith(hub.url):
            route.continue_()
            return
        if not route.request.url.startswith(tolerate):
            away.append(route.request.url)
        route.abort()

    context.route("**/*", gate)
    page = context.new_page()
    page.goto(hub.url)
    page.fill("#username_input", name)
    page.fill("#password_input", password)
    page.click("#login_submit")
    try:
        yield page
    except BaseException:
        page.screenshot(path=SHOTS / f"failed-{name}.png")
        raise
    finally:
        context.close()
    assert not away, f"requests that left the machine: {sorted(set(away))}"


def shot(page, name):
    page.screenshot(path=SHOTS / f"{name}.png")


def menu(page, *titles):
    page.click(f"#jp-MainMenu >> text={titles[0]}")
    for title in titles[1:]:
        page.click(f".lm-Menu-itemLabel >> text={title}")


def write_cell(page, cell, text):
    """Replace what a cell holds; inserted as one piece, so the editor closes no bracket of its own accord."""
    editor = cell.locator(".cm-content")
    editor.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)


def student_fetches_works_submits(page):
    page.wait_for_selector("#jp-MainMenu", timeout=90_000)
    page.click("#jp-MainMenu >> text=Nbgrader")
    entries = page.locator(".lm-Menu-itemLabel").all_inner_texts()
    assert [e for e in entries if e] == ["Assignment List"], "students see the assignment list and nothing else of nbgrader"
    page.click(".lm-Menu-itemLabel >> text=Assignment List")

    page.wait_for_selector("#released_assignments_list button:has-text('Fetch')")
    shot(page, "1-student-list")
    page.click("#released_assignments_list button:has-text('Fetch')")
    fetched = page.locator("#fetched_assignments_list")
    fetched.locator("button:has-text('Submit')").wait_for()
    fetched.locator(f"a:has-text('{h.ASSIGNMENT}')").click()
    notebook = fetched.locator(f"a:has-text('{h.NOTEBOOK}')")
    notebook.wait_for()
    shot(page, "2-student-fetched")
    notebook.click()

    cells = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell")
    cells.nth(3).wait_for()
    page.wait_for_selector("#jp-main-statusbar >> text=/Python 3.*Idle/")
    write_cell(page, cells.nth(1), SOLUTION)
    page.keyboard.press("Shift+Enter")
    cells.nth(1).locator(".jp-InputPrompt:has-text('[1]')").wait_for()
    page.keyboard.press("Shift+Enter")
    cells.nth(2).locator(".jp-InputPrompt:has-text('[2]')").wait_for()
    assert cells.locator(".jp-OutputArea-output").count() == 0, "the visible tests pass in silence"
    cells.nth(3).dblclick()
    write_cell(page, cells.nth(3), ANSWER)
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Control+s")
    page.wait_for_selector(".lm-TabBar-tab.jp-mod-current.jp-mod-dirty", state="detached")
    assert page.locator(".validate-button").count() == 1, "students can validate"
    shot(page, "3-student-notebook")

    page.click(".lm-TabBar-tabLabel:has-text('Assignments')")
    fetched.locator("button:has-text('Submit')").click()
    page.wait_for_selector("#submitted_assignments_list button:has-text('Fetch Feedback')")
    shot(page, "4-student-submitted")


def instructor_grades_by_hand(page):
    page.wait_for_selector("text=Manage Assignments")
    shot(page, "5-formgrader")
    page.click("text=Manual Grading")
    page.click(f"td a:has-text('{h.ASSIGNMENT}')")
    page.click(f"td a:has-text('{h.NOTEBOOK}')")
    page.click("td a:has-text('Submission #1')")
    score = page.locator("input.score.needs_manual_grade#explain")      # the class comes with the grades from the server
    score.wait_for()
    assert "One multiplication" in page.locator("#notebook").first.inner_text(), "the instructor reads the student's answer"
    page.wait_for_selector("#notebook .MathJax >> nth=0")              # from this machine: jupyter-server-mathjax
    saved = page.expect_response(lambda r: "/formgrader/api/grade/" in r.url and r.request.method == "PUT")
    with saved as response:
        score.fill("2.5")
        page.keyboard.press("Tab")
    assert response.value.ok
    comment = page.expect_response(lambda r: "/formgrader/api/comment/" in r.url and r.request.method == "PUT")
    with comment as response:
        page.fill("#explain-comment", "Say which operations you count.")
        page.keyboard.press("Tab")
    assert response.value.ok
    shot(page, "6-formgrader-manual-cell")


def student_reads_feedback(page):
    page.wait_for_selector("#jp-MainMenu", timeout=90_000)
    menu(page, "Nbgrader", "Assignment List")
    page.click("#submitted_assignments_list button:has-text('Fetch Feedback')")
    page.click("#submitted_assignments_list a:has-text('view feedback')")
    page.dblclick(f".jp-DirListing-item:has-text('{h.NOTEBOOK}.html')")
    feedback = page.frame_locator(".jp-HTMLViewer iframe")
    feedback.locator("text=Say which operations you count.").wait_for()
    text = feedback.locator("body").inner_text()
    assert "4.5 / 5.0" in text, "two points by the machine, two and a half by hand"
    shot(page, "7-student-feedback")


def test_a_day(chromium):
    SHOTS.mkdir(parents=True, exist_ok=True)
    for old in SHOTS.glob("*.png"):
        old.unlink()
    with h.people("mlsys-t-prof", "mlsys-t-ada", "mlsys-t-ben") as passwords, h.folder() as tmp:
        made = h.make_class(tmp, passwords)
        with h.running_hub(made) as hub, playwright.sync_playwright() as p:
            h.release(made)
            browser = p.chromium.launch(executable_path=chromium, args=FLAGS)
            student = made.students[0]
            password = made.passwords[student] or hub.password
            with person(browser, hub, student, password) as page:
                student_fetches_works_submits(page)

            made.nbgrader("collect", h.ASSIGNMENT)
            made.nbgrader("autograde", h.ASSIGNMENT)
            with person(browser, hub, made.instructor, made.passwords[made.instructor] or hub.password) as page:
                if not h.ROOT:
                    page.goto(hub.formgrader)
                instructor_grades_by_hand(page)
            with sqlite3.connect(made.folder / "gradebook.db") as db:
                rows = db.execute("select auto_score, manual_score from grade").fetchall()
            assert sorted(rows, key=str) == [(2.0, None), (None, 2.5)]

            made.nbgrader("generate_feedback", h.ASSIGNMENT)
            made.nbgrader("release_feedback", h.ASSIGNMENT)
            # nbgrader's own feedback page names a public MathJax. The course's page (mlsysbook.grading.feedback) names nothing.
            with person(browser, hub, student, password, tolerate="https://cdnjs.cloudflare.com/") as page:
                student_reads_feedback(page)

            if h.ROOT:
                with person(browser, hub, made.students[1], made.passwords[made.students[1]]) as page:
                    page.wait_for_selector("#jp-MainMenu", timeout=90_000)
                    page.goto(hub.formgrader)
                    assert "403" in page.locator("h1").inner_text()
                    shot(page, "8-student-formgrader-refused")
            browser.close()
