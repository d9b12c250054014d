"""Syllabi: what is in them, when, and that a calendar reads what comes out."""

import csv
import io
import json
import re
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree

import icalendar
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mlsysbook import catalogue
from mlsysbook.book.site import is_outline
from mlsysbook.cli import app, class_, teach  # noqa: F401  (they register their commands)
from mlsysbook.errors import CatalogueError
from mlsysbook.teach import calendar, formats
from mlsysbook.teach.calendar import SyllabusError
from mlsysbook.teach.syllabus import KINDS, PLANS, TERMS, references, syllabus

ROOT = Path(__file__).parents[2]
START = date(2027, 1, 25)
COURSE = catalogue.load(ROOT)
BREAK = {date(2027, 3, 15) + timedelta(days=n): "Spring break" for n in range(5)}


@pytest.fixture(scope="module")
def course():
    return COURSE


def keys(s, kind):
    return [i.key for i in s.items if i.kind == kind]


def test_all_twenty_modules_stand_once_in_the_two_terms_and_both_terms_program(course):
    built = {name: keys(syllabus(course, name), "build") for name in TERMS}
    assert sorted(built["foundations"] + built["scale"]) == sorted(m.assignment for m in course.modules) and len(course.modules) == 20
    assert min(map(len, built.values())) >= 6
    for name in TERMS:
        busy = {n for i in syllabus(course, name).items if i.kind == "build" for n in i.spans}
        assert len(busy) >= 12, f"{name}: there is something to program in three weeks of four"


def test_all_chapters_labs_kits_and_drill_sets_stand_once_in_the_two_terms(course):
    both = [i for name in TERMS for i in syllabus(course, name).items]
    for kind, wanted in (("read", [c.number for c in course.chapters]), ("lab", [x.number for x in course.labs]),
                         ("deploy", [k.name for k in course.kits]), ("practise", [a.name for a in course.assignments if a.part == "drills"])):
        assert Counter(i.key for i in both if i.kind == kind) == Counter(wanted)


def test_what_a_module_builds_on_is_set_and_due_before_it(course):
    at = {i.key: (list(TERMS).index(name), i.spans[0], i.spans[-1]) for name in TERMS for i in syllabus(course, name).items if i.kind == "build"}
    for key, (term, first, last) in at.items():
        for before in course.find(key).requires:
            other = at[before]
            assert (other[0], other[1]) < (term, first) and (other[0], other[2]) <= (term, last), f"{key} builds on {before}"


@pytest.mark.parametrize("name", PLANS)
def test_what_is_not_written_says_so_in_every_format(course, name):
    s = syllabus(course, name, start=START)
    outlines = {c.number for c in course.chapters if is_outline(course, c)}
    assigned = {x.number: x.assignment for x in course.labs}
    for i in s.items:
        assert (i.state == "outline") == (i.kind == "read" and i.key in outlines)
        assert (i.state == "planned") == (i.kind == "lab" and assigned[i.key] is None)
        assert not (i.state and i.graded)
        if i.state:
            assert f"{i.title} ({i.state}" in formats.markdown(s) and f"{i.title} ({i.state}".replace("&", "&amp;") in formats.page(s)
            assert [i.key, i.title, i.state] in [[r["key"], r["title"], r["state"]] for r in csv.DictReader(io.StringIO(formats.table(s)))]


def test_labs_follow_their_chapter_by_a_week(course):
    for name in TERMS:
        s = syllabus(course, name)
        read = {x: i.spans[0] for i in s.items if i.kind == "read" for c in course.chapters if c.number == i.key for x in c.labs}
        for i in s.items:
            if i.kind == "lab" and not i.key.endswith("-00"):
                assert i.spans[0] == min(read[i.key] + 1, 15)


def test_the_work_of_a_week_is_the_minutes_of_the_catalogue(course):
    for name in PLANS:
        s = syllabus(course, name)
        assert s.minutes == pytest.approx(sum(i.minutes for i in s.items), abs=len(s.sessions))
        assert all(i.minutes == course.find(i.assignment).minutes for i in s.items if i.assignment)
        assert [x.number for x in s.sessions if x.heavy] == [x.number for x in s.sessions if x.minutes > s.load]


def test_a_week_above_the_load_is_named(course):
    import dataclasses

    tight = dataclasses.replace(course, schedule=course.schedule | {"load": 300})
    s = syllabus(tight, "foundations")
    heavy = [x.number for x in s.sessions if x.heavy]
    assert heavy and "Above 5 h a week" in s.notes[0] and all(f"{n} (" in s.notes[0] for n in heavy)
    assert formats.markdown(s).count("(heavy)") == len(heavy)


def test_each_week_of_the_seminar_has_a_paper_that_the_book_cites(course):
    s, known = syllabus(course, "seminar"), references(course)
    assert len(s.sessions) == 14 and all(len([i for i in x.begins if i.kind == "paper"]) == 1 for x in s.sessions)
    papers = keys(s, "paper")
    assert len(set(papers)) == 14 and all(f"{{{key}," in (ROOT / "book/references.bib").read_text() for key in papers)
    assert known["dean2013tail"] == "Dean and others (2013), The Tail at Scale"
    assert not any(set("{}\\") & set(text) for text in known.values())


def test_the_workshop_uses_only_what_is_written_and_fits_its_days(course):
    s = syllabus(course, "workshop", start=date(2027, 1, 29))
    assert not any(i.state for i in s.items) and not any(x.heavy for x in s.sessions)
    assert [str(x.meetings[0]) for x in s.sessions] == ["2027-01-29", "2027-02-01", "2027-02-02"]
    assert all(x.due_on == x.meetings[0] for x in s.sessions)


def test_a_lost_week_shifts_or_merges_as_stated(course):
    plain = syllabus(course, "foundations", start=START)
    moved = syllabus(course, "foundations", start=START, holidays=BREAK)
    merged = syllabus(course, "foundations", start=START, holidays=BREAK, lost="merge")
    assert [x.begins for x in moved.sessions] == [x.begins for x in plain.sessions]
    assert moved.sessions[7].meetings[0] - plain.sessions[7].meetings[0] == timedelta(days=7)
    assert "moved what follows" in moved.notes[-1] and "2027-05-19" in moved.notes[-1]
    assert len(merged.sessions) == 15 and merged.sessions[-1].meetings == plain.sessions[-1].meetings
    assert merged.sessions[7].periods == (7, 8) and set(merged.items) == set(plain.items)
    assert "week 8" in merged.notes[-1]


def test_a_lost_day_is_named_and_the_week_stays(course):
    s = syllabus(course, "foundations", start=START, holidays={date(2027, 2, 15): "Founders' Day"})
    assert s.sessions[3].meetings == (date(2027, 2, 17),) and s.sessions[3].periods == (3,)
    assert "Wed 17 Feb; no class on Mon 15 Feb: Founders' Day" in formats.markdown(s)


day_sets = st.sets(st.integers(0, 6), min_size=1, max_size=4)
free = st.sets(st.integers(-10, 200), max_size=60)


@given(start=st.dates(date(2024, 1, 1), date(2030, 1, 1)), days=day_sets, off=free, lost=st.sampled_from(calendar.LOST), count=st.integers(1, 16))
def test_no_class_and_nothing_due_on_a_holiday_and_every_period_once_in_order(start, days, off, lost, count):
    holidays = {start + timedelta(days=n): "x" for n in off}
    try:
        found = calendar.weeks(count, start, days=tuple(sorted(days)), off=holidays, lost=lost)
    except SyllabusError as error:
        assert lost == "merge" or "no day of class" in str(error)
        assert "\n" not in str(error)
        return
    assert [p for w in found for p in w.periods] == list(range(count))
    meetings = [d for w in found for d in w.meetings]
    assert meetings == sorted(set(meetings)) and not set(meetings) & set(holidays) and meetings[0] >= start
    assert {d.weekday() for d in meetings} <= days
    for w in found:
        due = calendar.due(w, holidays)
        assert due not in holidays and due >= w.last >= w.meetings[-1]
        wanted = {w.monday + timedelta(days=d) for d in days} - {d for d in (w.monday + timedelta(days=d) for d in days) if d < start}
        assert wanted == set(w.meetings) | {d for d, _ in w.lost}
    if lost == "merge":
        first = start - timedelta(days=start.weekday())
        assert found[-1].monday < first + timedelta(weeks=count + 1)
    else:
        assert len(found) == count and all(len(w.periods) == 1 for w in found)


@given(off=free, lost=st.sampled_from(calendar.LOST), end=st.integers(1, 250))
def test_a_term_ends_in_time_or_says_so_in_a_line(off, lost, end):
    last = START + timedelta(days=end)
    try:
        found = calendar.weeks(16, START, off={START + timedelta(days=n): "x" for n in off}, lost=lost, end=last)
    except SyllabusError as error:
        assert "\n" not in str(error)
    else:
        assert found[-1].meetings[-1] <= last


def test_a_term_that_does_not_fit_says_what_to_do(course):
    with pytest.raises(SyllabusError, match=r"^16 weeks from 2027-01-25 have their last class on 2027-05-19, 1 week after --end 2027-05-14; use --lost merge"):
        syllabus(course, "foundations", start=START, holidays=BREAK, end=date(2027, 5, 14))
    assert syllabus(course, "foundations", start=START, holidays=BREAK, end=date(2027, 5, 14), lost="merge")
    with pytest.raises(SyllabusError, match="start earlier"):
        syllabus(course, "foundations", start=START, end=date(2027, 5, 1))


@pytest.mark.parametrize(("text", "wanted"), [
    ("2027-13-01 x", "holidays:1: got '2027-13-01'"), ("\n15.3.2027", "holidays:2: got '15.3.2027'"), ("2027-03-19..2027-03-15 x", "no holiday"),
    ("2027-01-01..2029-01-01", "no holiday")])
def test_a_line_of_holidays_that_is_none_is_named(text, wanted):
    with pytest.raises(SyllabusError, match=re.escape(wanted)):
        calendar.holidays(text)


def test_holidays_are_days_ranges_and_comments():
    found = calendar.holidays("# term\n2027-02-15 Founders' Day\n2027-03-15..2027-03-17, Spring break # all\n2027-04-02\n")
    assert found == {date(2027, 2, 15): "Founders' Day", date(2027, 4, 2): "holiday"} | {date(2027, 3, n): "Spring break" for n in (15, 16, 17)}


def test_a_module_set_before_what_it_builds_on_or_forgotten_is_refused(course):
    import dataclasses

    build = course.schedule["build"]
    for changed, said in (({k: v for k, v in build.items() if k != 7}, "differ in 7"), (build | {8: "F2-F3"}, "before tinytorch"),
                          (build | {8: "F3-F2"}, "first before the last"), (build | {8: "week 3"}, "wants a week")):
        other = dataclasses.replace(course, schedule=course.schedule | {"build": changed})
        with pytest.raises(CatalogueError, match=said):
            syllabus(other, "foundations")


@pytest.mark.parametrize("name", PLANS)
def test_a_calendar_program_reads_back_what_was_planned(course, name):
    s = syllabus(course, name, start=START, holidays=BREAK)
    text = formats.ics(s)
    assert text == formats.ics(s) and text.endswith("END:VCALENDAR\r\n") and "\n" not in text.replace("\r\n", "")
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    events = icalendar.Calendar.from_ical(text).walk("VEVENT")
    uids = [str(e["UID"]) for e in events]
    assert len(set(uids)) == len(uids)
    for e in events:
        assert {"DTSTAMP", "DTSTART", "DTEND", "SUMMARY"} <= set(e) and e.decoded("DTEND") - e.decoded("DTSTART") == timedelta(days=1)
    due = {str(e["SUMMARY"]): e.decoded("DTSTART") for e in events if str(e["SUMMARY"]).startswith("Due: ")}
    assert due == {f"Due: {i.title}": x.due_on for x in s.sessions for i in x.due}
    classes = sorted(e.decoded("DTSTART") for e in events if not str(e["SUMMARY"]).startswith("Due: "))
    assert classes == [d for x in s.sessions for d in x.meetings]
    said = [str(e["DESCRIPTION"]) for e in events if not str(e["SUMMARY"]).startswith("Due: ")]
    assert all(i.label in "\n".join(said) for i in s.items)


def test_an_event_keeps_its_uid_when_a_holiday_moves_it(course):
    def dates(holidays):
        text = formats.ics(syllabus(course, "foundations", start=START, holidays=holidays))
        return {str(e["UID"]): e.decoded("DTSTART") for e in icalendar.Calendar.from_ical(text).walk("VEVENT")}

    before, after = dates(None), dates(BREAK)
    assert before.keys() == after.keys() and any(before[u] != after[u] for u in before)


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), max_size=300))
def test_folded_lines_unfold_to_what_they_were(text):
    folded = formats._fold(text)
    assert folded.replace("\r\n ", "") == text and all(len(line.encode()) <= 75 for line in folded.split("\r\n"))


@pytest.mark.parametrize("name", PLANS)
def test_the_page_is_one_table_with_headers_and_reads_nothing_from_elsewhere(course, name):
    text = formats.page(syllabus(course, name, start=START))
    root = ElementTree.fromstring(re.sub(r"<meta[^>]*>", "", text.partition("\n")[2]))
    table = root.find(".//table")
    heads = [th.text for th in table.findall("./thead/tr/th")]
    rows = table.findall("./tbody/tr")
    assert root.get("lang") == "en" and root.find(".//title").text == root.find(".//h1").text and table.find("caption") is not None
    assert all(th.get("scope") == "col" for th in table.findall("./thead/tr/th"))
    assert all(r[0].tag == "th" and r[0].get("scope") == "row" and [td.get("data-label") for td in r[1:]] == heads[1:] for r in rows)
    assert "http" not in text and "<script" not in text


def test_csv_and_json_hold_every_item(course):
    s = syllabus(course, "scale", start=START, holidays=BREAK)
    rows = list(csv.DictReader(io.StringIO(formats.table(s))))
    assert tuple(rows[0]) == formats.CSV_COLUMNS and [r["key"] for r in rows] == [i.key for i in s.items]
    assert {r["kind"] for r in rows} <= set(KINDS) and all((r["due"] == "") != (r["kind"] in ("build", "deploy", "practise")) or r["kind"] == "lab"
                                                           for r in rows)
    data = json.loads(formats.data(s))
    assert [i["key"] for x in data["sessions"] for i in x["begins"]] == [i.key for i in s.items] and data["start"] == "2027-01-25"


def test_the_command_writes_by_the_ending_refuses_to_overwrite_and_complains_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MLSYS_COURSE", str(ROOT))
    monkeypatch.chdir(ROOT)
    run = lambda *words: CliRunner().invoke(app, ["syllabus", *map(str, words)])  # noqa: E731
    out = tmp_path / "term.ics"
    assert run("scale", "--start", "2027-01-25", "--out", out).exit_code == 0 and out.read_bytes().startswith(b"BEGIN:VCALENDAR\r\n")
    assert "is there already" in str(run("scale", "--start", "2027-01-25", "--out", out).exception)
    assert run("scale", "--start", "2027-01-25", "--out", out, "--force").exit_code == 0
    assert run().stdout.startswith("# ML Systems: Foundations")
    for words in (["autumn"], ["--start", "25.1.2027"], ["--days", "monday,foo"], ["--lost", "skip", "--start", "2027-01-25"], ["-f", "pdf"],
                  ["-f", "ics"], ["--holidays", "nowhere.txt"], ["--end", "2027-05-01"]):
        said = run(*words).exception
        assert isinstance(said, SyllabusError) and "\n" not in str(said), words
