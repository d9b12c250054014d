"""Files that are whole or absent: a command killed half-way leaves no half-written file behind."""

import json
import os
import shutil
import tempfile
from pathlib import Path


def write(path, data, *, mode=0o644):
    """Write text or bytes to `path`: all of it, or nothing. -> whether the contents changed."""
    path = Path(path)
    data = data.encode() if isinstance(data, str) else data
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
            os.fchmod(f.fileno(), mode)
            f.flush()
            os.fsync(f.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return True


def write_json(path, value, *, mode=0o600):
    return write(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", mode=mode)


def read_json(path, default):
    """The value in `path`, or `default` if there is no such file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default


def move_in(new, target):
    """Rename folder `new` to `target`, taking the place of one that is there. Both on one file system."""
    new, target = Path(new), Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        os.rename(new, target)
        return
    aside = Path(tempfile.mkdtemp(dir=new.parent, prefix="old-"))
    os.rename(target, aside / target.name)
    os.rename(new, target)
    shutil.rmtree(aside)
