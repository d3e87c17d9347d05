"""Sound vendors of other kinds than the template: the template with a few lines changed. None may alarm a check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

INIT, API, MAPPING, SIMULATOR, HOMES = (
    f"src/joinder_acme/{name}.py" for name in ("__init__", "api", "mapping", "simulator", "homes")
)
_HISTORY = (
    "        history=(\n"
    '            History(resolution="15mins", window=timedelta(days=7)),\n'
    '            History(resolution="day", window=timedelta(days=31)),\n'
    "        ),\n"
)
_TOTAL = '''class Total(Struct):
    """Lifetime registers at `at`."""

    at: datetime
    solar: Number
    imported: Number
    exported: Number


def site_path('''
_REGISTERS = """def counters(total: Total) -> tuple[Counter, ...]:
    return (
        Counter(
            at=total.at,
            solar_wh=total.solar,
            import_wh=total.imported,
            export_wh=total.exported,
        ),
    )


def live("""
_ASKED = """    total = await api.get(ctx, grant, f"{api.site_path(site_id)}/total", api.Total)
    return Readings(counters=mapping.counters(total), intervals"""
_PLACES = """PLACES = {
    "Europe/Berlin": {"lat": 52.5, "lon": 13.4},
    "America/New_York": {"lat": 40.7, "lon": -74.0},
}
"""
_TOLD = """    if rest == "total":
        total = site.home.lifetime(now.timestamp())
        told = {"solar": total.solar_wh, "imported": total.import_wh, "exported": total.export_wh}
        return {"at": now.isoformat(), **told}
    if rest == "power":"""
_SITE = "    return mapping.site(await api.get("
_QUERIED = "    site_id = query.site.vendor_id\n"
_CHALLENGE = '    await api.get(ctx, grant, "/challenge", api.Challenge)\n'
_CHALLENGED = """    if path == "v1/challenge":
        return Response({"nonce": token_hex()})
    if path == "":"""


@dataclass(frozen=True)
class Change:
    file: str
    old: str
    new: str


VARIANTS = {
    "without a time zone": (
        Change(API, "    timezone: str\n", "    lat: float\n    lon: float\n"),
        Change(MAPPING, "timezone=details.timezone", "lat=details.lat, lon=details.lon"),
        Change(HOMES, '"timezone": site.home.timezone', "**PLACES[site.home.timezone]"),
        Change(HOMES, "PAGE_SIZE = 1\n", f"PAGE_SIZE = 1\n{_PLACES}"),
        Change(HOMES, "missing=self.is_missing", "missing=self.is_missing, tells_zone=False"),
    ),
    "of hourly rows": (
        Change(INIT, "outwards(query.start, query.end)", "outwards(query.start, query.end, timedelta(hours=1))"),
        Change(HOMES, "quarter = timedelta(minutes=15)", "quarter = timedelta(hours=1)"),
        Change(HOMES, "missing=self.is_missing", "row_s=3600"),
        Change(HOMES, ", has_gaps=True", ""),
    ),
    "without history": (
        Change(INIT, _HISTORY, ""),
        Change(INIT, "    History,\n", ""),
        Change(INIT, "    return Readings(intervals", _ASKED),
        Change(API, "def site_path(", _TOTAL),
        Change(MAPPING, "import Device,", "import Counter, Device,"),
        Change(MAPPING, "Row, SiteDetails", "Row, SiteDetails, Total"),
        Change(MAPPING, "def live(", _REGISTERS),
        Change(HOMES, '    if rest == "power":', _TOLD),
        Change(SIMULATOR, "        owner_choice=", "        has_history=False,\n        owner_choice="),
    ),
    "with a challenge before each read": (
        Change(INIT, _SITE, _CHALLENGE + _SITE),
        Change(INIT, _QUERIED, _CHALLENGE + _QUERIED),
        Change(API, "class SiteDetails(", "class Challenge(Struct):\n    nonce: str\n\n\nclass SiteDetails("),
        Change(SIMULATOR, '    if path == "":', _CHALLENGED),
        Change(SIMULATOR, "from typing import Any\n", "from secrets import token_hex\nfrom typing import Any\n"),
    ),
}


def change(folder: Path, changes: tuple[Change, ...]) -> None:
    """Raises AssertionError where the template no longer holds what is to be changed."""
    for one in changes:
        path = folder / one.file
        text = path.read_text()
        assert one.old in text, f"{one.file} no longer holds {one.old!r}"
        path.write_text(text.replace(one.old, one.new))
