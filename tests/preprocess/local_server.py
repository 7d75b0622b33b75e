"""A web server on this machine, for tests of downloads."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves ``files`` by name, else ``content``; ``faults`` are met one a request, in order."""

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.files: dict[str, bytes] = {}
        self.faults: list[int | str] = []
        self.ranges: list[str | None] = []
        self.agents: set[str | None] = set()
        self.knows_ranges = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()

    @property
    def content(self) -> bytes:
        return self.server.files.get(self.path.removeprefix("/"), self.server.content)

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        self.server.agents.add(self.headers.get("User-Agent"))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            self.send_error(fault)
            return
        content = self.content
        if fault == "wrong":
            content = bytes(len(content))
        if fault == "short":  # whole to all appearance
            content = content[: len(content) // 2]
        start = 0
        if asked and self.server.knows_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "drop" else body)

    def log_message(self, *args: object) -> None:
        pass
