"""Serves recorded answers of one IQ Gateway over TLS on 127.0.0.1, unchanged: bytes, status and Content-Type."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from joserfc import jwt
from joserfc.jwk import ECKey

KEY = ECKey.generate_key("P-256")
NOT_FOUND = b'{ "error" : "404 - Not Found" }\n'


@dataclass(frozen=True)
class Recorded:
    status: int
    content_type: str | None
    body: bytes


Pages = Callable[[str], Recorded | None]


def pages_of(folder: Path) -> Pages:
    """By request path, as the folder's file names spell them: `/`, `?` and `=` became `_`."""

    def page(path: str) -> Recorded | None:
        body = folder / path.strip("/").translate(str.maketrans("/?=", "___"))
        if not body.is_file():
            return None
        log = body.with_name(f"{body.name}_log.json")
        told: dict[str, Any] = json.loads(log.read_text()) if log.is_file() else {"code": 200, "headers": {}}
        headers = {name.lower(): value for name, value in told["headers"].items()}
        return Recorded(told["code"], headers.get("content-type"), body.read_bytes())

    return page


def info_of(pages: Pages) -> tuple[str, int]:
    """Serial number and epoch seconds of the recording."""
    recorded = pages("/info")
    assert recorded is not None
    root = ElementTree.fromstring(recorded.body)  # noqa: S314 - our own recording
    return str(root.findtext("device/sn")), int(root.findtext("time") or 0)


def mint(serial: str, at: int) -> str:
    claims = {"aud": serial, "iss": "Entrez", "enphaseUser": "owner", "exp": at + 31_536_000, "iat": at}
    return jwt.encode({"alg": "ES256", "typ": "JWT"}, claims, KEY)


@contextmanager
def serving(pages: Pages, token: str, certificate: tuple[Path, Path] | None) -> Iterator[int]:
    """Yields the port. Data pages need the token or the session it earned; no certificate: plain HTTP."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes: 40 ms each otherwise

        def do_GET(self) -> None:
            self._send(self._answer())

        def _answer(self) -> Recorded:
            if self.path == "/info":
                return pages("/info") or Recorded(404, None, NOT_FOUND)
            if self.headers.get("Authorization") != f"Bearer {token}":
                return Recorded(401, "text/html", b"<html>401 Authorization Required</html>")
            if self.path == "/auth/check_jwt":
                return Recorded(200, "text/html", b"<!DOCTYPE html><h2>Valid token.</h2>\n")
            return pages(self.path) or Recorded(404, "application/json; charset=ISO-8859-4", NOT_FOUND)

        def _send(self, recorded: Recorded) -> None:
            self.send_response(recorded.status)
            if recorded.content_type:
                self.send_header("Content-Type", recorded.content_type)
            self.send_header("Content-Length", str(len(recorded.body)))
            self.end_headers()
            self.wfile.write(recorded.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
