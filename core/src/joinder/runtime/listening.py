"""Where a server may listen; what to say where it may not."""

from __future__ import annotations

import errno
import socket

from joinder.settings import ConfigError

_WAYS_ON = {
    errno.EADDRINUSE: "another program listens there already; stop it, or set {port} to a free one",
    errno.EACCES: "this user may not; ports below 1024 are the system's, so set {port} to a higher one",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address; set {host} to one that has, or to 0.0.0.0",
}
ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a listener on all is reached
_PRIVILEGED = 1024
_NO_NAME = "no address has that name; set {host} to an address of this machine, as 127.0.0.1"


def resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Returns the address that a name or address stands for. Raises OSError where it stands for none."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, (str(address[0]), port)


def written(host: str) -> str:
    """Writes an address as in a URL."""
    return f"[{host}]" if ":" in host else host


def check(host: str, port: int, host_setting: str, port_setting: str, *, starts: bool) -> None:
    """Raises ConfigError where nobody can listen. Unless something `starts`, a port that is taken is no reason.

    To ask at a start is more than to listen: granian shares its port with whoever asks, and a second server on it would
    take half of the requests.
    """
    asked = port if starts or port < _PRIVILEGED else 0
    try:
        family, address = resolved(host, asked)
        socket.create_server(address, family=family).close()
    except OSError as error:
        if starts or error.errno != errno.EADDRINUSE:
            raise refused(host, port, host_setting, port_setting, error) from None


def refused(host: str, port: int, host_setting: str, port_setting: str, error: OSError) -> ConfigError:
    """Returns what to raise: where nobody can listen, why, and which setting changes that."""
    named = f"{written(host)}:{port} ({host_setting}, {port_setting})"
    return ConfigError(f"Cannot listen on {named}: {way_on(error, host_setting, port_setting)}")


def way_on(error: OSError, host_setting: str, port_setting: str) -> str:
    """Says why nobody can listen, and what to set to something else."""
    told = _NO_NAME if isinstance(error, socket.gaierror) else _WAYS_ON.get(error.errno or 0, str(error.strerror))
    return told.format(host=host_setting, port=port_setting)


def is_refusal(error: OSError) -> bool:
    """Tells whether it is about an address that nobody can listen at, among whatever else a block opens and writes."""
    return error.errno in _WAYS_ON and error.filename is None
