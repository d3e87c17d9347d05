"""CPU of one complete gateway update, ours against pyenphase 4.2.0, on the same recorded bytes in the same run.

    uv run --with pyenphase==4.2.0 python tests/bench/gateway_update.py [SET ...]

All answers are in memory, so no network and no TLS on either side: choosing pages, decoding and mapping remain.
pyenphase is measured twice: as shipped (a retry object per request) and with `Envoy.request` replaced too, so that only
its parsing is left. Method as in EXPECTED.json `_baseline`: process_time, best block of 3 runs × 7 blocks, and the
median block of each run, because the machine is shared. Ours includes what it asks beyond them: the session check, and
pages that turn out to be missing.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from joinder.http import Answer
from joinder_iq_gateway.api import Gateway, take_snapshot
from joinder_iq_gateway.info import parse_info
from joinder_iq_gateway.mapping import readings
from payloads.gateway_server import Recorded, info_of, pages_of

FOLDER = Path(__file__).parents[3] / "shared/payloads/iq_gateway"
RUNS, BLOCKS, UPDATES, WARM_UP = 3, 7, 100, 30
MISSING = Recorded(404, None, b'{ "error" : "404 - Not Found" }\n')
Update = Callable[[], Awaitable[object]]


class Memory:
    """The recorded answers of one set, each read from disk once."""

    origin = "https://box"

    def __init__(self, folder: Path) -> None:
        self._load = pages_of(folder)
        self._answers: dict[str, Recorded] = {"/auth/check_jwt": Recorded(200, None, b"valid")}
        self.asked: set[str] = set()

    def answer(self, path: str) -> Recorded:
        self.asked.add(path)
        if path not in self._answers:
            plain = path.partition("?")[0]  # as recorders did where only one variant was kept
            self._answers[path] = self._load(path) or self._load(plain) or MISSING
        return self._answers[path]

    async def request(self, method: str, url: str, **_: object) -> Answer:
        path = url.removeprefix(self.origin)
        recorded = self.answer(path)
        return Answer(recorded.status, {}, recorded.body, path)


class Reply:
    """What pyenphase uses of an aiohttp response."""

    url = "https://box"

    def __init__(self, recorded: Recorded) -> None:
        self.status, self._body = recorded.status, recorded.body

    async def read(self) -> bytes:
        return self._body

    async def text(self) -> str:
        return self._body.decode()


def ours(memory: Memory, at: int) -> Update:
    now = datetime.fromtimestamp(at, UTC)
    info = memory.answer("/info")
    firmware = parse_info(Answer(info.status, {}, info.body, "/info")).firmware

    async def update() -> object:
        gateway = Gateway(memory, "token", expires_at=None, now=now)  # type: ignore[arg-type]
        await gateway.open_session()
        snapshot = await take_snapshot(gateway, firmware=firmware, now=now, timezone=None)
        return readings(snapshot, now=now, firmware=firmware, live=True)

    return update


async def theirs(memory: Memory, *, as_shipped: bool) -> tuple[Update, Callable[[], Awaitable[None]]]:
    from pyenphase import Envoy  # type: ignore[import-not-found, unused-ignore]
    from pyenphase.exceptions import EnvoyAuthenticationRequired  # type: ignore[import-not-found, unused-ignore]

    async def request(endpoint: str, data: object = None, method: str | None = None) -> Reply:
        recorded = memory.answer(endpoint)
        if recorded.status in (401, 403):
            raise EnvoyAuthenticationRequired(endpoint)
        return Reply(recorded)

    async def get_info(_: object) -> tuple[int, bytes]:
        return 200, memory.answer("/info").body

    envoy = Envoy("127.0.0.1", v2_acb_mode=False)
    type(envoy._firmware)._get_info = get_info
    envoy._request = request
    if not as_shipped:
        envoy.request = request
    await envoy.setup()
    await envoy.probe()
    memory.asked.clear()
    return envoy.update, envoy.close


async def measure(update: Update) -> tuple[float, list[float]]:
    """Milliseconds of CPU per update: the best block, and the median block of each run."""
    for _ in range(WARM_UP):
        await update()
    runs = [[await _block(update) for _ in range(BLOCKS)] for _ in range(RUNS)]
    return min(min(run) for run in runs), [statistics.median(run) for run in runs]


async def _block(update: Update) -> float:
    started = time.process_time()
    for _ in range(UPDATES):
        await update()
    return (time.process_time() - started) / UPDATES * 1000


async def compare(name: str) -> tuple[float, float, float]:
    at = info_of(pages_of(FOLDER / name))[1]
    shipped_memory, parsing_memory, memory = (Memory(FOLDER / name) for _ in range(3))
    shipped, close_shipped = await theirs(shipped_memory, as_shipped=True)
    parsing, close_parsing = await theirs(parsing_memory, as_shipped=False)
    mine, mine_medians = await measure(ours(memory, at))
    with_retry, with_retry_medians = await measure(shipped)
    parse_only, parse_only_medians = await measure(parsing)
    await close_shipped()
    await close_parsing()
    medians = (statistics.median(block) for block in (mine_medians, parse_only_medians, with_retry_medians))
    print(
        f"{name:<38}{len(memory.asked) - 1:>4}{len(shipped_memory.asked):>4}"
        f"{mine:>9.3f}{parse_only:>9.3f}{with_retry:>9.3f}{mine / parse_only:>8.2f}{mine / with_retry:>8.2f}    "
        + " ".join(f"{median:.3f}" for median in medians)
    )
    return mine, parse_only, with_retry


async def main(names: list[str]) -> None:
    if not FOLDER.exists():
        sys.exit(f"{FOLDER} is not on this machine: no recorded bytes to measure with")
    try:
        import pyenphase  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError:
        sys.exit("pyenphase is missing: run with `uv run --with pyenphase==4.2.0 python tests/bench/gateway_update.py`")
    known = sorted(path.name for path in FOLDER.glob("[0-9]*") if int(path.name.split(".")[0]) >= 7)
    print(f"{'ms CPU, best block':<38}{'pages':>8}{'ours':>9}{'parse':>9}{'shipped':>9}   ÷parse ÷shipped  medians")
    rows = [await compare(name) for name in names or known]
    mine, parse_only, with_retry = (sum(column) for column in zip(*rows, strict=True))
    print(f"{f'sum of {len(rows)} sets':<46}{mine:>9.3f}{parse_only:>9.3f}{with_retry:>9.3f}"
          f"{mine / parse_only:>8.2f}{mine / with_retry:>8.2f}")  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
