"""The exchange: the folder through which releases, submissions and feedback pass.

nbgrader's file exchange rests on modes alone. What each part needs, and why:

    <exchange>          1777  nbgrader asks that every user may write here; the sticky bit keeps a student from renaming
                              or replacing the course folder
    <course>            0755  belongs to the instructor; nbgrader refuses to release into another's folder
    <course>/outbound   0755  released assignments, readable by all
    <course>/inbound    3733  anyone may drop a submission, only the owner may list; set-group-id gives submissions the
                              instructor's group; sticky, so nobody removes what is not theirs. Submissions are 0777
                              inside (nbgrader's choice) and rest on 72 random bits in their name
    <course>/feedback   0711  files named by a hash of the submission's secret, not listable
"""

import os
import pwd
import stat
from pathlib import Path

from ..errors import HubError

SHARED = Path("/srv/nbgrader/exchange")    # where students who are other Unix users can reach it
ROOT_MODE = 0o1777
PARTS = {"": 0o755, "outbound": 0o755, "inbound": 0o3733, "feedback": 0o711}


def prepare(root, course, owner):
    """Make <root>/<course> for `owner`, or check that what stands there is safe. Never widens the mode of a folder that
    was there before. HubError says what to type."""
    root = Path(root)
    if not root.exists():
        try:
            root.mkdir(parents=True)
            root.chmod(ROOT_MODE)
        except OSError as error:
            raise HubError(f"exchange {root} cannot be made ({error.strerror}): set `exchange:` in class.yml to a folder "
                           "that you can write") from None
    _check_root(root, owner)
    user = pwd.getpwnam(owner)
    folder = root / course
    for part, mode in PARTS.items():
        _ensure(folder / part, mode, user)


def hand_over(root, course, owner):
    """Give what root released to the class's new owner. Submissions stay with the students who own them."""
    user, folder = pwd.getpwnam(owner), Path(root) / course
    if not folder.is_dir() or folder.is_symlink() or folder.stat().st_uid != 0:
        return
    for path in (folder, folder / "inbound", *(p for part in ("outbound", "feedback") for p in _tree(folder / part))):
        if path.exists():
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    for part, mode in PARTS.items():
        if (folder / part).is_dir():
            (folder / part).chmod(mode)         # chown takes the set-group-id bit away


def _tree(path):
    return [path, *path.rglob("*")]


def _check_root(root, owner):
    state = os.lstat(root)
    if not stat.S_ISDIR(state.st_mode):
        raise HubError(f"exchange {root} is not a folder: set `exchange:` in class.yml to a folder for it")
    if state.st_uid not in (0, pwd.getpwnam(owner).pw_uid):
        raise HubError(f"exchange {root} belongs to {_name(state.st_uid)}, who could replace its contents: chown root {root}")
    if state.st_mode & 0o777 != 0o777:
        raise HubError(f"exchange {root} is not writable by everyone (mode {state.st_mode & 0o7777:04o}), as nbgrader "
                       f"requires: chmod 1777 {root}")
    if not state.st_mode & stat.S_ISVTX:
        try:
            root.chmod(ROOT_MODE)                       # checked above: a real folder of root's or of the owner's
        except PermissionError:
            raise HubError(f"exchange {root} lets any user replace the class's folder: chmod 1777 {root}") from None


def _ensure(path, mode, user):
    try:
        path.mkdir()
        fresh = True
    except FileExistsError:
        fresh = False
    except OSError as error:
        raise HubError(f"exchange {path.parent} is not writable ({error.strerror}): set `exchange:` in class.yml to a "
                       "folder that you can write") from None
    # By descriptor, without following links: the parent may belong to a user who is not trusted with root's rights.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise HubError(f"exchange {path} is not a folder that {user.pw_name} can use ({error.strerror}): move it away") from None
    try:
        if fresh and os.geteuid() == 0:
            os.fchown(fd, user.pw_uid, user.pw_gid)
        state = os.fstat(fd)
        if state.st_uid != user.pw_uid:
            raise HubError(f"exchange {path} belongs to {_name(state.st_uid)}, but the class to {user.pw_name}: "
                           f"chown -R {user.pw_name} {path}")
        if state.st_mode & 0o7777 != mode:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _name(uid):
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
