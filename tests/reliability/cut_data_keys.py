"""Renews the data keys of a database that others work on, killed in the middle again and again; at last to its end.

Prints how often it was killed and how many renewals came to their end. Leaves with a traceback where one fails.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time

from joinder.runtime.hub import open_hub
from joinder.services.admin import data_keys
from joinder.settings import Settings
from reliability.processes import template_registry

BATCH, STEPS_MOST, LATER_S = 5, 3, 0.1


def main(url: str, key_file: str, journal: str, kills: int) -> None:
    settings = Settings(database_url=url, key_file=key_file, journal_folder=journal or None, ballast_mib=0)
    data_keys.BATCH = BATCH
    killed = whole = 0
    while killed < kills:
        is_killed = _run(settings, cut=True)
        killed, whole = killed + is_killed, whole + (not is_killed)
    whole += not _run(settings, cut=False)
    print(killed, whole)


def _run(settings: Settings, *, cut: bool) -> bool:
    """Renews in a process of its own. Tells whether it was killed; a start that was killed first counts as none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _in_child(settings, writer)
    os.close(writer)
    if cut:
        _read_some(reader, 1 + random.randint(0, STEPS_MOST))  # noqa: S311 - anywhere
        time.sleep(random.uniform(0, LATER_S))  # noqa: S311
        os.kill(child, signal.SIGKILL)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(reader)
    assert ended in (0, -signal.SIGKILL), ended
    return ended != 0


def _read_some(reader: int, steps: int) -> None:
    """Waits for so many steps of the child, or its end."""
    while steps > 0 and (told := os.read(reader, steps)):
        steps -= len(told)


def _in_child(settings: Settings, writer: int) -> None:
    code = 1
    try:
        asyncio.run(_renew(settings, writer))
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


async def _renew(settings: Settings, writer: int) -> None:
    async with open_hub(settings, template_registry()) as hub:
        os.write(writer, b".")
        async for _ in data_keys.rotate(hub, "test"):
            os.write(writer, b".")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
