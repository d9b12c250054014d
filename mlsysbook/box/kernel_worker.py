"""What runs inside the box for a notebook that needs a real Jupyter kernel.

runner.py's supervisor forks a driver, and the driver forks an ipykernel, so that both share its imports. The two speak
Jupyter's protocol over abstract Unix sockets, which belong to the box's own network namespace: no TCP, no socket file, and
nothing bound in from the host. The driver runs no student code and talks to the parent as runner.py's worker does.

A graded cell is a message that makes the kernel fork a snapshot of itself; the kernel is ended before a snapshot is woken.
"""

import contextlib
import ctypes
import json
import os
import re
import secrets
import signal
import socket
import sys
import time
import warnings
from pathlib import Path

import zmq
from ipykernel.iostream import IOPubThread, OutStream
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from jupyter_client.client import KernelClient
from traitlets.config import Config

from mlsysbook.box import runner

PR_SET_PDEATHSIG = 1
QUIET = 2.0                             # seconds without a word after which a lost "idle" is no longer waited for
MAX_OUTPUTS, MAX_FIGURES, MAX_PNG = 20, 8, 533_000
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")


class Stream(OutStream):
    """Standard output or error of the kernel: keeps the first `limit` characters of a cell and counts the rest."""

    limit = left = lost = 0

    def begin(self):
        self.left, self.lost = self.limit, 0

    def end(self):
        if self.lost:
            super().write(f"\n[{self.lost} bytes more are not shown]")
        self.flush()                        # also where student code has put something else in place of sys.stdout

    def write(self, string):
        if not self._is_master_process() and isinstance(string, str):
            return self._from_child(string)
        kept = string[:self.left] if isinstance(string, str) else string
        if kept:
            super().write(kept)             # which refuses what is not text
        self.left -= len(kept)
        self.lost += len(string) - len(kept)
        return len(string)

    def _from_child(self, string):
        """A forked child must not touch the kernel's sockets. It writes to the descriptor that the kernel watches."""
        data = string.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._original_stdstream_fd, data):]
        return len(string)

    def flush(self):
        if self._is_master_process():
            super().flush()


class Kernel(IPythonKernel):
    """An ipykernel whose cells have a limit on what they show."""

    async def do_execute(self, *args, **kwargs):
        for stream in (self._stdout, self._stderr):
            stream.begin()
        try:
            return await super().do_execute(*args, **kwargs)
        finally:
            for stream in (self._stdout, self._stderr):
                stream.end()


class App(IPKernelApp):
    """IPKernelApp without what would leave the process: connection file, heartbeat, and the TCP pipe for forked children."""

    def init_connection_file(self):
        pass

    def write_connection_file(self, **_kwargs):
        pass

    def log_connection_info(self):
        pass

    def init_poller(self):
        pass

    def init_heartbeat(self):
        pass

    def init_iopub(self, context):
        self.iopub_socket = context.socket(zmq.XPUB)
        self.iopub_port = self._bind_socket(self.iopub_socket, self.iopub_port)
        self.configure_tornado_logger()
        self.iopub_thread = IOPubThread(self.iopub_socket, pipe=False, session=self.session)
        self.iopub_thread.start()
        self.iopub_socket = self.iopub_thread.background_socket


class Graded:
    """The kernel's side of graded cells: what it does when the driver asks for a snapshot, and at the end."""

    def __init__(self, job, kernel, channel):
        self.cells, self.kernel, self.channel = job["cells"], kernel, channel
        self.fds = {c["fd"] for c in self.cells if c["fd"] is not None}
        self.before = runner.fingerprints()
        self.watch = runner.Watch(channel)
        kernel.shell_handlers |= {"snapshot_request": self.snapshot, "end_request": self.end}
        sys.addaudithook(self.watch.hook)

    def snapshot(self, stream, ident, parent):
        i = parent["content"]["cell"]
        fd, failed = self.cells[i]["fd"], None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")         # Python 3.12 warns of forks beside threads; the child uses none of them
            try:
                pid = os.fork()
            except OSError as error:
                pid, failed = None, str(error)
        if pid == 0:
            runner.silence()
            runner.serve(self.kernel.shell.user_ns, i, self.cells[i], self.fds, self.watch, self.before)
        self.fds.discard(fd)
        with contextlib.suppress(OSError):
            os.close(fd)
        self.kernel.session.send(stream, "snapshot_reply", {"failed": failed}, parent, ident=ident)

    def end(self, stream, ident, parent):
        for name in runner.patched(self.before):
            self.watch.flag("patched", f"replaced {name}")
        self.kernel.session.send(stream, "end_reply", {}, parent, ident=ident)


def serve_kernel(job, connection, channel):
    """Be the kernel, in the process that this is called in. channel: a socket for flags and the word that it is ready."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ["IPYTHONDIR"] = "/tmp/ipython" if job["copy"] else str(Path.cwd().parent / "ipython")
    os.environ.pop("MPLBACKEND")                    # so that the kernel chooses its inline backend, and figures are shown
    sys.modules["debugpy"] = None                   # a debugger would listen on TCP
    Stream.limit = job["output_bytes"]
    shell = {"colors": "nocolor", "xmode": "Plain"}
    app = App.instance(kernel_class=Kernel, outstream_class=f"{__name__}.Stream", config=Config(
        InteractiveShell=shell, ZMQInteractiveShell=shell, HistoryManager={"enabled": False, "hist_file": ":memory:"}))
    app.load_connection_info(connection)
    app.initialize([])
    del sys.modules["debugpy"]
    app.kernel.shell.ask_exit = leave
    Graded(job, app.kernel, channel)
    runner.send(channel, {"ready": True})
    app.start()


def leave():
    raise SystemExit("exit() ends a cell, not the kernel")


class Dead(Exception):
    """The kernel has ended."""


class Driver:
    """Hands the cells to the kernel in order, and to the parent what they showed."""

    def __init__(self, job, control):
        self.job, self.control, self.interrupted, self.wake = job, control, False, False

    def run(self):
        connection = {"transport": "ipc", "ip": f"@mlsys-{secrets.token_hex(8)}", "key": secrets.token_hex(32),
                      "signature_scheme": "hmac-sha256",
                      **{f"{name}_port": n for n, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}}
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.kernel = os.fork()
        if self.kernel == 0:
            self.control.close()
            self.channel.close()
            theirs.setblocking(False)               # a flag too many is dropped, and never stops a cell
            try:
                serve_kernel(self.job, connection, theirs)
            except BaseException as error:
                runner.send(theirs, {"broken": f"{type(error).__name__}: {error}"[:300]})
            finally:
                os._exit(1)
        theirs.close()
        for cell in self.job["cells"]:
            if cell["fd"] is not None:
                os.close(cell["fd"])
        signal.signal(signal.SIGINT, self.interrupt)
        try:
            self.connect(connection)
            self.cells()
        except Dead:
            return                                  # the supervisor reports it
        os.kill(self.kernel, signal.SIGKILL)

    def interrupt(self, *_):
        self.interrupted = self.wake = True
        os.kill(self.kernel, signal.SIGINT)

    def connect(self, connection):
        self.poller = zmq.Poller()
        self.channel.settimeout(0.1)
        while not self.hear():
            self.alive()
        client = KernelClient(context=zmq.Context())
        client.load_connection_info(connection)
        self.session, self.shell, self.iopub = client.session, client.connect_shell(), client.connect_iopub()
        for source in (self.shell, self.iopub, self.channel):
            self.poller.register(source, zmq.POLLIN)
        heard = []
        while not heard:                            # what is published before the subscription has arrived is lost
            self.ask("kernel_info_request", {}, lambda kind, content: heard.append(kind), patience=0.05)

    def hear(self):
        """Take one message from the kernel's own channel: True if it is ready, otherwise hand a flag on."""
        try:
            packet = self.channel.recv(1 << 16)
            if not packet and self.channel in self.poller:
                self.poller.unregister(self.channel)
            message = json.loads(packet[4:])
        except (OSError, ValueError):
            return False                            # silent, closed, or written to by student code
        if type(message) is not dict:
            return False
        if "broken" in message:
            raise RuntimeError(message["broken"])
        if "flag" in message:
            runner.send(self.control, {"flag": str(message["flag"])[:20], "note": str(message.get("note", ""))[:300]})
        return message.get("ready") is True

    def alive(self):
        if os.waitpid(self.kernel, os.WNOHANG)[0]:
            raise Dead

    def cells(self):
        for i, cell in enumerate(self.job["cells"]):
            if cell["fd"] is not None:
                failed = self.ask("snapshot_request", {"cell": i}).get("failed")
                if failed:
                    runner.send(self.control, {"nofork": i, "note": str(failed)[:300]})
            else:
                runner.send(self.control, {"start": i})
                runner.send(self.control, {"done": i, "outputs": self.execute(cell["source"])})
        self.ask("end_request", {})
        runner.send(self.control, {"end": True})

    def execute(self, source):
        shown, self.interrupted = Shown(self.job["output_bytes"]), False
        self.ask("execute_request", {"code": source, "silent": False, "store_history": True, "user_expressions": {},
                                     "allow_stdin": False, "stop_on_error": False}, shown.take)
        return shown.outputs(f"stopped after {self.job['cell_seconds']:g} s" if self.interrupted else None)

    def ask(self, kind, content, take=lambda kind, content: None, patience=QUIET):
        """Send a request; hand what is published for it to `take` until it is answered and the kernel idle -> the answer."""
        request = self.session.send(self.shell, kind, content)["header"]["msg_id"]
        reply, idle, last = None, False, time.monotonic()
        while reply is None or not idle and time.monotonic() - last < patience:
            if self.wake:                           # a kernel that awaits hears of the signal when its loop next turns
                self.wake = False
                self.session.send(self.shell, "kernel_info_request", {})
            for source, _ in self.poller.poll(min(patience, 0.1) * 1000):
                if source == self.channel.fileno():
                    self.hear()
                    continue
                message = self.receive(source)
                if message is None or message["parent_header"].get("msg_id") != request:
                    continue
                last = time.monotonic()
                if source is self.shell:
                    reply = message["content"]
                elif message["msg_type"] == "status":
                    idle = idle or message["content"].get("execution_state") == "idle"
                    take("status", message["content"])
                else:
                    take(message["msg_type"], message["content"])
            self.alive()
        return reply

    def receive(self, source):
        """A message of the kernel, or None for what is not one: student code may write to these sockets too."""
        try:
            message = self.session.recv(source, zmq.NOBLOCK)[1]
        except Exception:               # a hostile message can make any part of the library raise; it is dropped, and the limits still hold
            return None
        whole = message and all(type(message.get(k)) is dict for k in ("header", "parent_header", "content"))
        return message if whole else None


class Shown:
    """What one cell has shown so far, within limits."""

    def __init__(self, limit):
        self.limit = limit
        self.left = 2 * limit + 1000
        self.shown, self.ids, self.error, self.clear, self.figures = [], {}, None, False, 0

    def take(self, kind, content):
        if kind == "clear_output":
            self.clear = True
            if not content.get("wait"):
                self.wipe()
        elif kind == "stream" and content.get("name") in ("stdout", "stderr"):
            self.wipe()
            self.stream(content["name"], self.text(content.get("text")))
        elif kind in ("display_data", "execute_result"):
            self.wipe()
            self.display(content)
        elif kind == "update_display_data" and self.id_of(content) in self.ids:
            self.ids[self.id_of(content)].update(self.rendered(content))
        elif kind == "error":
            trace = content.get("traceback")
            self.error = {"name": str(content.get("ename"))[:80], "value": _ANSI.sub("", str(content.get("evalue")))[:2000],
                          "trace": _ANSI.sub("", "\n".join(map(str, trace if type(trace) is list else [])))[-8000:]}

    def wipe(self):
        if self.clear:
            self.shown.clear()
            self.ids.clear()
            self.clear, self.figures = False, 0

    def text(self, value):
        kept = _ANSI.sub("", str(value))[:max(0, self.left)]
        self.left -= len(kept)
        return kept

    def stream(self, name, text):
        if not text:
            return
        if self.shown and self.shown[-1].get("stream") == name:
            self.shown[-1]["parts"].append(text)
        elif len(self.shown) < MAX_OUTPUTS - 1:
            self.shown.append({"stream": name, "parts": [text]})

    def id_of(self, content):
        transient = content.get("transient")
        key = transient.get("display_id") if type(transient) is dict else None
        return key if type(key) is str else None

    def display(self, content):
        if len(self.shown) < MAX_OUTPUTS - 1:
            self.shown.append(self.rendered(content))
            if self.id_of(content):
                self.ids[self.id_of(content)] = self.shown[-1]

    def rendered(self, content):
        data = content.get("data")
        data = data if type(data) is dict else {}
        png = data.get("image/png")
        if type(png) is str and len(png) < MAX_PNG and self.figures < MAX_FIGURES:
            self.figures += 1
            return {"png": png.replace("\n", ""), "result": None}
        return {"png": None, "result": self.text(data.get("text/plain", "(not text)"))[:self.limit]}

    def outputs(self, stopped):
        """As messages to the parent. stopped: the sentence to show instead of KeyboardInterrupt."""
        out = [{"stream": o["stream"], "text": "".join(o["parts"])} if "stream" in o else {k: v for k, v in o.items() if v is not None}
               for o in self.shown]
        if self.error and stopped and self.error["name"] in ("KeyboardInterrupt", "CancelledError"):
            self.error = {"name": "TimeLimit", "value": stopped, "trace": ""}
        return out + ([{"error": self.error}] if self.error else [])


def main():
    here = str(Path(__file__).parent)
    sys.path[:] = [p for p in sys.path if p != here]
    runner.main(Driver)


if __name__ == "__main__":
    main()
