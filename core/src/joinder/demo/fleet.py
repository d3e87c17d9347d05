"""A fleet of virtual homes in the store at hand: what it costs to read each, first with the day before, then as ever.

No vendor is asked and nothing is sent: what is measured is Joinder's own work, from due work to stored quarter hours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from joinder import virtual
from joinder.runtime.hub import Hub
from joinder.services.join import stored_consents, virtual_homes
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import poll
from joinder.services.records import accounts
from joinder.services.refusals import Conflict

BATCH, IN_FLIGHT = 200, 25
TELL_EVERY = 1000
POLL_EVERY_S = 900
_OTHERS = "SELECT count(*) FROM enrollment WHERE vendor <> :virtual"
_SIZES = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}
Say = Callable[[str], None]


class Round(Struct, rename="camel"):
    """Each home was read once."""

    took_s: float
    cpu_s: float


class Fleet(Struct, rename="camel"):
    """What was made and read, by one process. `stored_bytes`: what the database grew by."""

    account_id: str
    homes: int
    made_s: float
    first: Round
    again: Round
    stored_bytes: int

    def cores(self, homes: int) -> float:
        """Tells how many cores that many homes keep busy, each read every quarter of an hour."""
        return homes / POLL_EVERY_S * self.again.cpu_s / self.homes


async def run(hub: Hub, homes: int, say: Say) -> Fleet:
    """Makes the fleet and reads all of it twice. Raises Conflict in a store that reads homes of others."""
    ((others,),) = await hub.store.scan(_OTHERS, {"virtual": virtual.NAME})
    if others:
        raise Conflict(
            f"This store reads {others} homes that are not virtual: a fleet wants a store of its own, such as that of "
            "`joinder init fleet --account Fleet`."
        )
    account = await accounts.create_account(hub, f"Fleet of {homes}", mode=accounts.VIRTUAL)
    before, begun = await _size(hub), time.monotonic()
    ids = await _make(hub, account.id, homes, say)
    made_s = time.monotonic() - begun
    first, again = await _read(hub, ids, say), await _read(hub, ids, say)
    return Fleet(
        account_id=account.id,
        homes=homes,
        made_s=made_s,
        first=first,
        again=again,
        stored_bytes=await _size(hub) - before,
    )


async def _make(hub: Hub, account_id: str, homes: int, say: Say) -> list[str]:
    ids: list[str] = []
    for first in range(0, homes, BATCH):
        numbers = range(first + 1, min(first + BATCH, homes) + 1)
        made = [virtual.owners_home(f"{account_id} {n}", f"Home {n}") for n in numbers]
        consents = [await virtual_homes.consent_to(hub, home) for home in made]
        async with hub.store.write(account_id) as session:
            for consent in consents:
                row = await stored_consents.store(hub, session, account_id, consent, Origin(vendor=virtual.NAME))
                ids.append(row.id)
        _tell(len(ids), homes, "made", say)
    return ids


async def _read(hub: Hub, ids: Sequence[str], say: Say) -> Round:
    """Reads what a running worker does not read at the same moment."""
    todo = iter(enumerate(ids, 1))
    begun, cpu = time.monotonic(), time.process_time()

    async def work() -> None:
        for number, enrollment_id in todo:
            await poll.poll(hub, enrollment_id)
            _tell(number, len(ids), "read", say)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return Round(took_s=time.monotonic() - begun, cpu_s=time.process_time() - cpu)


def _tell(number: int, homes: int, what: str, say: Say) -> None:
    if number % TELL_EVERY == 0:
        say(f"{number} of {homes} homes {what}")


async def _size(hub: Hub) -> int:
    ((size,),) = await hub.store.scan(_SIZES[hub.store.dialect], {})
    return int(size)
