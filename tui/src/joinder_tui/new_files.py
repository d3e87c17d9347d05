"""Files that are written from the terminal: new ones only."""

from __future__ import annotations

from joinder.small_files import Unreadable, path_of


def write(path: str, text: str) -> None:
    """Writes to a new file. Raises Invalid."""
    from joinder.services.refusals import Invalid

    try:
        with path_of(path).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Invalid(f"{path} is there already, and stays; name another file") from None
    except Unreadable as why:
        raise Invalid(f"{path} {why}") from None
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror}") from None
