"""One day with the hub, in a real browser, on a lab: a student fetches, bets, works and submits; an instructor grades;
feedback comes back.

As root with real Unix users and PAM; otherwise one user in both parts. Screenshots: build/artefacts/hub/.
"""

import json
import re
from contextlib import contextmanager

import pytest
from playwright import sync_api as playwright

from mlsysbook.grading.classroom import Classroom
from tests.e2e import hub_class as h
from tests.labs.lab import reference

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
SHOTS = h.REPO / "build" / "artefacts" / "hub"
ANSWER = ("My device: $n / r$ with my decode_rate as $r$; the card: one round trip and the same $n$ at its rate. Memory decides. "
          "Weights of half the bits would turn it.")
CELLS = json.loads(h.LAB.notebook_path.read_text(encoding="utf-8"))["cells"]
AUTO = {"predict-cloud_speedup": 1, "check-round_trip_seconds": 4, "answer-round_trip": 3, "answer-decode_rate": 3,
        "check-best_place": 6, "answer-far_answer": 2, "decision-place": 3}
RUBRIC = "rubric-placement"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.node,
]


@contextmanager
def person(browser, hub, name, password):
    """A browser of one person, logged in. Requests that leave the machine are stopped and fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(45_000)
    away = []

    def gate(route):
        if route.request.url.startswith(hub.url):
            route.continue_()
        else:
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
    except BaseException as error:
        page.screenshot(path=SHOTS / f"failed-{name}.png")
        error.add_note(f"{name} was at {page.url}, which said: {page.inner_text('body')[:2000]}")
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


def at(name):
    """Where the cell of this name (kind-name) stands in the notebook."""
    return next(i for i, c in enumerate(CELLS) if c["metadata"].get("nbgrader", {}).get("grade_id") == name)


def solution(cell):
    """What a student who knows it all would write into a cell of the source."""
    lines = "".join(cell["source"]).split("\n")
    return "\n".join(line for line in lines if line.strip() not in ("### BEGIN SOLUTION", "### END SOLUTION"))


def printed(cells, name):
    """What a cell wrote. Text contents, since a cell out of sight has no inner text in JupyterLab."""
    return "".join(cells.nth(at(name)).locator(".jp-OutputArea-output").all_text_contents()).strip()


def write_cell(page, cell, text):
    """Replace what a cell holds; inserted as one piece, so the editor closes no bracket of its own accord."""
    editor = cell.locator(".cm-content")
    editor.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)


def student_fetches_works_submits(page):
    page.wait_for_selector("#jp-MainMenu", timeout=180_000)
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
    notebook = fetched.locator(f"a:text-is('{h.NOTEBOOK}')")
    notebook.wait_for()
    shot(page, "2-student-fetched")
    notebook.click()

    cells = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell")
    cells.nth(len(CELLS) - 1).wait_for(state="attached")
    page.wait_for_selector("#jp-main-statusbar >> text=/Python 3.*Idle/")
    for i, cell in enumerate(CELLS):
        if cell["cell_type"] == "code" and cell["metadata"].get("nbgrader", {}).get("solution"):
            write_cell(page, cells.nth(i), solution(cell))
    cells.nth(at(RUBRIC)).dblclick()
    write_cell(page, cells.nth(at(RUBRIC)), ANSWER)
    menu(page, "Run", '"Run All Cells"')
    code = [i for i, cell in enumerate(CELLS) if cell["cell_type"] == "code"]
    cells.nth(code[-1]).locator(f".jp-InputPrompt:has-text('[{len(code)}]')").wait_for()
    errors = cells.locator("[data-mime-type$='.stderr'], [data-mime-type$='.error']")
    assert errors.all_text_contents() == []

    lab = reference(h.LAB.name)
    track = re.search(r"Your track: (\w+)\.", " ".join(cells.locator(".jp-OutputArea-output").all_text_contents()))[1]
    truth = lab.key("cloud_speedup", next(v for v in lab.pool if v["track"] == track)).value
    bet, low, high = re.fullmatch(r"cloud_speedup: locked ([\d.]+), between ([\d.]+) and ([\d.]+)",
                                  printed(cells, "write-cloud_speedup")).groups()
    assert float(bet) == pytest.approx(truth, rel=1e-3) and float(low) < truth < float(high)
    assert printed(cells, "predict-cloud_speedup") == "cloud_speedup: prediction locked"
    assert "3 of 3 worked examples right" in printed(cells, "check-round_trip_seconds")
    assert "4 of 4 worked examples right" in printed(cells, "check-best_place")
    assert "place: recorded" in printed(cells, "decision-place")
    for name in ("answer-round_trip", "answer-decode_rate", "answer-far_answer"):
        assert "recorded" in printed(cells, name) and "right" not in printed(cells, name)
    settled = cells.filter(has_text=f"cloud_speedup: you said {bet} [{low}, {high}]; it is ")
    assert settled.count() == 1 and "inside your interval" in settled.text_content()
    settled.locator(".jp-InputPrompt").click()      # else the notebook scrolls back to the cell that it ran last
    reveal = settled.locator(".jp-OutputArea-output").first
    reveal.scroll_into_view_if_needed()
    playwright.expect(reveal).to_be_in_viewport()
    shot(page, "3-student-notebook")

    write_cell(page, cells.nth(at("write-cloud_speedup")), 'predict("cloud_speedup", "0.06", low="0.05", high="0.07")')
    page.keyboard.press("Shift+Enter")
    again = f"cloud_speedup: already locked at {bet} [{low}, {high}]; the first prediction counts"
    cells.nth(at("write-cloud_speedup")).locator(f"text={again}").wait_for()
    page.keyboard.press("Control+s")
    page.wait_for_selector(".lm-TabBar-tab.jp-mod-current.jp-mod-dirty", state="detached")
    assert page.locator(".validate-button").count() == 1, "students can validate"
    shot(page, "3-student-prediction-locked")

    page.click(".lm-TabBar-tabLabel:has-text('Assignments')")
    fetched.locator("button:has-text('Submit')").click()
    page.wait_for_selector("#submitted_assignments_list button:has-text('Fetch Feedback')")
    shot(page, "4-student-submitted")


def instructor_grades_by_hand(page):
    page.wait_for_selector(f"td a:has-text('{h.ASSIGNMENT}')")
    shot(page, "5-formgrader")
    page.click("text=Manual Grading")
    page.click(f"td a:has-text('{h.ASSIGNMENT}')")
    page.click(f"td a:text-is('{h.NOTEBOOK}')")
    page.click("td a:has-text('Submission #1')")
    score = page.locator(f"input.score.needs_manual_grade#{RUBRIC}")      # the class comes with the grades from the server
    score.wait_for()
    assert "Memory decides." in page.locator("#notebook").first.inner_text(), "the instructor reads the student's answer"
    page.wait_for_selector("#notebook .MathJax >> nth=0")              # from this machine: jupyter-server-mathjax
    saved = page.expect_response(lambda r: "/formgrader/api/grade/" in r.url and r.request.method == "PUT")
    with saved as response:
        score.fill("2.5")
        page.keyboard.press("Tab")
    assert response.value.ok
    comment = page.expect_response(lambda r: "/formgrader/api/comment/" in r.url and r.request.method == "PUT")
    with comment as response:
        page.fill(f"#{RUBRIC}-comment", "Say how many seconds each takes.")
        page.keyboard.press("Tab")
    assert response.value.ok
    page.locator(f"#{RUBRIC}-comment").scroll_into_view_if_needed()
    shot(page, "6-formgrader-manual-cell")


def student_reads_feedback(page):
    page.wait_for_selector("#jp-MainMenu", timeout=180_000)
    menu(page, "Nbgrader", "Assignment List")
    page.click("#submitted_assignments_list button:has-text('Fetch Feedback')")
    page.click("#submitted_assignments_list a:has-text('view feedback')")
    page.dblclick(f".jp-DirListing-item:has-text('{h.NOTEBOOK}.html')")
    feedback = page.frame_locator(".jp-HTMLViewer iframe")
    feedback.locator("text=Say how many seconds each takes.").wait_for()
    text = feedback.locator("body").inner_text()
    assert "24.5 of 25 points" in text, "twenty-two points by the machine, two and a half by hand"
    assert "to be graded by hand" not in text
    shot(page, "7-student-feedback")
    feedback.locator(f"section#{RUBRIC}").scroll_into_view_if_needed()
    shot(page, "7-student-feedback-comment")


def scores(made, student):
    """What the gradebook holds: {cell: (by the machine, by hand)}."""
    with Classroom.open(made.folder).gradebook() as book:
        notebook = book.find_submission_notebook(h.NOTEBOOK, h.ASSIGNMENT, student)
        return {g.name: (g.auto_score, g.manual_score) for g in notebook.grades}


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

            assert "1 new" in made.mlsys("collect").stdout
            made.mlsys("grade")
            with person(browser, hub, made.instructor, made.passwords[made.instructor] or hub.password) as page:
                if not h.ROOT:
                    page.goto(hub.formgrader)
                instructor_grades_by_hand(page)
            assert scores(made, student) == {name: (points, None) for name, points in AUTO.items()} | {RUBRIC: (None, 2.5)}

            assert "1 released" in made.mlsys("feedback").stdout
            with person(browser, hub, student, password) as page:
                student_reads_feedback(page)

            if h.ROOT:
                with person(browser, hub, made.students[1], made.passwords[made.students[1]]) as page:
                    page.wait_for_selector("#jp-MainMenu", timeout=180_000)
                    page.goto(hub.formgrader)
                    assert "403" in page.locator("h1").inner_text()
                    shot(page, "8-student-formgrader-refused")
            browser.close()
