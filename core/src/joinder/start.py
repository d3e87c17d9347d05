"""Where the command line begins: says which extra brings what a command lacks, in place of a traceback."""

from __future__ import annotations

import sys

EXIT_CONFIG = 78


def main() -> None:
    """Runs the command line. A missing extra is one sentence and exit code 78."""
    try:
        from joinder import cli

        cli.main()
    except ModuleNotFoundError as error:
        from joinder.missing_extra import sentence

        told = sentence(error)
        if told is None:
            raise
        sys.stderr.write(f"{told}\n")  # click may be what is missing
        sys.exit(EXIT_CONFIG)
