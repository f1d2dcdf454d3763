"""A small HTTP server on the loopback interface, with an archive to download."""

import contextlib
import http.server
import threading
from collections.abc import Iterator

from archives import png, tar_bytes

#: What the server has, at every path.
CONTENT = tar_bytes({f"{seed}.png": png(seed) for seed in range(8)})


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; knows ranges unless the path says otherwise."""

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if self.path == "/none":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if self.path == "/no-ranges":
            start = 0
        elif start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        self.wfile.write(body[: len(body) // 2] if self.path == "/drops" else body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serve() -> Iterator[http.server.ThreadingHTTPServer]:
    """Run the server; it has its address in `url` and the Range headers in `ranges`."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.ranges = []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        running.url = f"http://127.0.0.1:{running.server_address[1]}"
        yield running
        running.shutdown()
