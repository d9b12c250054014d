"""A plain file server for the site, on this machine only."""

import http.server
import socketserver
import threading
from contextlib import contextmanager
from functools import partial

FIRST_PORT = 8800


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, and `more` files of other places under names of their own."""

    def __init__(self, *arguments, more=None, **options):
        self.more = more or {}
        super().__init__(*arguments, **options)

    def translate_path(self, path):
        more = self.more.get(path.lstrip("/"))
        return str(more) if more else super().translate_path(path)

    def log_message(self, *args):
        pass

    def end_headers(self):
        self.send_header("Cache-Control", "no-cache")       # the next build shows at once
        super().end_headers()


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def server(folder, ports=(0,), more=None):
    """A server of the folder on the first of the ports that is free; 0 is any."""
    for port in ports:
        try:
            return Server(("127.0.0.1", port), partial(Handler, directory=str(folder), more=more))
        except OSError:
            if port == ports[-1]:
                raise


@contextmanager
def background(folder, more=None):
    """Serve the folder meanwhile -> its address."""
    with server(folder, more=more) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()


def run(site):
    """Serve the site until Ctrl-C."""
    with server(site, (*range(FIRST_PORT, FIRST_PORT + 20), 0)) as httpd:
        print(f"http://127.0.0.1:{httpd.server_port}/ shows {site}; Ctrl-C ends it", flush=True)
        httpd.serve_forever()
