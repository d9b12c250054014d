"""Collecting: what students leave in the exchange is taken safely, at a time that they cannot choose."""

import contextlib
import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta

import pytest

from mlsysbook.errors import ClassError
from mlsysbook.grading import collect as c
from mlsysbook.grading import intake
from mlsysbook.grading.deadlines import due, duration

TINY = "drills-tiny"


def collect(classroom, **options):
    return {f.student: f for f in c.collect(classroom, TINY, **options)}


def notes(classroom, student):
    path = classroom.notes_path(TINY, student)
    return json.loads(path.read_text()) if path.exists() else []


def stamp(classroom, student):
    text = (classroom.submitted(student, TINY) / "timestamp.txt").read_text()
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_submission_arrives_whole_and_once(released, hand_in):
    folder = hand_in("ada", files={"data/more.txt": "x"})
    found = collect(released)
    assert found["ada"].state == "new" and found["ada"].notes == []
    assert contents(released.submitted("ada", TINY)) == contents(folder)
    assert collect(released)["ada"].state == "same"
    assert not list((released.root / ".mlsys").glob("collect-*"))


def test_a_newer_submission_replaces_the_one_collected(released, hand_in):
    hand_in("ada", files={"a.txt": "1"})
    collect(released)
    hand_in("ada", files={"a.txt": "2"})
    assert c.waiting(released, TINY) == {"ada"}
    assert collect(released)["ada"].state == "updated"
    assert (released.submitted("ada", TINY) / "a.txt").read_text() == "2"
    assert c.waiting(released, TINY) == set()


def test_without_update_what_was_collected_stays(released, hand_in):
    hand_in("ada", files={"a.txt": "1"})
    collect(released)
    hand_in("ada", files={"a.txt": "2"})
    assert collect(released, update=False)["ada"].state == "same"
    assert (released.submitted("ada", TINY) / "a.txt").read_text() == "1"


def test_a_dry_run_writes_nothing(released, hand_in):
    hand_in("ada", files={"link.txt": "1"})
    before = contents(released.root)
    assert collect(released, dry_run=True)["ada"].state == "would be new"
    assert contents(released.root) == before


def test_no_link_is_followed(released, hand_in, tmp_path):
    secret = tmp_path / "instructor.txt"
    secret.write_text("the answers")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside.txt").write_text("the answers")
    folder = hand_in("ada", notebook=False)
    (folder / "tiny.ipynb").symlink_to(secret)
    (folder / "up").symlink_to("../..")
    (folder / "all").symlink_to(tmp_path / "folder")
    (folder / "sub").mkdir()
    (folder / "sub" / "deep.txt").symlink_to(secret)
    found = collect(released)["ada"]
    got = contents(released.submitted("ada", TINY))
    assert set(got) == {"timestamp.txt", "submission_secret.txt"} and b"the answers" not in b"".join(got.values())
    assert {n["kind"] for n in found.notes} == {"escape"} and len(found.notes) == 4
    assert any(f"is a link to {intake.shown(str(secret))}" in n["note"] for n in notes(released, "ada"))


def test_a_submission_that_is_itself_a_link_is_refused(released, hand_in, tmp_path):
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "tiny.ipynb").write_text("{}")
    (released.inbound / f"ada+{TINY}+2026-01-01 00:00:00 UTC+abcdefgh").symlink_to(real)
    hand_in("bob")
    found = collect(released)
    assert found["ada"].state == "refused" and "is no folder" in found["ada"].notes[0]["note"]
    assert found["bob"].state == "new" and not released.submitted("ada", TINY).exists()


def test_a_pipe_or_socket_does_not_stop_collecting(released, hand_in):
    folder = hand_in("ada")
    os.mkfifo(folder / "pipe")
    started = time.monotonic()
    found = collect(released)["ada"]
    assert time.monotonic() - started < 60
    assert [n["note"] for n in found.notes] == ["pipe is neither a file nor a folder; left behind"]
    assert (released.submitted("ada", TINY) / "tiny.ipynb").exists()


def test_a_huge_file_stays_behind_and_is_named(released, hand_in):
    folder = hand_in("ada", notebook=False)
    with open(folder / "tiny.ipynb", "wb") as f:
        f.truncate(500 << 20)                           # sparse: takes no room, but a copy would
    found = collect(released)["ada"]
    assert [(n["kind"], n["note"]) for n in found.notes] == [("limit", "tiny.ipynb has 500 MiB (limit 32 MiB); left behind")]
    assert not (released.submitted("ada", TINY) / "tiny.ipynb").exists()


@pytest.mark.parametrize(("limit", "files", "said"), [
    ("MAX_TOTAL", {f"f{i}.bin": b"x" * 400 for i in range(18)}, "would take the submission beyond 6000 bytes"),
    ("MAX_FILES", {f"f{i}": "x" for i in range(30)}, "more than 20 files"),
    ("MAX_ENTRIES", {f"f{i}": "x" for i in range(30)}, "more than 25 entries"),
    ("MAX_DEPTH", {"a/b/c/d/e/f.txt": "x"}, "folders nested deeper than 2"),
])
def test_limits_hold_and_say_so(released, hand_in, monkeypatch, limit, files, said):
    monkeypatch.setattr(intake, limit, {"MAX_TOTAL": 6000, "MAX_FILES": 20, "MAX_ENTRIES": 25, "MAX_DEPTH": 2}[limit])
    hand_in("ada", files=files)
    hand_in("bob")
    found = collect(released)
    assert any(n["kind"] == "limit" and said in n["note"] for n in found["ada"].notes), found["ada"].notes
    assert found["bob"].notes == [] and len(found["ada"].notes) <= 7
    assert (released.submitted("ada", TINY) / "tiny.ipynb").exists() or limit == "MAX_ENTRIES"
    copied = [p for p in released.submitted("ada", TINY).rglob("*") if p.is_file()]
    assert len(copied) <= 25 and sum(p.stat().st_size for p in copied) <= 7000


@pytest.mark.parametrize("name", [b"bad-\xff.txt", b"line\nbreak.txt", b"esc\x1b[2J.txt", "right\u202eleft.txt".encode()])
def test_an_unprintable_name_stays_behind_and_is_spelled_out(released, hand_in, name):
    folder = hand_in("ada")
    with open(os.fsencode(folder) + b"/" + name, "w") as f:
        f.write("x")
    found = collect(released)["ada"]
    assert len(found.notes) == 1 and found.notes[0]["kind"] == "escape"
    assert found.notes[0]["note"].isprintable()
    assert set(contents(released.submitted("ada", TINY))) == {"tiny.ipynb", "timestamp.txt", "submission_secret.txt"}


def test_what_an_instructor_could_open_by_mistake_is_not_copied(released, hand_in):
    hand_in("ada", files={"tiny.html": "<script>", "x.SVG": "<svg>", ".ipynb_checkpoints/a.ipynb": "", "feedback/x.txt": ""})
    collect(released)
    assert set(contents(released.submitted("ada", TINY))) == {"tiny.ipynb", "timestamp.txt", "submission_secret.txt"}


@pytest.mark.parametrize("name", ["garbage", f"..+{TINY}+2026-01-01 00:00:00 UTC", f"ada+{TINY}+not a time+x", f"+{TINY}+",
                                  f"{'x' * 90}+{TINY}+2026-01-01 00:00:00 UTC+r", f"*+{TINY}+2026-01-01 00:00:00 UTC"])
def test_one_odd_folder_does_not_stop_the_others(released, hand_in, name):
    (released.inbound / name).mkdir()
    hand_in("bob")
    assert collect(released)["bob"].state == "new"
    assert {p.name for p in (released.root / "submitted").iterdir()} <= {"bob", "ada", "README.md"}
    assert sorted(p.name for p in released.root.iterdir()) == sorted(
        [".mlsys", "autograded", "class.yml", "feedback", "gradebook.db", "nbgrader_config.py", "release", "source", "submitted"])


def test_stock_nbgrader_would_have_stopped_at_that_folder_and_followed_that_link(released, hand_in, tmp_path):
    """The reason for this module; if it fails, nbgrader has changed."""
    from nbgrader.exchange.default import ExchangeCollect

    secret = tmp_path / "answers.txt"
    secret.write_text("the answers")
    (hand_in("ada") / "more.txt").symlink_to(secret)
    api = released.api()
    api.coursedir.assignment_id = TINY
    stock = ExchangeCollect(coursedir=api.coursedir, authenticator=api.authenticator, parent=api)
    with released.logged():
        stock.start()
    assert (released.submitted("ada", TINY) / "more.txt").read_text() == "the answers"
    (released.inbound / f"x+{TINY}+nonsense").mkdir()
    with released.logged(), pytest.raises(Exception, match="nonsense"):
        stock.start()


def test_someone_not_on_the_roster_is_refused(released, hand_in):
    hand_in("mallory")
    found = collect(released)["mallory"]
    assert found.state == "refused" and found.notes[0]["note"] == "mallory is not on the roster; not collected"
    assert not released.submitted("mallory", TINY).exists()


def test_without_a_roster_everyone_is_collected(released, hand_in):
    hand_in("mallory")
    with released.gradebook() as gb:
        for student in gb.students:
            gb.db.delete(student)
        gb.db.commit()
    assert collect(released)["mallory"].state == "new"


@pytest.fixture
def real_users(released, monkeypatch):
    """Students with user ids of their own, though no such accounts: uids 70001, 70002, 70003."""
    uids = {"ada": 70001, "bob": 70002, "eve": 70003}
    monkeypatch.setattr(c, "_user", lambda uid: {v: k for k, v in uids.items()}.get(uid, f"uid-{uid}"))
    released.check_owner = True

    def own(folder, student):
        for path in [folder, *folder.rglob("*")]:
            os.lchown(path, uids[student], uids[student])
        return folder

    return own


@pytest.mark.root
def test_work_in_the_name_of_another_is_refused_and_theirs_still_counts(released, hand_in, real_users):
    real_users(hand_in("ada", files={"mine.txt": "ada"}), "ada")
    real_users(hand_in("ada", files={"mine.txt": "forged"}), "eve")
    found = collect(released)
    assert (released.submitted("ada", TINY) / "mine.txt").read_text() == "ada" and found["ada"].notes == []
    assert found["eve"].state == "refused"
    assert notes(released, "eve") == [{"kind": "identity", "note": "handed in under the name of ada; not collected"}]


@pytest.mark.root
def test_a_file_of_another_user_in_the_folder_stays_behind(released, hand_in, real_users):
    folder = real_users(hand_in("ada", files={"theirs.txt": "bob's"}), "ada")
    os.chown(folder / "theirs.txt", 70002, 70002)       # a hard link to another's file looks like this
    found = collect(released)["ada"]
    assert [n["kind"] for n in found.notes] == ["escape"] and "belongs to another user (uid 70002)" in found.notes[0]["note"]
    assert not (released.submitted("ada", TINY) / "theirs.txt").exists()


@pytest.mark.root
def test_what_the_instructor_hands_in_for_a_student_counts(released, hand_in, real_users):
    hand_in("ada")                                      # owned by this process, the collector
    assert collect(released)["ada"].state == "new"


@pytest.mark.parametrize("claim", [
    "2020-01-01 00:00:00 +1400", "2020-01-01 00:00:00 UTC", "2020-01-01 00:00:00.000000 UTC", "1970-01-01", "yesterday", "",
    "0001-01-01 00:00:00 +1400", "2026-01-01 00:00:00 Mars/Phobos", "2020-01-01 00:00:00 +9959", "９".join(["2020", "-01-01"]), b"\xff\xfe",
    "x" * 100_000, "2099-01-01 00:00:00 UTC",
])
def test_a_forged_or_unreadable_time_does_not_count(released, hand_in, claim):
    folder = hand_in("ada", stamp=False)
    (folder / "timestamp.txt").write_bytes(claim if isinstance(claim, bytes) else claim.encode())
    found = collect(released)["ada"]
    assert abs(stamp(released, "ada") - datetime.now(UTC)) < timedelta(minutes=1)
    assert [n["kind"] for n in notes(released, "ada")] == ["timestamp"]
    text = notes(released, "ada")[0]["note"]
    assert "which counts" in text and "\n" not in text and len(text) < 250
    assert found.at == stamp(released, "ada")


def test_a_time_without_zone_does_not_count(released, hand_in):
    hand_in("ada", stamp=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}")
    assert "has no time zone that can be read" in collect(released)["ada"].notes[0]["note"]


@pytest.mark.parametrize("zone", ["+0000", "UTC", "GMT", "Z"])
def test_a_true_time_counts_to_the_second(released, hand_in, zone):
    now = datetime.now(UTC) - timedelta(seconds=61)
    hand_in("ada", stamp=f"{now:%Y-%m-%d %H:%M:%S.%f} {zone}")
    assert collect(released)["ada"].notes == [] and stamp(released, "ada") == now


def test_a_true_time_in_another_zone_is_written_down_in_utc(released, hand_in):
    now = datetime.now(UTC).replace(microsecond=0)
    hand_in("ada", stamp=f"{now + timedelta(hours=5, minutes=30):%Y-%m-%d %H:%M:%S} +0530")
    assert collect(released)["ada"].notes == [] and stamp(released, "ada") == now


def test_nbgrader_reads_the_time_that_counts(released, hand_in):
    hand_in("ada", stamp="2020-01-01 00:00:00 +1400")
    collect(released)
    at = released.api().get_submitted_timestamp(TINY, "ada")
    assert abs(at.replace(tzinfo=UTC) - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("gone", ["missing", "folder", "pipe", "link"])
def test_a_timestamp_that_is_no_file_is_replaced_by_the_arrival(released, hand_in, gone):
    folder = hand_in("ada", stamp=False)
    path = folder / "timestamp.txt"
    {"missing": lambda p: None, "folder": lambda p: (p / "x").mkdir(parents=True), "pipe": os.mkfifo,
     "link": lambda p: p.symlink_to("/etc/hostname")}[gone](path)
    collect(released)
    assert "timestamp" in [n["kind"] for n in notes(released, "ada")]
    assert abs(stamp(released, "ada") - datetime.now(UTC)) < timedelta(minutes=1)


def test_work_changed_in_place_after_its_stamp_counts_from_the_change(released, hand_in, monkeypatch):
    monkeypatch.setattr(c, "TOLERANCE", timedelta(seconds=0.5))
    folder = hand_in("ada")
    time.sleep(0.8)
    (folder / "tiny.ipynb").write_text((folder / "tiny.ipynb").read_text() + " ")      # the folder's own inode does not change
    found = collect(released)["ada"]
    assert [n["kind"] for n in found.notes] == ["timestamp"] and "differs from the arrival" in found.notes[0]["note"]


def test_an_earlier_folder_changed_after_collecting_is_collected_again(released, hand_in):
    first = hand_in("ada", files={"a.txt": "1"})
    collect(released)
    (first / "a.txt").write_text("2")
    assert collect(released)["ada"].state == "updated"
    assert (released.submitted("ada", TINY) / "a.txt").read_text() == "2"


def test_a_chown_of_the_exchange_makes_nobody_late(released, hand_in, monkeypatch):
    folder = hand_in("ada")
    older = hand_in("bob")
    hand_in("bob", files={"second.txt": "x"})
    before = collect(released)
    monkeypatch.setattr(c, "TOLERANCE", timedelta(seconds=0.2))
    time.sleep(0.4)
    for path in [folder, *folder.iterdir(), older, *older.iterdir()]:
        path.chmod(path.stat().st_mode ^ 0o010)         # every inode changes, no byte does
    after = collect(released)
    assert {s: (f.state, f.at, f.notes) for s, f in after.items()} == {s: ("same", f.at, f.notes) for s, f in before.items()}
    assert (released.submitted("bob", TINY) / "second.txt").exists()


def test_a_restored_exchange_can_be_collected_by_its_stamps(released, hand_in):
    hand_in("ada", stamp="2026-01-05 10:00:00.000000 UTC")
    assert collect(released, trust_stamps=True)["ada"].notes == []
    assert stamp(released, "ada") == datetime(2026, 1, 5, 10, tzinfo=UTC)
    assert collect(released)["ada"].state == "same"     # and stays so collected


def test_before_due_prefers_what_was_in_time(released, hand_in):
    hand_in("ada", files={"a.txt": "early"})
    time.sleep(0.05)
    moment = datetime.now(UTC)
    time.sleep(0.05)
    hand_in("ada", files={"a.txt": "late"})
    hand_in("bob", files={"a.txt": "late"})
    released.due[TINY] = due("2026-01-01 00:00 UTC").__class__(moment, "now")
    collect(released, before_due=True)
    assert (released.submitted("ada", TINY) / "a.txt").read_text() == "early"
    assert (released.submitted("bob", TINY) / "a.txt").read_text() == "late"
    released.extensions[TINY] = {"ada": duration("1h")}
    assert collect(released, before_due=True)["ada"].state == "updated"
    assert (released.submitted("ada", TINY) / "a.txt").read_text() == "late"


@pytest.mark.parametrize("secret", [None, "", "short", "ünïcode" * 5, "x" * 400, "with space " * 4])
def test_a_submission_secret_that_is_none_is_noted_and_left_out(released, hand_in, secret):
    hand_in("ada", secret=secret)
    found = collect(released)["ada"]
    assert [n["kind"] for n in found.notes] == ["damaged"] and "feedback cannot be released" in found.notes[0]["note"]
    assert not (released.submitted("ada", TINY) / "submission_secret.txt").exists()


def test_notes_vanish_with_their_reason(released, hand_in):
    hand_in("ada", stamp="2020-01-01 00:00:00 UTC")
    collect(released)
    assert notes(released, "ada")
    hand_in("ada")
    collect(released)
    assert notes(released, "ada") == []


def test_killed_between_two_renames_a_second_run_completes_it(released, hand_in, monkeypatch):
    hand_in("ada", files={"a.txt": "1"})
    collect(released)
    hand_in("ada", files={"a.txt": "2"})
    real, calls = os.rename, []

    def rename(a, b):
        calls.append(b)
        if len(calls) == 2:
            raise KeyboardInterrupt                     # the old one is aside, the new one not yet in
        real(a, b)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        collect(released)
    monkeypatch.setattr(os, "rename", real)
    assert collect(released)["ada"].state in ("new", "updated")
    assert (released.submitted("ada", TINY) / "a.txt").read_text() == "2"


def test_one_that_cannot_be_copied_does_not_stop_the_others(released, hand_in, monkeypatch):
    hand_in("ada")
    hand_in("bob")
    real = c.take

    def take(fd, *args, **kw):
        if "ada" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(5, "Input/output error")
        return real(fd, *args, **kw)

    monkeypatch.setattr(c, "take", take)
    found = collect(released)
    assert found["bob"].state == "new" and found["ada"].state == "refused" and "Input/output error" in found["ada"].notes[0]["note"]


def test_a_flood_of_submissions_costs_the_flooder_alone(released, hand_in, monkeypatch):
    monkeypatch.setattr(c, "MAX_FOLDERS", 5)
    for i in range(12):
        hand_in("ada", files={"a.txt": str(i)})
    hand_in("bob")
    found = collect(released)
    assert (released.submitted("ada", TINY) / "a.txt").read_text() == "11"
    assert [n["note"] for n in found["ada"].notes] == ["12 submissions in the exchange; the latest 5 were looked at"]
    assert found["bob"].notes == []


def test_a_folder_taken_back_while_it_is_looked_at_stops_nobody(released, hand_in, monkeypatch):
    folder = hand_in("ada")
    hand_in("bob")
    collect(released)
    (folder / "tiny.ipynb").write_text("{}")
    real = c._remember

    def remember(*args):
        shutil.rmtree(folder, ignore_errors=True)
        real(*args)

    monkeypatch.setattr(c, "_remember", remember)
    found = collect(released)
    assert found["ada"].state == "refused" and found["bob"].state == "same"
    assert (released.submitted("ada", TINY) / "tiny.ipynb").exists()     # what was collected stays


def test_stock_nbgrader_collects_through_the_same_door(released, hand_in, tmp_path):
    (hand_in("ada", stamp="2020-01-01 00:00:00 UTC") / "more.txt").symlink_to("/etc/hostname")
    with released.logged():
        result = released.api().collect(TINY)
    assert result["success"], result
    assert not (released.submitted("ada", TINY) / "more.txt").exists()
    assert {n["kind"] for n in notes(released, "ada")} == {"escape", "timestamp"}


def test_what_a_student_submits_with_nbgrader_is_collected_without_a_note(released, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(released.outbound / TINY, tmp_path / TINY)
    api = released.api(Exchange={"cache": str(tmp_path / "cache")})
    api.coursedir.student_id, api.coursedir.assignment_id = "ada", TINY
    with released.logged():
        api.exchange.Submit(coursedir=api.coursedir, authenticator=api.authenticator, parent=api).start()
    found = collect(released)["ada"]
    assert (found.state, found.notes) == ("new", [])
    assert abs(stamp(released, "ada") - datetime.now(UTC)) < timedelta(seconds=30)


def test_an_assignment_that_is_not_released_is_one_line(classroom, released):
    with pytest.raises(ClassError, match=r"tinytorch-01_tensor is not released: `mlsys class release tinytorch/01_tensor`"):
        c.collect(released, "tinytorch-01_tensor")


def test_an_exchange_that_is_not_there_is_one_line(classroom):
    with pytest.raises(ClassError, match=r"exchange .* does not exist: `mlsys class release NAME` makes it"):
        c.collect(classroom, TINY)


@contextlib.contextmanager
def as_user(uid):
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.root
def test_an_exchange_that_cannot_be_written_is_one_line(released):
    released.exchange.chmod(0o755)
    with as_user(65534), pytest.raises(ClassError, match="cannot be reached by nobody: a folder above it is closed"):
        released.check_exchange()
    for folder in released.exchange.parents:
        if folder.stat().st_mode & 0o001:           # from here on others may pass already
            break
        folder.chmod(0o711)
    with as_user(65534), pytest.raises(ClassError, match=r"is not writable by nobody: chmod 1777 it as root, or set `exchange:`"):
        released.check_exchange()


def test_the_time_of_an_intake_is_that_of_its_latest_change(tmp_path):
    (tmp_path / "a").write_text("x")
    time.sleep(0.02)
    (tmp_path / "b").write_text("y")
    fd = intake.open_folder(tmp_path)
    try:
        assert intake.look(fd) == intake.take(fd).changed_ns == (tmp_path / "b").stat().st_ctime_ns
    finally:
        os.close(fd)


def test_the_digest_tells_contents_names_and_boundaries_apart(tmp_path):
    def digest(files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        fd = intake.open_folder(folder)
        try:
            return intake.take(fd).digest
        finally:
            os.close(fd)

    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})
    assert len({digest(f) for f in ({"a": "1", "b": "2"}, {"a": "2", "b": "1"}, {"a": "12"}, {"ab": "12"}, {"a": "1", "b": ""}, {})}) == 6
