"""A private PostgreSQL server on loopback, from this machine's own binaries: for `joinder demo --cluster` and tests."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

OLDEST = 15
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/pgsql/bin")
START_S = 30


class NoPostgres(Exception):
    """This machine has no PostgreSQL server that can be started; the text says what to install."""


class LocalPostgres:
    """One cluster in a folder of its own. Refuses to run as root, so root lends it to an unprivileged user."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._bin = find_binaries()
        self._data = folder / "data"
        self._log = folder / "postgres.log"
        self._password = secrets.token_hex(16)
        self._durable = durable
        self._user = _unprivileged()
        self.port = _free_port()
        if self._user is not None:
            shutil.chown(folder, self._user)
        secret = folder / "password"
        secret.write_text(self._password)
        secret.chmod(0o600)
        if self._user is not None:
            shutil.chown(secret, self._user)
        self._run(
            "initdb", "-D", str(self._data), "-U", "joinder", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8",
            "--no-locale", "--no-sync",
        )  # fmt: skip
        secret.unlink()

    def start(self) -> None:
        """Starts the server and waits until it accepts connections."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "300",
            "fsync": "on" if self._durable else "off",
        }
        options = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in settings.items())
        self._run(
            "pg_ctl", "-D", str(self._data), "-l", str(self._log), "-w", "-t", str(START_S), "-o", options, "start"
        )

    def stop(self, how: str = "fast") -> None:
        """Stops the server. `immediate` is a crash: no checkpoint, recovery at the next start."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", how, "stop")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://joinder:{self._password}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603 - our own arguments
            [str(self._bin / program), *arguments],
            user=self._user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if program != "pg_ctl" else subprocess.DEVNULL,
            cwd="/",
            check=False,
        )
        if done.returncode:
            log = self._log.read_text()[-500:] if self._log.exists() else (done.stdout or b"").decode()[-500:]
            raise NoPostgres(f"{program} failed: {log}")


@contextmanager
def local_postgres(*, durable: bool = True) -> Iterator[LocalPostgres]:
    """Runs a server, gone with its data at the end. Raises NoPostgres."""
    find_binaries()
    folder = Path(tempfile.mkdtemp(prefix="joinder-postgres-"))
    try:
        server = LocalPostgres(folder, durable=durable)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_binaries() -> Path:
    """Finds the folder of the newest server of this machine. Raises NoPostgres."""
    found = [path for place in PLACES for path in Path("/").glob(place.lstrip("/")) if (path / "initdb").exists()]
    on_path = shutil.which("postgres")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    versions = {path: _major(path) for path in found}
    usable = [path for path, version in versions.items() if version >= OLDEST]
    if not usable:
        raise NoPostgres(f"No PostgreSQL {OLDEST} or newer on this machine; on Debian: apt-get install postgresql")
    return max(usable, key=lambda path: versions[path])


def _major(path: Path) -> int:
    try:
        told = _told([str(path / "postgres"), "--version"])
    except OSError:
        return 0
    match = re.search(r"(\d+)", told)
    return int(match[1]) if match else 0


def _told(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603


def _unprivileged() -> str | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise NoPostgres("PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
