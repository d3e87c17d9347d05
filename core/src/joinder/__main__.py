"""`joinder`, also as `python -m joinder`: starts the command line, or says which extra it lacks."""

from __future__ import annotations

import sys

EXIT_CONFIG = 78


def main() -> None:
    try:
        from joinder.cli import main as run

        run()
    except ModuleNotFoundError as error:
        from joinder.missing_extra import sentence

        told = sentence(error)
        if told is None:
            raise
        print(told, file=sys.stderr)
        sys.exit(EXIT_CONFIG)


if __name__ == "__main__":
    main()
