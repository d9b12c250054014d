"""The report: right numbers, every submission accounted for, one page that fetches and runs nothing."""

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysbook.grading import charts, report
from mlsysbook.grading import statistics as s
from mlsysbook.grading.statistics import Work

TINY = "drills-tiny"
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def item(name, score, points=1.0, kind="check", **more):
    return {"id": f"{kind}-{name}", "kind": kind, "name": name, "score": score, "points": points, "note": "", "behaviours": {},
            "mistake": None} | more


def work(student, *scores, assignment="a", **more):
    return Work(student, assignment, items=[item(f"i{k}", x) for k, x in enumerate(scores)], **more)


# -- the numbers ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=s.ENOUGH, max_size=30))
def test_difficulty_and_discrimination_agree_with_numpy(scores):
    x = np.array(scores)
    found = {i.id: i for i in s.items([work(f"s{k}", *row) for k, row in enumerate(scores)])}
    for k in range(3):
        i = found[f"check-i{k}"]
        assert i.share == pytest.approx(x[:, k].mean()) and i.n == len(x)
        rest = np.delete(x, k, axis=1).sum(axis=1)
        if i.discrimination is not None and x[:, k].std() > 1e-3 and rest.std() > 1e-3:
            assert i.discrimination == pytest.approx(np.corrcoef(x[:, k], rest)[0, 1], abs=1e-6)


def test_discrimination_is_said_only_where_it_means_something():
    few = [work(f"s{k}", k % 2, k % 2) for k in range(s.ENOUGH - 1)]
    assert s.items(few)[0].discrimination is None
    enough = [*few, work("x", 1, 1)]
    assert s.items(enough)[0].discrimination == pytest.approx(1.0)
    assert s.items([work(f"s{k}", 1, k % 2) for k in range(20)])[1].discrimination is None      # all alike


def test_what_waits_for_a_person_counts_neither_way():
    w = Work("ada", "a", items=[item("x", 1.0, 2.0), item("y", None, 8.0)])
    assert (w.share, w.waiting) == (0.5, 8.0)
    y = next(i for i in s.items([w]) if i.name == "y")
    assert (y.n, y.share) == (0, None)
    assert Work("ada", "a", items=[item("y", None)]).share is None


@given(st.lists(st.floats(0, 1), max_size=50))
def test_every_share_falls_into_one_tenth(shares):
    n = charts.counts(shares)
    assert sum(n) == len(shares)
    assert n[-1] >= sum(x == 1.0 for x in shares)


def test_behaviours_and_mistakes_are_counted():
    works = [Work(f"s{k}", "a", items=[item("f", 0.5, behaviours={"core": True, "edges": k > 2, "speed": k > 0}),
                                       item("q", 0.0, kind="answer", mistake="bits, not bytes" if k < 2 else None)]) for k in range(5)]
    f = next(i for i in s.items(works) if i.name == "f")
    assert f.failing == (("edges", 3, 5), ("speed", 1, 5))
    assert s.misconceptions(works) == [("bits, not bytes", "q", ["s0", "s1"])]


def test_failures_are_grouped_by_reason_the_most_frequent_first():
    works = [work("a", fate="damaged"), work("b", ended="it ran out of memory"), work("c", fate="damaged"), work("d", 1)]
    assert s.failures(works) == [("damaged", ["a", "c"]), ("it ran out of memory", ["b"])]


def test_who_needs_help_and_why():
    works = []
    for k, a in enumerate(("one", "two", "three")):
        works += [work("steady", 0.8, assignment=a), work("also", 0.8, assignment=a), work("low", 0.2, assignment=a),
                  work("falling", (0.9, 0.9, 0.3)[k], assignment=a), work("hard", (0.8, 0.8, 0.8)[k], assignment=a)]
    works += [work("gone", 0.8, assignment="one")]
    students = ["steady", "also", "low", "falling", "gone", "never", "hard"]
    found = {c.student: c for c in s.needing_help(students, works, ["one", "two", "three"])}
    assert list(found) == ["never", "gone", "falling", "low"]           # the most urgent first
    assert found["never"].reasons == ("handed in nothing for one, two, three",) and found["never"].share is None
    assert found["gone"].reasons == ("handed in nothing for two, three",)
    assert found["low"].reasons == ("below half of the points",)
    assert found["falling"].reasons == ("latest work 60 percentage points lower against the class than before",)


def test_a_hard_assignment_is_nobodys_fall():
    works = [work(p, x, assignment=a) for p in ("a", "b", "c") for a, x in (("one", 0.9), ("two", 0.9), ("three", 0.5))]
    assert s.needing_help(["a", "b", "c"], works, []) == []


def test_nobody_is_missing_before_the_due_date():
    assert s.needing_help(["ada"], [], []) == []


# -- the page ---------------------------------------------------------------------------------------------------------------


class Text(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " "

    def handle_endtag(self, tag):
        self.text += " "

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(graded_class, course):
    """page() writes the report of the class as it stands -> its parsed text and its HTML."""

    def page():
        to = graded_class.root / "report.html"
        with graded_class.at_work():
            report.write(graded_class, course, course.assignments, to)
        return Text(to.read_text()), to.read_text()

    return page


def test_every_student_and_every_flag_is_on_the_page(graded_class, page, write_record):
    flags = [{"kind": kind, "note": f"note about {kind}"} for kind in [*report.KINDS, "something-new"]]
    write_record(graded_class, "ada", flags=flags)
    text = page()[0].text
    for f in flags:
        assert f["note"] in text and report.KINDS.get(f["kind"], f["kind"]) in text
    for student in ("ada", "bob", "eve"):
        assert student in text
    assert "eve Eve Tester – handed in nothing for Tiny drill" in text
    assert "2 of 3 students handed in" in text and "2 wait for grading by hand" in text


def test_points_given_by_hand_count(graded_class, page):
    assert "100 % of the points, on average" in page()[0].text       # 5 of the 5 that are graded
    with graded_class.gradebook() as gb:
        for student in ("ada", "bob"):
            grade = gb.find_grade("rubric-why", "tiny", TINY, student)
            grade.manual_score, grade.needs_manual_grade = 0.0, False
        gb.db.commit()
    text = page()[0].text
    assert "50 % of the points, on average" in text and "0 wait for grading by hand" in text


def test_late_work_extensions_and_penalties_are_listed(graded_class, page):
    path = graded_class.root / "class.yml"
    path.write_text(path.read_text().replace("percent_per_day: 0", "percent_per_day: 10"))
    graded_class.late = type(graded_class).open(graded_class.root).late
    with graded_class.gradebook() as gb:
        at = gb.find_submission(TINY, "ada").timestamp
        gb.update_or_create_assignment(TINY, duedate=at - timedelta(hours=30))
        gb.grant_extension(TINY, "bob", days=2)
    text = page()[0].text
    assert re.search(r"ada Ada Tester Tiny drill 2\d{3}-\d\d-\d\d \d\d:\d\d UTC 1\.2 days – 1 ", text), text[-3000:]
    assert "in time 2 days, 0:00:00" in text
    assert "10 % of the score for every day begun" in text


def test_a_refused_submission_is_on_the_page_though_it_has_no_grade(graded_class, page):
    path = graded_class.notes_path(TINY, "eve")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"kind": "identity", "note": "handed in under the name of ada; not collected"}]))
    text = page()[0].text
    assert "handed in under the name of ada; not collected" in text and "Work under another's name" in text
    assert "2 of 3 students handed in" in text


def test_grading_without_a_box_is_said_at_the_top(graded_class, page, write_record):
    assert "without a sandbox" not in page()[0].text
    write_record(graded_class, "ada", unsafe=True)
    text = page()[0].text
    assert "1 of 2 submissions were graded without a sandbox" in text and text.index("without a sandbox") < text.index("students")


def test_a_class_without_grades_has_a_report_too(released, course):
    with released.at_work():
        report.write(released, course, course.assignments, released.root / "report.html")
    text = Text((released.root / "report.html").read_text()).text
    assert "Nothing is graded yet." in text and "Nothing handed in yet for Tiny drill" in text


def test_the_report_fetches_and_runs_nothing_whatever_a_record_says(graded_class, page, write_record):
    evil = "<script src='http://127.0.0.1:1/x'></script><img src=x onerror=alert(1)>\x1b[2J\u202e"
    write_record(graded_class, "ada", fate=evil, flags=[{"kind": evil, "note": evil}], items=[
        {"id": "check-double", "kind": evil, "name": evil, "score": 1.0, "points": 3, "note": evil, "behaviours": {evil: False},
         "mistake": evil, "value": None, "unit": evil}])
    parsed, html = page()
    assert {t for t, _ in parsed.tags}.isdisjoint({"script", "img", "link", "iframe", "object"})
    assert not any(k.startswith("on") or k in ("src", "xlink:href") for _, attrs in parsed.tags for k in attrs)
    assert all(attrs["href"].startswith("#") for t, attrs in parsed.tags if t == "a")
    assert not re.search("https?://", html.replace("http://127.0.0.1:1/x", "")) and "default-src 'none'" in html
    assert "\x1b" not in html and "\u202e" not in html


def test_charts_are_read_aloud_and_links_lead_somewhere(page):
    parsed, _ = page()
    assert all(attrs.get("role") == "img" and attrs.get("aria-label") for t, attrs in parsed.tags if t == "svg")
    ids = {attrs["id"] for _, attrs in parsed.tags if "id" in attrs}
    assert {attrs["href"][1:] for t, attrs in parsed.tags if t == "a"} <= ids


def simulated(n=60, seed=7):
    """Works of a simulated class on three assignments, from a model of ability and difficulty."""
    rng = np.random.default_rng(seed)
    ability = rng.normal(size=n)
    works = {}
    for a, checks in {"tinytorch-01_tensor": 9, "labs-v1_02_physics": 4, "drills-kv_cache": 3}.items():
        found = []
        for k in range(n):
            if rng.random() < 0.05:
                continue
            items = []
            for j in range(checks):
                p = 1 / (1 + np.exp(-(ability[k] - (j - checks / 2) * 0.5) * 1.7))
                right = rng.random(4) < p
                behaviours = dict(zip(("the essential thing", "empty input", "negative strides", "mixed types"), map(bool, right),
                                      strict=True))
                items.append(item(f"item_{j}", float(round(6 * right.mean() * right[0], 1)), 6.0, "check" if j % 3 else "answer",
                                  behaviours=behaviours if j % 3 else {},
                                  mistake="bits were taken for bytes" if not j % 3 and rng.random() < 0.2 else None))
            items.append(item("explain", None if rng.random() < 0.1 else float(rng.integers(0, 6)), 5.0, "rubric"))
            found.append(Work(f"s{k:02}", a, items=items, points=checks * 6 + 5, seconds_late=float(rng.random() < 0.06) * 9e4,
                              submitted="2026-11-30 21:40 UTC", penalty=0.0))
        works[a] = found
    works["tinytorch-01_tensor"][3].fate = "damaged"
    works["tinytorch-01_tensor"][5].ended = "the process ended in cell 12 (exit status 1)"
    works["tinytorch-01_tensor"][8].flags = [{"kind": "tamper", "note": "locked cell check-matmul was edited; the original was put back"}]
    works["drills-kv_cache"][9].flags = [{"kind": "copied-variant", "note": "kv_bytes: the answer is right for the variant of s04"}]
    return works


def render_simulated(classroom, course, n=60):
    works = simulated(n)
    students = [f"s{k:02}" for k in range(n)]
    titles = {"tinytorch-01_tensor": "TinyTorch 01: Tensor", "labs-v1_02_physics": "Lab V1-02: Physics of Deployment",
              "drills-kv_cache": "Drill: KV cache and time per token"}
    due = {a: NOW - timedelta(hours=1) for a in works}
    return report.render(classroom, course, works, students, {}, due, titles, now=NOW)


@pytest.mark.browser
def test_a_full_class_fits_a_screen_and_a_sheet(classroom, course, chromium, tmp_path):
    from playwright.sync_api import sync_playwright

    path = tmp_path / "report.html"
    path.write_text(render_simulated(classroom, course))
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        asked = []
        page.on("request", lambda r: asked.append(r.url))
        page.goto(path.as_uri())
        assert asked == [path.as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        pdf = page.pdf(format="A4", print_background=True)
        browser.close()
    assert 3 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") + pdf.count(b"/Type /Page/") <= 20
