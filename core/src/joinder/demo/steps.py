"""What the demo does, step by step, with the curl that does the same: in a file, and on the screen for who asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from joinder.small_files import naming

NAME = "steps.sh"


class Steps:
    """Writes each step to a file once its folder is there; `echo` None: on no screen."""

    def __init__(self, echo: Callable[[str], None] | None) -> None:
        self._echo = echo
        self._begun = time.monotonic()
        self._waiting: list[str] = []
        self._path: Path | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def say(self, text: str) -> None:
        """Tells one step; a curl stands in the file as it can be pasted, everything else as a comment."""
        if self._echo is not None:
            self._echo(f"[{self.seconds:5.1f} s] {text}")
        self._waiting.append(text if text.startswith("curl ") else f"# {text}")
        self._write()

    def into(self, folder: Path) -> Path:
        """Begins the file, and returns its path."""
        self._path = folder / NAME
        with naming(self._path):
            self._path.write_text("# What the demo did. After `. demo.env` each curl works as it is pasted.\n")
        self._write()
        return self._path

    def _write(self) -> None:
        if self._path is not None and self._waiting:
            with naming(self._path), self._path.open("a") as file:
                file.writelines(f"{line}\n" for line in self._waiting)
            self._waiting.clear()
