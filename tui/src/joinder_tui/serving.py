"""The terminal in a browser of this machine: on loopback only, and only for who started it (browser.py)."""

from __future__ import annotations

import shlex
import sys

from joinder.cli import EXIT_CONFIG, EXIT_FAILED
from joinder.commands.running import fail
from joinder.runtime import listening

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve_on(host: str, port: int, *, readonly: bool, theme: str | None) -> None:
    """Ends the program for any other host: its token would go over the network as it is."""
    if host not in LOOPBACK:
        fail(
            f"--serve has no login, so it is for this machine only; {host} is refused. From elsewhere: "
            f"ssh -L {port}:127.0.0.1:{port} to this machine.",
            EXIT_CONFIG,
        )
    try:
        from joinder_tui.browser import OwnServer
    except ImportError:
        fail("--serve needs textual-serve: pip install 'joinder-tui[serve]'", EXIT_FAILED)
    options = [*(["--readonly"] if readonly else []), *(["--theme", theme] if theme else [])]
    command = shlex.join([sys.executable, "-m", "joinder_tui.cli", *options])
    try:
        OwnServer(command, host=host, port=port, title="Joinder").serve()
    except OSError as error:
        told = listening.way_on(error, "--host", "--port")
        fail(f"Cannot listen on {listening.written(host)}:{port}: {told}", EXIT_FAILED)
