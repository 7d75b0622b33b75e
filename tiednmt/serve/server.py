"""The page and its interface over HTTP, by the standard library.

=================  ====  ======================================================================
``/``              GET   the page; it loads nothing else
``/api/model``     GET   ``name``, ``source``, ``target``, ``tie``, ``parameters``, ``longest``,
                         ``matrices``: ``name``, ``languages`` and ``words`` of each
``/api/translate``  POST  ``{"text": "A dog.", "nbest": 3, "beam": 5}`` (``nbest`` at most
                         ``beam``, that at most 10) → ``translations``, the best first:
                         ``text``, ``score``, ``units``, ``source_units``, and ``attention``, a row
                         per unit and one of the end, a column per source unit and one of the end
``/api/nearest``   POST  ``{"word": "dog", "count": 10}`` → ``matrices``: ``name``, ``languages``,
                         ``units`` that the word is written in (none: not known), and ``nearest``,
                         pairs of a unit and its cosine
=================  ====  ======================================================================

What is posted is JSON, declared as such: a browser sends that cross-origin only after a preflight
request, which this server refuses. A request whose ``Host`` is a name other than ``localhost`` and
that which the server was given is refused, since such a name may be anybody's (DNS rebinding). An
error is ``{"error": "…"}`` with status 400 (what was asked), 403 (who asks), 404, 411, 413, 415,
501 (another method) or 503. HEAD answers as GET does, without the content.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from tiednmt import __version__
from tiednmt.errors import UserError
from tiednmt.serve.answers import LONGEST, Answers, ClosedError

LARGEST = 16 * LONGEST  # bytes of a request; JSON may write a character as \ud83d\ude00
AT_ONCE = 8  # requests that wait for the model
SECONDS = 20  # for a client to say what it wants

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


class RequestError(Exception):
    """A request that is refused."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serves a model at ``address``, a host and a port (0: any that is free).

    Raises:
        OSError: the address cannot be had.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], answers: Answers) -> None:
        page = files("tiednmt.serve").joinpath("page.html").read_text(encoding="utf-8")
        self.page = page.encode()
        self.policy = _policy(page)
        self.names = {"localhost", address[0].lower()}
        self.waiting = threading.BoundedSemaphore(AT_ONCE)
        self.questions: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "/api/translate": answers.translations,
            "/api/nearest": answers.neighbours,
        }
        self.model = answers.model
        self._answers = answers
        super().__init__(address, _Handler)

    def server_close(self) -> None:
        """Stop listening, and wait until the question at hand is answered; others are refused.

        Python aborts where it ends while a thread is inside torch.
        """
        self._answers.close()
        super().server_close()
        for _ in range(AT_ONCE):
            self.waiting.acquire()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what went wrong, unless the client broke off the connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/"


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    timeout = SECONDS
    protocol_version = "HTTP/1.1"
    server_version, sys_version = f"tiednmt/{__version__}", ""

    def do_GET(self) -> None:
        """The page, and what it says of the model."""
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # what is sent is not read, and no further request
        self._serve(self._get)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """A question to the model."""
        with ExitStack() as self.until_sent:
            self._serve(self._post)

    def _serve(self, answer: Callable[[], tuple[str, bytes]]) -> None:
        try:
            self._require_own()
            kind, content = answer()
            status = HTTPStatus.OK
        except RequestError as fault:
            status, kind, content = fault.status, *_json({"error": str(fault)})
        except UserError as error:
            status, kind, content = HTTPStatus.BAD_REQUEST, *_json({"error": str(error)})
        except OSError:  # the client is gone
            self.close_connection = True
            return
        except Exception:
            traceback.print_exc()
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            kind, content = _json({"error": "the server failed; its terminal says how"})
        if status != HTTPStatus.OK:
            self.close_connection = True  # what was sent may not have been read
        self._send(status, kind, content)

    def _get(self) -> tuple[str, bytes]:
        if self.path == "/":
            return "text/html; charset=utf-8", self.server.page
        if self.path == "/api/model":
            return _json(self.server.model())
        raise RequestError(HTTPStatus.NOT_FOUND, "there is nothing of that name")

    def _post(self) -> tuple[str, bytes]:
        answer = self.server.questions.get(self.path)
        if answer is None:
            raise RequestError(HTTPStatus.NOT_FOUND, "there is nothing of that name")
        question = self._question()
        if not self.server.waiting.acquire(blocking=False):
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "too many ask at once; try again")
        self.until_sent.callback(self.server.waiting.release)
        try:
            return _json(answer(question))
        except ClosedError:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "the server is ending") from None

    def _require_own(self) -> None:
        """Refuse what another site's page sends, or has been made to send."""
        host = self.headers.get("Host", "")
        if not _is_ours(host, self.server.names):
            raise RequestError(HTTPStatus.FORBIDDEN, "this server is not of that name")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise RequestError(HTTPStatus.FORBIDDEN, "the page of another site asks")

    def _question(self) -> dict[str, Any]:
        if self.headers.get_content_type() != "application/json":
            raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "must be application/json")
        given = self.headers.get("Content-Length", "")
        chunked = "Transfer-Encoding" in self.headers
        if chunked or not (given.isascii() and given.isdigit()):
            raise RequestError(HTTPStatus.LENGTH_REQUIRED, "must say its length")
        if len(given) > 9 or int(given) > LARGEST:
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {LARGEST:,} bytes")
        try:
            question = json.loads(self.rfile.read(int(given)))
        except (ValueError, RecursionError):
            raise RequestError(HTTPStatus.BAD_REQUEST, "not JSON") from None
        if not isinstance(question, dict):
            raise RequestError(HTTPStatus.BAD_REQUEST, "must be an object")
        return question

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        try:
            self.send_response(status)
            for name, value in {
                "Content-Type": kind,
                "Content-Length": str(len(content)),
                "Content-Security-Policy": self.server.policy,
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Cache-Control": "no-store",
                **({"Connection": "close"} if self.close_connection else {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
        except OSError:  # the client is gone
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself, as all other errors."""
        status = HTTPStatus(code)
        self.close_connection = True
        self._send(status, *_json({"error": message or status.phrase}))

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: requests hold users' text."""


def _json(content: Mapping[str, Any]) -> tuple[str, bytes]:
    return "application/json", json.dumps(content, allow_nan=False).encode()


def _is_ours(host: str, names: set[str]) -> bool:
    """Whether ``HOST[:PORT]`` is an address, or one of the names."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return False
    if name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _policy(page: str) -> str:
    """Let the page's own script and style run, by their hashes, and nothing else."""
    sources: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        sources[kind].append(f"'sha256-{digest}'")
    return (
        f"default-src 'none'; connect-src 'self'; script-src {' '.join(sources['script'])}; "
        f"style-src {' '.join(sources['style'])}; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
