"""A running `joinder tui --serve`: asked header by header, or opened in a browser."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from joinder.store.key_file import create_key_file

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@dataclass
class Served:
    """A running `joinder tui --serve`, and what it printed."""

    process: subprocess.Popen[str]
    host: str
    port: int
    url: str

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"http://{self.authority}"

    @property
    def token(self) -> str:
        return self.url.partition("token=")[2]

    def children(self) -> list[str]:
        pid = self.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def head(self, path: str, *headers: tuple[str, str]) -> tuple[int, str]:
        """The status of an answer and all of its text, with no header that was not given."""
        address = "::1" if self.host == "[::1]" else "127.0.0.1"
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        with socket.create_connection((address, self.port), timeout=10) as connection:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            received = b""
            while b"\r\n\r\n" not in received and (part := connection.recv(65536)):
                received += part
            if b" 403 " in received[:20]:
                connection.settimeout(0.3)
                while not received.endswith(b"\n") and (part := connection.recv(65536)):
                    received += part
        return int(received.split()[1]), received.decode("latin-1")

    def ask(self, path: str, *, token: str | None = None, cookie: str | None = None, **headers: str | None) -> int:
        """As the honest browser would, but for what is given; None leaves a header out."""
        sent: dict[str, str | None] = {"Host": self.authority, "Origin": self.origin}
        sent |= UPGRADE if path.startswith("/ws") else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if cookie is not None:
            sent["Cookie"] = f"joinder_terminal_{self.port}={cookie}"
        told = self.token if token is None and cookie is None else token
        mark = "&" if "?" in path else "?"
        full = f"{path}{mark}token={told}" if told else path
        return self.head(full, *((name, value) for name, value in sent.items() if value is not None))[0]


def free_port(address: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as found:
        found.bind((address, 0))
        return int(found.getsockname()[1])


@contextmanager
def started(folder: Path, host: str = "127.0.0.1") -> Iterator[Served]:
    """It ends by itself when it is told to, and has said its token once."""
    create_key_file(folder / "key")
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")} | {
        "JOINDER_DATABASE_URL": f"sqlite:///{folder}/joinder.sqlite3",
        "JOINDER_KEY_FILE": str(folder / "key"),
        "JOINDER_BALLAST_MIB": "0",
    }
    asked = [sys.executable, "-m", "joinder_tui.cli", "--serve", "--host", host]
    port = free_port("::1" if ":" in host else "127.0.0.1")
    with (
        (folder / "stderr").open("w") as said,
        subprocess.Popen(
            [*asked, "--port", str(port)], env=env, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        assert process.stdout is not None
        printed = ""
        while not (found := re.search(r"http://(\S+):(\d+)/\?token=\S+", printed)):
            line = process.stdout.readline()
            assert line, (folder / "stderr").read_text()
            printed += line
        try:
            yield Served(process, found[1], int(found[2]), found[0])
        finally:
            process.terminate()
        rest = process.stdout.read() + (folder / "stderr").read_text()
        assert found[0].partition("token=")[2] not in rest
        assert process.wait(20) == 0, rest
