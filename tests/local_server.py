"""A web server on this machine that answers well, badly, slowly or not to the end."""

import contextlib
import http.server
import threading
import time


class Site:
    """What the server answers, by path, and what it was asked.

    Attributes:
        files: path -> bytes.
        cut: path -> lengths at which the next connections break off, one each.
        redirects: path -> URL.
        slow: path -> seconds before every answer.
        answers: path -> function of the handler, which writes what it likes.
        asked: (method, path, headers) of each request.
    """

    def __init__(self):
        self.files, self.cut, self.redirects, self.slow = {}, {}, {}, {}
        self.answers = {}
        self.asked = []

    def ranges(self):
        """The `Range` of each request, None where it had none."""
        return [headers.get("Range") for _, _, headers in self.asked]


def _handler(site):  # noqa: C901
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *words):
            pass

        def do_HEAD(self):
            self.answer(send=False)

        def do_GET(self):
            self.answer(send=True)

        def answer(self, send):
            site.asked.append((self.command, self.path, dict(self.headers)))
            time.sleep(site.slow.get(self.path, 0))
            if self.path in site.answers:
                self.close_connection = True
                # Whoever is lied to may leave.
                with contextlib.suppress(OSError):
                    site.answers[self.path](self)
            elif self.path in site.redirects:
                self.send_response(302)
                self.send_header("Location", site.redirects[self.path])
                self.end_headers()
            elif self.path in site.files:
                self.send_file(site.files[self.path], send)
            else:
                self.send_error(404)

        def send_file(self, content, send):
            tag = f'"{hash(content) & 0xFFFFFFFF:x}"'
            start = self.first_byte(tag)
            if start >= len(content) > 0:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                last, whole = len(content) - 1, len(content)
                self.send_header("Content-Range", f"bytes {start}-{last}/{whole}")
            self.send_header("ETag", tag)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if send:
                cuts = site.cut.get(self.path, [])
                stop = cuts.pop(0) if cuts else len(content)
                self.wfile.write(content[start:stop])

        def first_byte(self, tag):
            wanted = self.headers.get("Range")
            if not wanted or self.headers.get("If-Range", tag) != tag:
                return 0
            return int(wanted.removeprefix("bytes=").partition("-")[0])

    return Handler


@contextlib.contextmanager
def running():
    """(the address without a slash at its end, its `Site`)."""
    site = Site()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    # Seconds after which it sees that it shall end.
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
