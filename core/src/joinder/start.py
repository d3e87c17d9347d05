"""Where the command line begins: what this machine or its shell lacks is a sentence, in place of a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

EXIT_FAILED, EXIT_CONFIG = 1, 78
_MACHINES_FAULT = (
    errno.ENOSPC,
    errno.EFBIG,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
)


def main() -> None:
    """Runs the command line. A missing extra is one sentence and exit code 78."""

    def commands() -> None:
        from joinder import cli

        cli.main()

    run(commands)


def run(command: Callable[[], None]) -> None:
    """Runs what ends by SystemExit; says what is missing, or cannot be written."""
    _open_what_is_closed()
    sys.stdout = _telling(sys.stdout)
    try:
        try:
            command()
        finally:
            sys.stdout.flush()  # here it can still be told; at the interpreter's end there is but a traceback
    except ModuleNotFoundError as error:
        from joinder.missing_extra import sentence

        told = sentence(error)
        if told is None:
            raise
        sys.stderr.write(f"{told}\n")  # click may be what is missing
        sys.exit(EXIT_CONFIG)
    except KeyboardInterrupt:  # before click, which says the same, is there to be told
        sys.stderr.write("Aborted.\n")
        sys.exit(EXIT_FAILED)
    except OSError as error:
        told = _sentence(error)
        if told is None:
            raise
        sys.stderr.write(told)
        sys.exit(EXIT_FAILED)


class OutputLost(OSError):
    """Standard output takes nothing more."""


class _Output(io.FileIO):
    """Standard output, which tells its own errors from those of files. What comes after one is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            raise OutputLost(error.errno, error.strerror) from None


def _telling(stream: TextIO) -> TextIO:
    if stream is not sys.__stdout__ or not isinstance(stream, io.TextIOWrapper):
        return stream  # a test's, or what stands for one that was closed
    raw = _Output(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _open_what_is_closed() -> None:
    """Gives the three standard streams something where a shell closed them (`>&-`).

    Else the next file that is opened, as the database, takes the number, and gets what is printed.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False, encoding="utf-8"))  # noqa: SIM115


def _sentence(error: OSError) -> str | None:
    """Says what of this machine stood in the way, and how; None where it may be a bug."""
    from joinder.clean import clean_line

    if isinstance(error, OutputLost):
        is_read_no_further = error.errno == errno.EPIPE  # as by `head`
        return "" if is_read_no_further else f"The output cannot be written: {error.strerror}\n"
    if error.filename is not None:
        return clean_line(f"{os.fsdecode(error.filename)} cannot be read or written: {error.strerror}") + "\n"
    return f"This machine refuses it: {error.strerror}\n" if error.errno in _MACHINES_FAULT else None
