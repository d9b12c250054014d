"""Taking a folder that a student made and may be changing: by descriptor, without following a link, within limits.

The student owns what lies in the exchange. Nothing there is opened by a path that they could redirect: each folder is
opened inside its parent, each file is opened without following links and checked to be a plain file of the submitter's.
"""

import fnmatch
import hashlib
import os
import stat
from dataclasses import dataclass, field

MAX_FILE = 32 << 20             # bytes
MAX_TOTAL = 64 << 20
MAX_FILES = 500
MAX_ENTRIES = 5000              # looked at, copied or not
MAX_DEPTH = 6
_MAX_NOTES = 6
_FIRST = ("timestamp.txt", "submission_secret.txt")     # these and notebooks, before limits are reached


@dataclass
class Intake:
    """What was found. `changed_ns`: the latest inode change of any part, which no student can set back."""

    changed_ns: int = 0
    digest: str = ""
    files: int = 0
    bytes: int = 0
    notes: list = field(default_factory=list)


def look(folder_fd, ignore=()):
    """Latest inode change of a folder and what is in it, without reading a file -> nanoseconds."""
    latest = os.fstat(folder_fd).st_ctime_ns
    budget = [MAX_ENTRIES]

    def walk(fd, depth):
        nonlocal latest
        with os.scandir(fd) as entries:
            for entry in entries:
                budget[0] -= 1
                if budget[0] < 0:
                    return
                if _ignored(entry.name, ignore):
                    continue
                try:
                    latest = max(latest, entry.stat(follow_symlinks=False).st_ctime_ns)
                    if entry.is_dir(follow_symlinks=False) and depth < MAX_DEPTH:
                        sub = _open_folder(entry.name, fd)
                        try:
                            walk(sub, depth + 1)
                        finally:
                            os.close(sub)
                except OSError:         # taken away or closed by the student meanwhile: `take` says so
                    continue

    walk(folder_fd, 0)
    return latest


def take(folder_fd, target=None, *, owner=None, ignore=()):
    """Read all of a folder, and write it to `target` (an empty folder) if one is given -> Intake.

    owner: uid that files must have. Links, devices, foreign files and what exceeds a limit stay behind, with a note each.
    """
    out = Intake(changed_ns=os.fstat(folder_fd).st_ctime_ns)
    h = hashlib.sha256()
    seen = [0]
    _walk(folder_fd, "", target, owner, ignore, out, h, seen, 0)
    out.digest = h.hexdigest()
    if len(out.notes) > _MAX_NOTES:
        more = len(out.notes) - _MAX_NOTES
        out.notes[_MAX_NOTES:] = [("limit", f"and {more} more entries of the folder were left behind")]
    return out


def _walk(fd, where, target, owner, ignore, out, h, seen, depth):
    names = []
    with os.scandir(fd) as entries:
        for entry in entries:
            seen[0] += 1
            if seen[0] > MAX_ENTRIES:
                break
            names.append(entry.name)
    if seen[0] > MAX_ENTRIES:
        out.notes.append(("limit", f"more than {MAX_ENTRIES} entries in the submission folder; the rest was left behind"))
    for name in sorted(names, key=lambda n: (n not in _FIRST and not n.endswith(".ipynb"), n)):
        if _ignored(name, ignore):
            continue
        said = shown(f"{where}{name}")
        if not _plain(name):
            out.notes.append(("escape", f"{said}: a name with control characters or not in UTF-8; left behind"))
            continue
        try:
            state = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISLNK(state.st_mode):
                out.notes.append(("escape", f"{said} is a link to {shown(os.readlink(name, dir_fd=fd))}; links are not followed"))
            elif stat.S_ISDIR(state.st_mode):
                _folder(name, fd, where, target, owner, ignore, out, h, seen, depth, said)
            elif not stat.S_ISREG(state.st_mode):
                out.notes.append(("escape", f"{said} is neither a file nor a folder; left behind"))
            else:
                _file(name, fd, where, target, owner, out, h, said)
        except OSError as error:
            out.notes.append(("damaged", f"{said} could not be read ({error.strerror})"))


def _folder(name, fd, where, target, owner, ignore, out, h, seen, depth, said):
    if depth >= MAX_DEPTH:
        out.notes.append(("limit", f"{said}: folders nested deeper than {MAX_DEPTH}; left behind"))
        return
    sub = _open_folder(name, fd)
    try:
        out.changed_ns = max(out.changed_ns, os.fstat(sub).st_ctime_ns)
        below = None
        if target is not None:
            below = target / name
            below.mkdir()
        _walk(sub, f"{where}{name}/", below, owner, ignore, out, h, seen, depth + 1)
    finally:
        os.close(sub)


def _file(name, fd, where, target, owner, out, h, said):
    # O_NONBLOCK: a pipe put in the place of the file must not stop us
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
    with os.fdopen(handle, "rb", buffering=0) as f:
        state = os.fstat(f.fileno())
        if not stat.S_ISREG(state.st_mode):
            out.notes.append(("escape", f"{said} is neither a file nor a folder; left behind"))
            return
        if owner is not None and state.st_uid != owner:
            out.notes.append(("escape", f"{said} belongs to another user (uid {state.st_uid}); left behind"))
            return
        room = min(MAX_FILE, MAX_TOTAL - out.bytes)
        if out.files >= MAX_FILES:
            out.notes.append(("limit", f"{said}: more than {MAX_FILES} files; left behind"))
            return
        if state.st_size > room:
            why = f"has {size_text(state.st_size)} (limit {size_text(MAX_FILE)})" if state.st_size > MAX_FILE else \
                f"would take the submission beyond {size_text(MAX_TOTAL)}"
            out.notes.append(("limit", f"{said} {why}; left behind"))
            return
        h.update(f"{where}{name}\0".encode())
        size = _copy(f, None if target is None else target / name, room, h)
        if size is None:
            out.notes.append(("limit", f"{said} grew beyond {size_text(room)} while it was read; left behind"))
            return
        h.update(f"\0{size}\0".encode())
        out.files += 1
        out.bytes += size
        out.changed_ns = max(out.changed_ns, os.fstat(f.fileno()).st_ctime_ns)      # after reading: a later change counts


def _copy(source, target, room, h):
    """Bytes copied, or None (and no file) if there are more than `room`."""
    sink = open(target, "xb") if target is not None else None
    size = 0
    try:
        while chunk := source.read(1 << 20):
            size += len(chunk)
            if size > room:
                break
            h.update(chunk)
            if sink:
                sink.write(chunk)
    finally:
        if sink:
            sink.close()
    if size > room:
        if target is not None:
            target.unlink()
        return None
    return size


def _open_folder(name, parent_fd):
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)


def open_folder(path):
    """Descriptor of a folder whose last part is no link."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _ignored(name, patterns):
    return any(fnmatch.fnmatchcase(name.lower(), p) for p in patterns)


def _plain(name):
    return name.isprintable() and not any(0xD800 <= ord(c) <= 0xDFFF for c in name)


def size_text(n):
    return f"{n >> 20} MiB" if n >= 1 << 20 else f"{n} bytes"


def shown(name, limit=80):
    """A student's file name, fit for a message: no control characters, not long."""
    text = "".join(c if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF else f"\\x{ord(c) & 0xFF:02x}" for c in name)
    return text if len(text) <= limit else text[:limit] + "..."
