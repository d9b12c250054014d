import os
import stat

import pytest

from mlsysbook.errors import HubError
from mlsysbook.hub import exchange

MODES = {"": 0o755, "outbound": 0o755, "inbound": 0o3733, "feedback": 0o711}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def modes(root):
    return {part: mode(root / "mlsys" / part) for part in MODES}


def test_a_fresh_exchange_has_the_modes_that_privacy_rests_on(tmp_path, me):
    root = tmp_path / "deep" / "exchange"
    exchange.prepare(root, "mlsys", me)
    assert mode(root) == 0o1777 and modes(root) == MODES


def test_a_second_start_changes_nothing(tmp_path, me):
    root = tmp_path / "exchange"
    exchange.prepare(root, "mlsys", me)
    work = root / "mlsys" / "inbound" / "ada+ps1+now+secret"
    work.mkdir()
    exchange.prepare(root, "mlsys", me)
    assert modes(root) == MODES and work.is_dir()


def test_an_exchange_that_nbgrader_made_is_narrowed(tmp_path, me):
    root = tmp_path / "exchange"
    for part, bits in (("", 0o777), ("mlsys", 0o755), ("mlsys/outbound", 0o755), ("mlsys/inbound", 0o2733)):
        (root / part).mkdir()
        (root / part).chmod(bits)
    exchange.prepare(root, "mlsys", me)
    assert mode(root) == 0o1777 and modes(root) == MODES


def test_a_folder_that_was_there_is_never_widened(tmp_path, me):
    root = tmp_path / "exchange"
    root.mkdir(mode=0o755)
    with pytest.raises(HubError, match=f"not writable by everyone .mode 0755.* chmod 1777 {root}"):
        exchange.prepare(root, "mlsys", me)
    assert mode(root) == 0o755


def test_a_file_in_place_of_the_exchange_is_named(tmp_path, me):
    root = tmp_path / "exchange"
    root.write_text("")
    with pytest.raises(HubError, match="is not a folder: set `exchange:` in class.yml"):
        exchange.prepare(root, "mlsys", me)


def test_a_link_in_place_of_the_course_is_not_followed(tmp_path, me):
    root, elsewhere = tmp_path / "exchange", tmp_path / "elsewhere"
    exchange.prepare(root, "other", me)
    elsewhere.mkdir(mode=0o700)
    (root / "mlsys").symlink_to(elsewhere)
    with pytest.raises(HubError, match="mlsys is not a folder that"):
        exchange.prepare(root, "mlsys", me)
    assert mode(elsewhere) == 0o700 and not list(elsewhere.iterdir())


@pytest.mark.root
def test_a_course_folder_of_somebody_else_is_refused(tmp_path):
    root = tmp_path / "exchange"
    exchange.prepare(root, "other", "root")
    squatted = root / "mlsys"
    squatted.mkdir()
    os.chown(squatted, 65534, 65534)
    with pytest.raises(HubError, match=f"belongs to nobody, but the class to root: chown -R root {squatted}"):
        exchange.prepare(root, "mlsys", "root")


@pytest.mark.root
def test_the_course_folder_belongs_to_the_instructor(tmp_path):
    root = tmp_path / "exchange"
    exchange.prepare(root, "mlsys", "nobody")
    assert root.stat().st_uid == 0
    assert {(root / "mlsys" / part).stat().st_uid for part in MODES} == {65534}


@pytest.mark.root
def test_what_root_released_can_be_given_to_an_instructor_without_the_submissions(tmp_path):
    root = tmp_path / "exchange"
    exchange.prepare(root, "mlsys", "root")
    release, work = root / "mlsys" / "outbound" / "ps1", root / "mlsys" / "inbound" / "ada+ps1+now+secret"
    release.mkdir()
    work.mkdir()
    os.chown(work, 1234, 1234)
    exchange.hand_over(root, "mlsys", "nobody")
    exchange.prepare(root, "mlsys", "nobody")
    assert modes(root) == MODES
    assert release.stat().st_uid == 65534 and work.stat().st_uid == 1234 and root.stat().st_uid == 0


def test_an_exchange_that_cannot_be_made_says_what_to_set(tmp_path, me):
    (tmp_path / "file").write_text("")
    with pytest.raises(HubError, match="cannot be made .*set `exchange:` in class.yml"):
        exchange.prepare(tmp_path / "file" / "exchange", "mlsys", me)
