"""Systems of the simulated Enphase clouds, and a request for what is known of one.

Grid Services speak of the same systems as the Monitoring API (joinder_enphase_vpp.simulator_sites). What the two say
differently is a member or method of `Asked`, which has it as the Monitoring API does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from typing import Any, ClassVar, TypeVar
from zoneinfo import ZoneInfo

from joinder.energy import DeviceKind, MeterRole
from joinder.simulate.home import Energy, Home
from joinder.simulate.truth import TrueDevice, TrueSite, alike

QUARTER_S = 900
SILENT_HOUR = 13  # local time; then half of an odd home's batteries, meters or inverters report nothing
REACH_S = 730 * 86400
GRANULARITY_S = {"5mins": 300, "15mins": 900, "day": 86400, "week": 7 * 86400}
Body = dict[str, Any]
SomeSystem = TypeVar("SomeSystem", bound="SimulatedSystem")


class Refused(Exception):
    """An error answer in the vendor's usual envelope."""

    def __init__(self, status: int, message: str, details: str) -> None:
        super().__init__(status)
        self.status = status
        self.body = {"message": message, "details": details, "code": status}


def unprocessable(details: str) -> Refused:
    return Refused(422, "Unprocessable Entity", details)


@dataclass(frozen=True, kw_only=True)
class SimulatedSystem:
    """One home. Without `metered` it has inverters only; `config_type` is its consumption meter's: Net or Total."""

    system_id: int
    name: str
    timezone: str | None = "US/Pacific"
    battery_wh: float = 10000.0
    metered: bool = True
    config_type: str = "Net"
    status: str = "normal"
    micros: int = 6
    odd: str = (
        ""  # what is wrong with it: "battery", "meter", "micros" (silent for an hour a day) or "load" (below zero)
    )
    installed: date = date(2026, 1, 1)

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone or "UTC")

    @cached_property
    def home(self) -> Home:
        return Home(
            seed=self.system_id,
            timezone=self.zone.key,
            battery_wh=self.battery_wh,
            installed=self.installed,
        )

    @cached_property
    def quarter(self) -> Callable[[int], Energy]:
        """Returns the energy of the quarter hour that starts at an epoch second."""
        return lru_cache(maxsize=20_000)(lambda start: self.home.energy(start, start + QUARTER_S))

    @cached_property
    def lifetime(self) -> Callable[[int], Energy]:
        """Returns the energy since the start, up to an epoch second."""
        return lru_cache(maxsize=2000)(self.home.lifetime)

    @cached_property
    def operational_at(self) -> int:
        return self.midnight(self.installed)

    def midnight(self, day: date) -> int:
        return int(datetime.combine(day, time(), self.zone).astimezone(UTC).timestamp())

    def day_of(self, at: float) -> date:
        return datetime.fromtimestamp(at, self.zone).date()

    @property
    def micro_serials(self) -> list[str]:
        return [f"4822{self.system_id % 10_000:04d}{index:04d}" for index in range(self.micros)]

    @property
    def encharge_serials(self) -> list[str]:
        count = 0 if not self.battery_wh else 2 if self.odd == "battery" else 1
        return [f"4921{self.system_id % 10_000:04d}{index + 1:04d}" for index in range(count)]

    @property
    def production_meters(self) -> int:
        return 3 if self.odd == "meter" else 1

    @cached_property
    def truth(self) -> TrueSite:
        """Leaves out meters that are not enabled; its reports come every quarter hour."""
        inverters = alike(DeviceKind.INVERTER, self.micro_serials)
        batteries = alike(DeviceKind.BATTERY, self.encharge_serials)
        return TrueSite(home=self.home, devices=(*inverters, *batteries, *self._true_meters()), live_every_s=QUARTER_S)

    def _true_meters(self) -> tuple[TrueDevice, ...]:
        if not self.metered:
            return ()
        serial = f"1222{self.system_id % 10_000:04d}"
        made = [f"{serial}{index or ''}EIM1" for index in range(self.production_meters)]
        used = MeterRole.GRID if self.config_type == "Net" else MeterRole.LOAD
        return (
            *alike(DeviceKind.METER, made, MeterRole.PRODUCTION),
            *alike(DeviceKind.METER, [f"{serial}EIM2"], used),
        )

    def reporting(self, part: str, count: int, at: int) -> int:
        """Tells how many of `count` devices report in the slot that starts at an epoch second."""
        is_silent = self.odd == part and datetime.fromtimestamp(at, self.home.zone).hour == SILENT_HOUR
        return count // 2 if is_silent else count


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One data request: of which system, with which query, at which simulated second, rows how late."""

    products: ClassVar[Mapping[str, tuple[str, str]]] = {  # kind → SKU and name
        "Microinverter": ("IQ8PLUS-72-2-US", "IQ8+"),
        "Meter": ("", "IQ Gateway"),
        "Gateway": ("X-IQ-AM1-240-5", "IQ Gateway"),
        "IQ Battery": ("B10C-1050-O", "IQ Battery 10C"),
    }
    battery_name: ClassVar[str] = "IQ Battery"  # in the latest telemetry
    soc_digits: ClassVar[int | None] = None  # of a percentage, behind the point

    system: SimulatedSystem
    query: Mapping[str, str]
    now: int
    lag_s: int

    @property
    def reported(self) -> int:
        """Returns the end of the last quarter hour that has arrived at the vendor."""
        return (self.now - self.lag_s) // QUARTER_S * QUARTER_S

    @property
    def granularity(self) -> str:
        return self.query.get("granularity", "day")

    def length_s(self, step_s: int) -> int:
        """Tells how far rows of `step_s` reach from their start."""
        return GRANULARITY_S.get(self.granularity, 86400)

    def start_at(self) -> int:
        """Returns where rows begin; raises what is refused."""
        text = self.query.get("start_at")
        try:
            start = int(text) if text else self.system.midnight(self.system.day_of(self.now))
        except ValueError:
            raise self.unreadable("start_at", text) from None
        self.check_start(start)
        return max(start, self.system.operational_at)

    def check_start(self, start: int) -> None:
        if start > self.now or start < self.now - REACH_S:
            raise unprocessable(
                "Invalid request because of 'Requested date range is invalid for this system. "
                f"{{:start_at=>{start}, :first_interval=>{self.system.operational_at}, "
                f":last_interval=>{self.reported}}}'"
            )

    def day(self, name: str, default: date) -> date:
        text = self.query.get(name)
        try:
            return date.fromisoformat(text) if text else default
        except ValueError:
            raise self.unreadable(name, text) from None

    def last_day(self, first: date, today: date) -> date:
        """Returns the last day of a list that begins with `first`."""
        last = self.day("end_date", today if first == today else today - timedelta(days=1))
        if first > today:
            raise unprocessable("Requested date is in the future")
        return last

    def meta(self) -> Body:
        return {
            "status": self.system.status,
            "last_report_at": self.reported,
            "last_energy_at": self.reported,
            "operational_at": self.system.operational_at,
        }

    def unreadable(self, name: str, text: str | None) -> Exception:
        """Returns the refusal of a parameter."""
        return unprocessable(f"Failed to parse date {text}")

    def unknown(self, what: str, serial: str) -> Exception:
        """Returns the refusal of a device that the system has not."""
        return Refused(404, "Not Found", f'{what} not found for {{:id=>"{serial}"}}')


def page_of(systems: Sequence[SomeSystem], query: Mapping[str, str], entry: Callable[[SomeSystem], Body]) -> Body:
    """Returns the page of a list that the query asks for."""
    page, size = max(1, int(query.get("page", 1))), min(100, max(1, int(query.get("size", 10))))
    shown = systems[(page - 1) * size : page * size]
    envelope = {"total": len(systems), "current_page": page, "size": size, "count": len(shown)}
    return {**envelope, "items": "systems", "systems": [entry(system) for system in shown]}
