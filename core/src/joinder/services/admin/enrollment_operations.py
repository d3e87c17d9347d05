"""What is done to an enrollment, each operation once: for the REST API's names, the commands, the terminal, their help.

Light to import, as `--help` reads it. A front end adds what is its own: scopes, how it asks, how it tells.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub

Run = Callable[["Hub", str, str, str], Awaitable[str | None]]  # account id, enrollment id, who acts → a remark


@dataclass(frozen=True, kw_only=True)
class Operation:
    """Say what is done and how it is told.

    `id`: as the API calls it; `command` and `example` follow `joinder`; `done` is said with a number ("13 paused");
    `label` stands beside `key` in the terminal, on its bar where `is_on_bar`; `asks`: before one, in `question`.
    """

    id: str
    command: str
    example: str
    help: str
    run: Run
    doing: str
    done: str
    key: str
    label: str
    is_on_bar: bool = False
    asks: Literal["nothing", "one key", "its name"] = "nothing"
    question: str = ""

    @property
    def word(self) -> str:
        return self.command.rpartition(" ")[2]


async def _refresh(hub: Hub, _: str, enrollment_id: str, actor: str) -> None:
    from joinder.services.join import renewal

    await renewal.renew(hub, enrollment_id, actor)


async def _poll(hub: Hub, _: str, enrollment_id: str, actor: str) -> str | None:
    from joinder.services.readings import poll

    return None if await poll.poll(hub, enrollment_id) else "another process is polling it"


async def _backfill(hub: Hub, account_id: str, enrollment_id: str, actor: str) -> None:
    from joinder.services.readings import backfill

    await backfill.start(hub, account_id, actor, enrollment_id)


async def _pause(hub: Hub, account_id: str, enrollment_id: str, actor: str) -> None:
    from joinder.services.admin import pausing

    await pausing.pause(hub, account_id, enrollment_id, actor)


async def _resume(hub: Hub, account_id: str, enrollment_id: str, actor: str) -> None:
    from joinder.services.admin import pausing

    await pausing.resume(hub, account_id, enrollment_id, actor)


async def _release(hub: Hub, account_id: str, enrollment_id: str, actor: str) -> None:
    from joinder.services.admin import pausing

    await pausing.release(hub, account_id, enrollment_id, actor)


async def _revoke(hub: Hub, account_id: str, enrollment_id: str, actor: str) -> None:
    from joinder.services.join import enrollments

    await enrollments.delete(hub, account_id, enrollment_id, actor)


OPERATIONS = (
    Operation(
        id="refreshEnrollment",
        command="enrollments refresh",
        example="enrl-…",
        help="Refresh tokens now, or ask again for approval.",
        run=_refresh,
        doing="Refreshing",
        done="refreshed",
        key="r",
        label="Refresh",
        is_on_bar=True,
    ),
    Operation(
        id="pollEnrollment",
        command="enrollments poll",
        example="enrl-…",
        help="Poll the vendor for sites and readings now.",
        run=_poll,
        doing="Polling",
        done="polled",
        key="l",
        label="Poll",
        is_on_bar=True,
    ),
    Operation(
        id="startBackfill",
        command="backfills start",
        example="enrl-…",
        help="Fetch all the history the vendor keeps, within its quota.",
        run=_backfill,
        doing="Starting the backfill of",
        done="begun; a server or worker fetches the history",
        key="b",
        label="Backfill",
    ),
    Operation(
        id="pauseEnrollment",
        command="enrollments pause",
        example='--filter "vendor:acme" --dry-run',
        help="Stop reading, keep tokens alive.",
        run=_pause,
        doing="Pausing",
        done="paused",
        key="p",
        label="Pause",
        is_on_bar=True,
        asks="one key",
        question="Pause reading",
    ),
    Operation(
        id="resumeEnrollment",
        command="enrollments resume",
        example='--filter "is:paused" --yes',
        help="Read again what was paused.",
        run=_resume,
        doing="Resuming",
        done="resumed",
        key="u",
        label="Resume",
    ),
    Operation(
        id="releaseEnrollment",
        command="enrollments release",
        example="enrl-…",
        help="Let out of quarantine; all is tried again.",
        run=_release,
        doing="Releasing",
        done="released",
        key="e",
        label="Release",
    ),
    Operation(
        id="deleteEnrollment",
        command="enrollments revoke",
        example="enrl-…",
        help="End it: tokens, sites and readings are erased.",
        run=_revoke,
        doing="Revoking",
        done="revoked",
        key="d",
        label="Revoke",
        is_on_bar=True,
        asks="its name",
        question="Revoke",
    ),
)
BY_WORD = {operation.word: operation for operation in OPERATIONS}
SEVERAL = tuple(  # their commands are made of the table: for several at once, or all that a filter finds
    each for each in OPERATIONS if each.command == f"enrollments {each.word}" and each.asks != "its name"
)
