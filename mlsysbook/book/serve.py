"""A plain file server for the site, on this machine only."""

import http.server
import socketserver
from functools import partial

FIRST_PORT = 8800


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def end_headers(self):
        self.send_header("Cache-Control", "no-cache")       # the next build shows at once
        super().end_headers()


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def server(site, ports=(*range(FIRST_PORT, FIRST_PORT + 20), 0)):
    """A server of the folder on the first free port."""
    for port in ports:
        try:
            return Server(("127.0.0.1", port), partial(Handler, directory=str(site)))
        except OSError:
            if port == ports[-1]:
                raise


def run(site):
    with server(site) as httpd:
        print(f"http://127.0.0.1:{httpd.server_port}/ shows {site}; Ctrl-C ends it", flush=True)
        httpd.serve_forever()
