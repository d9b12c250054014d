"""Handing out: what reaches the exchange, when it is due, and what is left alone the second time."""

import json
import os
import stat

import nbformat
import pytest
import yaml

from mlsysbook import catalogue
from mlsysbook.errors import CatalogueError, ClassError
from mlsysbook.grading import collect, release
from mlsysbook.grading.deadlines import due, duration

TINY = "drills-tiny"


def hand_out(classroom, course, **options):
    with classroom.at_work():
        return [r.state for r in release.release(classroom, course, course.assignments, **options)]


def change_source(course):
    path = course.root / "source" / TINY / "tiny.ipynb"
    path.write_text(path.read_text().replace("Write `double`.", "Write `double` well."))


def test_a_release_holds_no_solution_and_everyone_can_read_it(classroom, course):
    assert hand_out(classroom, course) == ["released"]
    out = classroom.outbound / TINY / "tiny.ipynb"
    text = out.read_text()
    assert "return 2 * x" not in text and "NotImplementedError" in text and "assert double(2) == 4" in text
    assert stat.S_IMODE(out.stat().st_mode) == 0o644 and stat.S_IMODE(out.parent.stat().st_mode) == 0o755


def test_the_exchange_gets_safe_modes(classroom, course):
    hand_out(classroom, course)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (classroom.exchange, classroom.inbound, classroom.outbound)}
    assert modes == {"exchange": 0o1777, "inbound": 0o3733, "outbound": 0o755}


def test_the_class_keeps_its_own_copy_of_the_source(classroom, course):
    hand_out(classroom, course)
    change_source(course)
    assert "well" not in (classroom.source(TINY) / "tiny.ipynb").read_text()


def test_releasing_twice_leaves_it_alone(classroom, course):
    hand_out(classroom, course)
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in classroom.outbound.rglob("*")}
    assert hand_out(classroom, course) == ["same"]
    assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in classroom.outbound.rglob("*")} == before


def test_a_changed_source_is_released_again_only_when_told_to(classroom, course):
    hand_out(classroom, course)
    change_source(course)
    with pytest.raises(ClassError, match="drills/tiny is released already and its source has changed since: --force replaces it"):
        hand_out(classroom, course)
    assert hand_out(classroom, course, force=True, dry_run=True) == ["would be replaced"]
    assert "well" not in (classroom.outbound / TINY / "tiny.ipynb").read_text()
    assert hand_out(classroom, course, force=True) == ["replaced"]
    assert "well" in (classroom.outbound / TINY / "tiny.ipynb").read_text()
    assert [p.name for p in classroom.outbound.iterdir()] == [TINY]


def test_hidden_cases_that_changed_reach_the_judge_and_leave_the_release_alone(classroom, course):
    hand_out(classroom, course)
    a = course.assignments[0]
    a.author_source.write_text("# other hidden cases\n")
    assert classroom.author(a).read_text() == "# the author's source\n"
    assert hand_out(classroom, course, dry_run=True) == ["would be rekeyed"]
    assert hand_out(classroom, course) == ["rekeyed"]
    assert classroom.author(a).read_text() == "# other hidden cases\n"
    assert hand_out(classroom, course) == ["same"]


def test_a_dry_run_releases_nothing(classroom, course):
    assert hand_out(classroom, course, dry_run=True) == ["would be released"]
    assert not classroom.exchange.exists() and not (classroom.root / "release" / TINY).exists()


def test_killed_half_way_a_second_run_completes_it(classroom, course, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(release.Release, "copy_files", killed)
        hand_out(classroom, course)
    assert hand_out(classroom, course) == ["released"]
    assert (classroom.outbound / TINY / "tiny.ipynb").exists()


def test_an_assignment_that_is_not_built_is_one_line(classroom, course):
    (course.root / "source" / TINY / "tiny.ipynb").unlink()
    with pytest.raises(ClassError, match="drills/tiny is not built: .* run `mlsys build drills/tiny`"):
        hand_out(classroom, course)


def test_an_unknown_assignment_names_the_nearest(course):
    with pytest.raises(CatalogueError, match="unknown assignment 'drills/tinny'; did you mean drills/tiny"):
        course.select(["drills/tinny"])


def test_what_nbgrader_objects_to_is_one_line(classroom, course):
    path = course.root / "source" / TINY / "tiny.ipynb"
    nb = nbformat.read(path, as_version=4)
    nb.cells[3].metadata.nbgrader.grade_id = "check-double"                      # a second cell of that name
    nbformat.write(nb, path)
    with pytest.raises(ClassError, match=r"^nbgrader generate_assignment drills-tiny: .*; its whole log is .*nbgrader.log$") as caught:
        hand_out(classroom, course)
    assert "Traceback" not in str(caught.value) and "check-double" in str(caught.value)


def test_an_exchange_where_students_cannot_write_is_refused(classroom, course):
    classroom.exchange.mkdir()
    classroom.exchange.chmod(0o755)
    with pytest.raises(ClassError, match="not writable by everyone .*: chmod 1777"):
        hand_out(classroom, course)


@pytest.mark.root
def test_an_exchange_of_another_user_is_refused(classroom, course):
    classroom.exchange.mkdir()
    classroom.exchange.chmod(0o1777)
    os.chown(classroom.exchange, 65534, 65534)
    with pytest.raises(ClassError, match="belongs to nobody"):
        hand_out(classroom, course)


def test_dates_reach_the_gradebook_in_utc_and_class_yml_as_typed(classroom, course):
    hand_out(classroom, course)
    classroom.set_dates({TINY: due("2026-12-01 23:59 Europe/Berlin")}, None)
    assert release.sync_dates(classroom, course) == ["drills-tiny is due 2026-12-01 23:59 Europe/Berlin = 2026-12-01 22:59 UTC"]
    assert release.sync_dates(classroom, course) == []
    with classroom.gradebook() as gb:
        assert gb.find_assignment(TINY).duedate.isoformat() == "2026-12-01T22:59:00"
    assert yaml.safe_load((classroom.root / "class.yml").read_text())["due"] == {TINY: "2026-12-01 23:59 Europe/Berlin"}


def test_a_date_typed_in_the_formgrader_stays_where_class_yml_is_silent(classroom, course):
    hand_out(classroom, course)
    with classroom.gradebook() as gb:
        gb.update_or_create_assignment(TINY, duedate="2027-01-01 00:00:00 UTC")
    assert release.sync_dates(classroom, course) == []
    with classroom.gradebook() as gb:
        assert gb.find_assignment(TINY).duedate.year == 2027


def test_an_extension_takes_effect_with_the_submission_and_goes_when_taken_back(graded_class, course):
    moment = due("2026-01-01 00:00 UTC")
    graded_class.set_dates({TINY: moment}, {TINY: {"ada": duration("300d")}})
    lines = release.sync_dates(graded_class, course)
    assert "ada has 300 days, 0:00:00 more for drills-tiny" in lines
    with graded_class.gradebook() as gb:
        assert gb.find_submission(TINY, "ada").duedate == moment.naive + duration("300d")
        assert gb.find_submission(TINY, "bob").duedate == moment.naive
    graded_class.set_dates(None, {TINY: {"ada": duration("0")}})
    assert release.sync_dates(graded_class, course) == ["ada has no extension for drills-tiny"]


def test_an_extension_before_any_submission_does_not_touch_the_gradebook(released, course):
    """A submission without work would count in nbgrader's averages and stop a new release."""
    released.set_dates(None, {TINY: {"ada": duration("2d")}})
    assert release.sync_dates(released, course) == []
    with released.gradebook() as gb:
        assert gb.find_assignment(TINY).num_submissions == 0


def test_dates_of_unknown_assignments_and_students_are_errors(released, course):
    released.set_dates(None, {TINY: {"adda": duration("2d")}})
    with pytest.raises(ClassError, match="extension for adda, who is not on the roster"):
        release.sync_dates(released, course)
    released.set_dates({"drills-teeny": due("2026-12-01")}, None)
    with pytest.raises(CatalogueError, match="unknown assignment 'drills-teeny'; did you mean"):
        release.sync_dates(released, course)


def test_a_student_can_fetch_what_was_released(released, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    api = released.api()
    api.coursedir.assignment_id = TINY
    with released.logged():
        api.exchange.FetchAssignment(coursedir=api.coursedir, authenticator=api.authenticator, parent=api).start()
    assert (tmp_path / TINY / "tiny.ipynb").exists()


def test_the_class_may_be_the_course_itself(course, tmp_path, monkeypatch, empty_gradebook):
    import shutil

    from mlsysbook.grading.classroom import Classroom

    monkeypatch.setenv("MLSYS_COURSE", str(course.root))
    shutil.copy(empty_gradebook, course.root)
    room = Classroom.new(course.root, course_id="tiny", exchange=tmp_path / "exchange", check_owner=False)
    assert hand_out(room, catalogue.load(course.root)) == ["released"]
    assert json.loads((room.root / ".mlsys" / "released.json").read_text()).keys() == {TINY}
    assert collect.waiting(room, TINY) == set()
