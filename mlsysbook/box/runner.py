"""What runs inside the box: the cells of one notebook, in a plain process.

A supervisor forks a worker, which runs the ordinary cells in order. At each graded cell the worker forks a snapshot of
itself, which waits. When all ordinary cells have run, the parent outside wakes one snapshot after another with that
check's hidden cases; so no ordinary cell ever shares memory or output with a hidden case, and one check that hangs or
dies takes no other with it. The parent keeps the time: nothing here is trusted with it.

Messages are JSON with a 4-byte length in front, over socket pairs that the parent made.
"""

import ast
import base64
import contextlib
import io
import json
import linecache
import os
import resource
import shutil
import signal
import socket
import struct
import sys
import traceback
import types

from mlsysbook.box.watch import Watch, fingerprints, patched

CONTROL = 3
STUDENT_API = {}                        # what a locked cell may call, as it was before the first cell ran


def send(sock, message):
    data = json.dumps(message).encode()
    sock.sendall(struct.pack("<I", len(data)) + data)


def receive(sock):
    head = _exactly(sock, 4)
    return json.loads(_exactly(sock, struct.unpack("<I", head)[0]))


def _exactly(sock, n):
    parts = []
    while n:
        part = sock.recv(min(n, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


class Capped(io.RawIOBase):
    """A byte sink that keeps the first `limit` bytes and forgets the rest."""

    def __init__(self, limit):
        self.kept, self.left, self.lost = bytearray(), limit, 0

    def writable(self):
        return True

    def write(self, data):
        take = bytes(data[:self.left]) if self.left else b""
        self.kept += take
        self.left -= len(take)
        self.lost += len(data) - len(take)
        return len(data)


class Worker:
    """Runs cells in one namespace, as a notebook does."""

    def __init__(self, job, control):
        self.job, self.control = job, control
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        self.ns = module.__dict__
        self.ns["__builtins__"] = __builtins__
        self.shell = None
        if job["ipython"]:
            from IPython.core.interactiveshell import InteractiveShell
            self.shell = InteractiveShell.instance(user_module=module, user_ns=self.ns)
            self.shell.history_manager.enabled = False

    def run(self):
        self.watch = Watch(self.control)
        before = fingerprints()
        sys.addaudithook(self.watch.hook)
        for i, cell in enumerate(self.job["cells"]):
            if cell["fd"] is not None:
                self.snapshot(i, cell, before)
            else:
                send(self.control, {"start": i})
                outputs, lost = self.execute(i, cell["source"])
                send(self.control, {"done": i, "outputs": outputs, "lost": lost})
        for name in patched(before):
            self.watch.flag("patched", f"replaced {name}")
        send(self.control, {"end": True})

    def snapshot(self, i, cell, before):
        try:
            pid = os.fork()
        except OSError as error:
            send(self.control, {"nofork": i, "note": str(error)})
            return
        if pid == 0:
            serve(self.ns, i, cell, {c["fd"] for c in self.job["cells"]} - {None}, self.watch, before)

    def execute(self, i, source):
        """Run one cell -> what it showed, as data, and how many bytes more it printed."""
        out, err = Capped(self.job["output_bytes"]), Capped(self.job["output_bytes"])
        streams = sys.stdout, sys.stderr
        mine = [io.TextIOWrapper(io.BufferedWriter(s), "utf-8", errors="replace", write_through=True) for s in (out, err)]
        sys.stdout, sys.stderr = mine
        shown, failure = None, None
        try:
            shown = self._run(i, source)
        except KeyboardInterrupt:
            failure = {"name": "TimeLimit", "value": f"stopped after {self.job['cell_seconds']:g} s", "trace": ""}
        except BaseException as error:
            failure = {"name": type(error).__name__[:80], "value": _text(error)[:2000], "trace": _trace(error)[:8000]}
        finally:
            sys.stdout, sys.stderr = streams
            for stream in mine:
                with contextlib.suppress(Exception):        # a cell may have closed or spoilt it
                    stream.flush()
        outputs = []
        for name, s in (("stdout", out), ("stderr", err)):
            more = f"\n[{s.lost} bytes more are not shown]" if s.lost else ""
            outputs += [{"stream": name, "text": bytes(s.kept).decode("utf-8", "replace") + more}] if s.kept else []
        outputs += self._figures()
        if shown is not None:
            outputs.append({"result": shown[:self.job["output_bytes"]]})
        if failure:
            outputs.append({"error": failure})
        return outputs, out.lost + err.lost

    def _run(self, i, source):
        name = f"<cell {i + 1}>"
        if self.shell is not None:
            source = self.shell.transform_cell(source)
            self.ns["get_ipython"] = lambda: self.shell
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        tree = ast.parse(source, name)
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
            last = ast.Expression(tree.body.pop().value)
        exec(compile(tree, name, "exec"), self.ns)
        if last is None:
            return None
        value = eval(compile(last, name, "eval"), self.ns)
        return None if value is None else repr(value)

    def _figures(self):
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None or not pyplot.get_fignums():
            return []
        shown = []
        try:
            for number in pyplot.get_fignums()[:8]:
                png = io.BytesIO()
                pyplot.figure(number).savefig(png, format="png", dpi=72, bbox_inches="tight")
                if png.tell() < 400_000:
                    shown.append({"png": base64.b64encode(png.getvalue()).decode()})
            pyplot.close("all")
        except Exception as error:
            shown.append({"stream": "stderr", "text": f"figure not drawn: {type(error).__name__}: {error}\n"})
        return shown


def serve(ns, i, cell, fds, watch, before):
    """Be the snapshot of graded cell i: wait for the parent's word, run the cell, send its record, and end the process.

    fds: the channels of all graded cells that are still open here. before: fingerprints from before the first cell.
    """
    sock = socket.socket(fileno=cell["fd"])
    try:
        for other in fds - {cell["fd"]}:
            os.close(other)
        watch.move(sock)
        send(sock, {"hello": i})
        message = receive(sock)
        for name in patched(before):
            watch.flag("patched", f"replaced {name}")
        send(sock, {"record": (show if message.get("visible") else grade)(ns, cell["source"], message)})
    except EOFError:
        pass                                # the parent has gone, or needs this check no longer
    finally:
        os._exit(0)


def grade(ns, source, message):
    """Run a locked graded cell with its hidden cases -> its record, as plain data."""
    from mlsysbook.answers import mode
    from mlsysbook.answers.check import Case

    recorder = Recorder([Case.from_encoded(c) for c in message.get("hidden", [])], message["ordinal"])
    mode.handler = recorder
    ns.update(STUDENT_API)
    sys.stdout = sys.stderr = io.TextIOWrapper(io.BufferedWriter(Capped(0)), "utf-8", errors="replace")
    try:
        exec(compile(source, "<graded cell>", "exec"), ns)
    except MemoryError:
        recorder.record.setdefault("failed", "ran out of memory")
    except BaseException as error:
        recorder.record.setdefault("failed", f"{type(error).__name__}: {_text(error)[:300]}")
    return recorder.record


def show(ns, source, _message):
    """Run a locked cell as the student sees it, without hidden cases -> what it said."""
    out = Capped(20_000)
    sys.stdout = sys.stderr = io.TextIOWrapper(io.BufferedWriter(out), "utf-8", errors="replace", write_through=True)
    failed = None
    try:
        exec(compile(source, "<check cell>", "exec"), ns)
    except BaseException as error:
        plain = hasattr(error, "_render_traceback_")
        failed = _text(error)[:4000] if plain else f"{type(error).__name__}: {_text(error)[:1000]}"
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    return {"shown": bytes(out.kept).decode("utf-8", "replace"), "failed": failed}


class Recorder:
    """Listens to check, answer, decided and locked in a graded cell. Holds inputs and what came out, never what should have."""

    def __init__(self, hidden, ordinal):
        self.hidden, self.ordinal = hidden, ordinal
        self.record = {}

    def check(self, spec):
        from mlsysbook.answers.check import Case, run_case

        self.record = {"check": spec.name, "results": []}
        if spec.call is None:
            self.record["failed"] = f"{spec.name} is not defined"
            return
        if spec.firmware is not None:       # its cases are put to a program outside, so none of them comes in here
            self.record["results"] = [run_case(spec.call, Case((), {}))]
            return
        cases = list(spec.cases) + self.hidden
        # In a drawn order, so that a function cannot tell a visible case from a hidden one by when it is called.
        results = [None] * len(cases)
        for at in self.ordinal if sorted(self.ordinal) == list(range(len(cases))) else range(len(cases)):
            results[at] = run_case(spec.call, cases[at])
        self.record["results"] = results

    def answer(self, name, text):
        plain = text if type(text) in (str, int, float) else None
        self.record = {"answer": name, "text": str(plain)[:200] if plain is not None else None}
        if plain is None and text is not None:
            self.record["failed"] = f"a {type(text).__name__} is no answer"

    def decided(self, name, made):
        from mlsysbook.labs.decision import FIELDS

        if type(made) is not dict or not all(type(k) is str for k in made):
            self.record = {"decided": name, "failed": f"a {type(made).__name__} is no decision"}
            return
        plain = {k: made.get(k) for k in FIELDS}
        texts = {k: v[:2000] if type(v) is str else None for k, v in plain.items() if k != "evidence"}
        named = plain["evidence"] if type(plain["evidence"]) in (tuple, list) else ()
        self.record = {"decided": name, "fields": texts | {"evidence": [e[:100] for e in named[:20] if type(e) is str]}}

    def predict(self, name, text, low, high):
        return True

    def locked(self, name):
        self.record = {"locked": name}
        return True

    def reveal(self, name):
        return True


def _text(error):
    """What an error says, or that it cannot say it: its __str__ may be anybody's."""
    try:
        return str(error)
    except BaseException as again:
        return f"(its text cannot be shown: {type(again).__name__})"


def _trace(error):
    """The part of a traceback that lies in the notebook's own cells."""
    try:
        if isinstance(error, SyntaxError):
            return "".join(traceback.format_exception_only(error))
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<cell ")]
        return "".join(traceback.format_list(frames[-8:]) + traceback.format_exception_only(error))
    except BaseException:               # an error whose own text fails; its name is shown all the same
        return ""


def limit(job):
    """Limits of this process and its children; lowered for good, since the box has no capability to raise them."""
    for what, value in ((resource.RLIMIT_AS, job["address_space"]), (resource.RLIMIT_CPU, job["cpu_seconds"]),
                        (resource.RLIMIT_NPROC, job["processes"]), (resource.RLIMIT_NOFILE, job["open_files"]),
                        (resource.RLIMIT_FSIZE, job["file_bytes"]), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)       # a write past the limit is then an OSError


def silence():
    """Point the standard descriptors at nothing."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def main(worker=Worker):
    """Set up, fork the worker that runs the cells, and outlive it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)    # a grader in the background of a shell passes it on ignored
    control = socket.socket(fileno=CONTROL if len(sys.argv) < 2 else int(sys.argv[1]))
    job = receive(control)
    if job["copy"]:
        shutil.copytree("/course/submission", "/submission", dirs_exist_ok=True)
    fonts = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "matplotlib")
    if os.path.isdir(fonts):
        shutil.copytree(fonts, os.environ["MPLCONFIGDIR"], dirs_exist_ok=True)
    os.environ.update(MLSYS_STUDENT=job["student"], MLSYS_BOX="1")
    for name in job["preload"]:
        __import__(name)
    import mlsysbook

    STUDENT_API.update({name: getattr(mlsysbook, name) for name in ("answer", "case", "check", "decided", "locked", "prop")})
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [p for p in sys.path if p != here] + [os.getcwd()]    # last: nothing beside the notebook stands in for a library
    limit(job)
    silence()
    send(control, {"ready": True})          # the parent knows us from now on
    pid = os.fork()
    if pid == 0:
        try:
            worker(job, control).run()
        except KeyboardInterrupt:
            os._exit(130)
        except BaseException as error:
            try:
                send(control, {"broken": f"{type(error).__name__}: {_text(error)}"[:300]})
            finally:
                os._exit(1)
        os._exit(0)
    # The supervisor runs no student code. It outlives the worker, so that snapshots taken before a crash can still be graded.
    for cell in job["cells"]:
        if cell["fd"] is not None:
            os.close(cell["fd"])
    _, status = os.waitpid(pid, 0)
    send(control, {"exit": status})
    while control.recv(1):
        pass


if __name__ == "__main__":
    main()
