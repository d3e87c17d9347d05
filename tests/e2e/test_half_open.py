"""S20: thousands of connections that send nothing, a part, or nothing more keep no other from an answer."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from msgspec import structs

from e2e.conftest import free_port
from e2e.serving import serving
from joinder.settings import Settings

DATABASES = ("sqlite",)
EACH = 700
HALF = {
    "nothing at all": b"",
    "a part of a header": b"GET /sites HTTP/1.1\r\nhost: h\r\nx-part:",
    "a part of a body": b"POST /oauth2/token HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-www-form-urlencoded\r\n"
    b"content-length: 900\r\n\r\nclient",
    "no second request": b"GET /health/live HTTP/1.1\r\nhost: h\r\n\r\n",
    "a part of a chunk": b"POST /join/sessions/x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nffff\r\nform",
}


def asked(port: int, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".encode())
        return connection.recv(4096).split(b" ")[1]


@contextmanager
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = EACH * len(HALF) + 500
    if before[1] != resource.RLIM_INFINITY and before[1] < wanted:
        pytest.skip(f"needs {wanted} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], wanted), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_the_server_answers_beside_thousands_of_them(fresh_database: Settings, tmp_path: Path) -> None:
    port = free_port()
    settings = structs.replace(fresh_database, port=port, public_url=f"http://127.0.0.1:{port}", ballast_mib=0)
    with many_files(), ExitStack() as held:
        async with serving(settings, tmp_path, "WARNING"):
            for sent in HALF.values():
                for _ in range(EACH):
                    connection = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
                    connection.sendall(sent)
                assert asked(port, "/health/ready") == b"200"
                assert asked(port, "/sites") == b"401"
                assert asked(port, "/join/sunny/auth-granted") == b"400"
