"""What in a student's cells an instructor may want to see, read from the source: nothing that runs can silence this.

Advice, never a grade. It knows the plain ways of reaching for the grader; the box notes what is done in a roundabout way.
"""

import ast

from ..answers.forbid import Names
from .reach import parse

MOST = 20                               # of one notebook
_FRAMES = {"_getframe", "_current_frames", "f_globals", "f_locals", "f_back", "tb_frame", "gi_frame", "cr_frame", "__globals__",
           "__closure__", "__code__", "__subclasses__", "__builtins__", "cell_contents", "addaudithook", "settrace", "setprofile",
           "get_objects", "get_referrers", "get_referents", "input_transformers_post", "input_transformers_cleanup", "ast_transformers",
           "__reduce__", "__reduce_ex__"}
_MODULES = {"ctypes": "patched", "_ctypes": "patched", "cffi": "patched", "gc": "patched", "builtins": "patched", "importlib": "patched",
            "marshal": "patched", "mlsysbook.box": "patched", "mlsysbook.answers": "patched", "mlsysbook.grading": "patched",
            "mlsysbook.build": "patched", "socket": "escape", "_socket": "escape", "pty": "escape", "subprocess": "escape",
            "requests": "escape", "urllib.request": "escape", "http.client": "escape", "sqlite3": "escape"}
_CALLS = {f"os.{name}": "escape" for name in (
    "fork", "forkpty", "_exit", "kill", "killpg", "system", "popen", "dup", "dup2", "write", "setsid", "memfd_create", "mkfifo", "mknod",
    "symlink", "link", "chroot", "chmod", "chown", "unshare", "setns", "abort", "closerange")} | {
    f"os.{name}": "escape" for name in (
        "execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp", "execvpe", "posix_spawn", "posix_spawnp", "spawnl",
        "spawnv")} | {
    "sys.modules": "patched", "signal.signal": "escape", "signal.pthread_kill": "escape"}
_BUILT = {"eval", "exec", "__import__"}
_PLACES = ("/proc/", "/course/", "/etc/passwd", "/etc/shadow", "/dev/shm", "/root", "gradebook.db", "nbgrader_config", ".mlsys/",
           "predictions.jsonl")
_PROTECTED = {"builtins", "numpy", "json", "mlsysbook", "mlsysim", "staffml", "tinytorch", "sys", "os"}


def suspicious(sources):
    """Flags for the student's code cells, (number of the cell, text) in order -> [{"kind", "note"}]."""
    trees = [(n, parse(text)) for n, text in sources]
    names = Names([t for _, t in trees if t is not None])
    flags = []
    for n, tree in trees:
        for node in ast.walk(tree) if tree is not None else ():
            for kind, what in _look(node, names):
                flag = {"kind": kind, "note": f"cell {n} {what}"}
                if flag not in flags and len(flags) < MOST:
                    flags.append(flag)
    return flags


def _look(node, names):
    if isinstance(node, ast.Import | ast.ImportFrom):
        whole = [a.name for a in node.names] if isinstance(node, ast.Import) else [f"{node.module or ''}.{a.name}" for a in node.names]
        for name in whole:
            for module, kind in _MODULES.items():
                if name == module or name.startswith(module + "."):
                    yield kind, f"imports {module}"
            if name in _CALLS:
                yield _CALLS[name], f"uses {name}"
    elif isinstance(node, ast.Attribute):
        if node.attr in _FRAMES:
            yield "patched", f"uses {node.attr}"
        for name in names.of(node):
            for call, kind in _CALLS.items():
                if name == call or name.startswith(call + "."):
                    yield kind, f"uses {call}"
            if isinstance(node.ctx, ast.Store) and name.split(".")[0] in _PROTECTED:
                yield "patched", f"replaces {name[:80]}"
    elif isinstance(node, ast.Name) and node.id in _BUILT:
        yield "patched", f"uses {node.id}"
    elif isinstance(node, ast.FunctionDef) and node.name in ("__reduce__", "__reduce_ex__"):
        yield "patched", f"defines {node.name}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
        if "MLSYS_STUDENT" in text:
            yield "identity", "names MLSYS_STUDENT"
        for place in _PLACES:
            if place in text and len(text) < 1000:
                yield "escape", f"names {place}"
