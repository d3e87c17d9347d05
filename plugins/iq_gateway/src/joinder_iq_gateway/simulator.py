"""An IQ Gateway on loopback: firmware 8.3, a dozen microinverters, production, net and storage CTs, two IQ Batteries.

Written from the fields pyenphase 4.2.0 and Matthew1471/Enphase-API document; not recorded. `/ivp/*` answers carry no
Content-Type, as on real boxes. Tokens are checked as the box checks them: ES256 with its own key, iss, aud, exp, role.
`GET /_state` counts what was asked: {"requests": {path: n}, "with_token": n}.

`POST /_oddity/NAME` makes the box as odd as real ones were (ODDITIES below), `POST /_oddity/none` ends it.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from joinder.energy import DeviceKind, MeterRole
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.home import Home, Power
from joinder.simulate.truth import TrueDevice, TrueSite

ADDRESS = "192.168.77.10"
SERIAL, ANOTHER = "122300000042", "122300000043"
TIMEZONE = "America/Los_Angeles"
SESSION_S = 600
OWNER_S, INSTALLER_S = 31_536_000, 43_200
SHARES = (1.1, 1.08, 1.06, 1.04, 1.02, 1.0, 1.0, 0.98, 0.96, 0.94, 0.92, 0.9)  # of the mean, per inverter
BATTERIES = ("492300000001", "492300000002")
BATTERY_WH = 5000
PRODUCTION_CT, NET_CT, STORAGE_CT, THIRD_PARTY_CT = 704643328, 704643584, 704643840, 704645120
ODDITIES = (
    "ct-reversed",  # the production CT faces the wrong way: negative power, the other register, a flag
    "ct-missing",  # the production CT is enabled and was never installed: noise
    "pv3p",  # a third of the home's solar power is another maker's, with a meter of its own
    "unseen-solar",  # that third without a meter
    "phase-lost",  # one phase of the production CT is zero and missing from its total
    "battery-silent",  # one battery has not talked for hours
    "off-grid",  # the system controller has cut the home from the grid
    "generator",  # off the grid, on a generator
    "just-started",  # zeros and empty lists
    "source-change",  # after a power cut the CTs are gone, and /api/v1/production has another lifetime
)
THIRD_PARTY_SHARE = 1 / 3
OTHER_LIFETIME_WH = 1_843_936  # how far two lifetimes of one site lay apart (pyenphase#471)

VALID = b"<!DOCTYPE html><h2>Valid token.</h2>\n"
REFUSED = b"<html><head><title>401 Authorization Required</title></head></html>\n"
NOT_FOUND = b'{ "error" : "404 - Not Found" }\n'


class SimulatedGateway:
    """ASGI app of one box. Its counters follow `clock`; `serial` and `firmware` can be changed by tests."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.serial = SERIAL
        self.firmware = "8.3.5167"
        self.oddity: str | None = None  # one of ODDITIES
        self.home = Home(seed=42, timezone=TIMEZONE, battery_wh=BATTERY_WH * 2, installed=date(2026, 1, 1))
        self.requests: Counter[str] = Counter()
        self.with_token = 0
        self._key = ECKey.generate_key("P-256")
        self._sessions: dict[str, float] = {}
        self._pages: dict[str, Callable[[], object]] = {
            "/ivp/meters": self._meters,
            "/ivp/meters/readings": self._readings,
            "/api/v1/production": self._production,
            "/api/v1/production/inverters": self._inverters,
            "/ivp/pdm/device_data": self._device_data,
            "/ivp/ensemble/inventory": self._ensemble,
            "/ivp/ensemble/power": self._battery_power,
            "/ivp/ensemble/secctrl": self._ensemble_state,
            "/ivp/ensemble/generator": self._generator,
            "/production.json": self._segments,
            "/inventory.json": self._inventory,
            "/home": lambda: {"software_build_epoch": 1753000000, "timezone": TIMEZONE},
        }

    @property
    def truth(self) -> TrueSite:
        """Returns a box without oddities; its meters have numbers of their own and no serial."""
        inverters = [
            TrueDevice(kind=DeviceKind.INVERTER, serial=f"1223000001{index:02}", share=share / len(SHARES))
            for index, share in enumerate(SHARES)
        ]
        batteries = [
            TrueDevice(kind=DeviceKind.BATTERY, serial=serial, share=0.5, nameplate_wh=BATTERY_WH)
            for serial in BATTERIES
        ]
        roles = (MeterRole.PRODUCTION, MeterRole.GRID, MeterRole.STORAGE)
        meters = [TrueDevice(kind=DeviceKind.METER, role=role) for role in roles]
        return TrueSite(home=self.home, devices=(*inverters, *batteries, *meters))

    def mint(self, *, role: str = "owner", key: ECKey | None = None, **changes: object) -> str:
        """Makes a token as Entrez does for this box. `changes` replace claims (aud, iss, exp …)."""
        issued = int(self.clock.time())
        claims = {
            "aud": self.serial,
            "iss": "Entrez",
            "enphaseUser": role,
            "exp": issued + (INSTALLER_S if role == "installer" else OWNER_S),
            "iat": issued,
            "jti": secrets.token_hex(16),
            "username": "owner@example.com",
        }
        return jwt.encode({"alg": "ES256", "typ": "JWT", "kid": "simulated"}, claims | changes, key or self._key)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        status, body, extra = self._answer(scope["method"], scope["path"], headers)
        fields = {"server": "openresty/1.17.8.1", "content-length": str(len(body)), **extra}
        encoded = [(name.encode(), value.encode()) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
        if path == "/_state":
            return 200, msgspec.json.encode({"requests": self.requests, "with_token": self.with_token}), {}
        if method == "POST" and path.startswith("/_oddity/"):
            return self._set_oddity(path.removeprefix("/_oddity/"))
        self.requests[path] += 1
        self.with_token += "authorization" in headers
        if path in ("/info", "/info.xml"):
            return 200, self._info(), {}
        if path == "/auth/check_jwt":
            return self._check_jwt(headers)
        if not (self._token_opens(headers) or self._session_opens(headers)):
            return 401, REFUSED, {"content-type": "text/html"}
        page = self._pages.get(path)
        if page is None or method != "GET":
            return 404, NOT_FOUND, {"content-type": "application/json; charset=ISO-8859-4"}
        kind = {} if path.startswith("/ivp/") else {"content-type": "application/json"}
        return 200, msgspec.json.encode(page()), kind

    def _check_jwt(self, headers: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
        if not self._token_opens(headers):
            return 401, REFUSED, {"content-type": "text/html"}
        session = secrets.token_hex(16)
        self._sessions[session] = self.clock.time()
        cookie = f"sessionId={session}; Secure; HttpOnly; path=/"
        return 200, VALID, {"content-type": "text/html", "set-cookie": cookie}

    def _token_opens(self, headers: Mapping[str, str]) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        try:
            claims = jwt.decode(token, self._key, algorithms=["ES256"]).claims
        except (JoseError, ValueError):
            return False
        known = claims.get("iss") == "Entrez" and claims.get("aud") == self.serial
        live = isinstance(claims.get("exp"), int) and claims["exp"] > self.clock.time()
        return scheme == "Bearer" and known and live and claims.get("enphaseUser") in ("owner", "monitor", "installer")

    def _session_opens(self, headers: Mapping[str, str]) -> bool:
        """Tells whether the session lives; it ends ten minutes after its last use."""
        session = headers.get("cookie", "").partition("sessionId=")[2].partition(";")[0]
        if self.clock.time() - self._sessions.get(session, -SESSION_S) >= SESSION_S:
            return False
        self._sessions[session] = self.clock.time()
        return True

    def _info(self) -> bytes:
        tag = "<web-tokens>true</web-tokens>" if int(self.firmware.split(".")[0]) >= 7 else ""
        device = f"<sn>{self.serial}</sn><pn>800-00654-r08</pn><software>D{self.firmware}</software>"
        return (
            "<?xml version='1.0' encoding='UTF-8'?>\n<envoy_info>"
            f"<time>{int(self.clock.time())}</time><device>{device}<imeter>true</imeter></device>{tag}</envoy_info>\n"
        ).encode()

    def _set_oddity(self, name: str) -> tuple[int, bytes, dict[str, str]]:
        if name not in (*ODDITIES, "none"):
            return 404, NOT_FOUND, {}
        self.oddity = None if name == "none" else name
        return 200, b"{}", {}

    def _meters(self) -> object:
        if self.oddity == "source-change":
            return []
        kinds = {PRODUCTION_CT: "production", NET_CT: "net-consumption", STORAGE_CT: "storage"}
        if self.oddity == "pv3p":
            kinds[THIRD_PARTY_CT] = "pv3p"
        meters = [
            {
                "eid": eid,
                "state": "enabled",
                "measurementType": kind,
                "phaseMode": "split",
                "phaseCount": 2,
                "meteringStatus": "normal",
                "statusFlags": [],
            }
            for eid, kind in kinds.items()
        ]
        if self.oddity == "ct-reversed":
            meters[0] |= {"meteringStatus": "check-wiring", "statusFlags": ["negative-production"]}
        return meters

    def _readings(self) -> object:
        """Returns all of one moment: the clock runs on between two looks at it."""
        now = self.clock.time()
        power, total = self.home.power(now), self.home.lifetime(now)
        share = self._others_share()
        grid_w = 0.4 if self.oddity in ("off-grid", "generator") else power.grid_w
        return [
            self._production_reading(power.solar_w * (1 - share), total.solar_wh * (1 - share)),
            self._reading(NET_CT, grid_w, total.import_wh, total.export_wh),
            self._reading(STORAGE_CT, power.battery_w, total.discharge_wh, total.charge_wh),
            self._reading(THIRD_PARTY_CT, power.solar_w * share, total.solar_wh * share, 0.0),
            self._reading(1023410688, 0.0, 0.0, 0.0),  # 8.3 sends one reading that belongs to no meter
        ]

    def _production_reading(self, power_w: float, total_wh: float) -> dict[str, object]:
        if self.oddity == "ct-reversed":
            return self._reading(PRODUCTION_CT, -power_w, 0.01, total_wh)
        if self.oddity == "ct-missing":
            return self._reading(PRODUCTION_CT, 0.3, 0.012, 0.004)
        if self.oddity == "phase-lost":
            return self._reading(PRODUCTION_CT, power_w / 2, total_wh / 2, 0.0, shares=(0.0, 1.0, 0.0))
        return self._reading(PRODUCTION_CT, power_w, total_wh, 0.0)

    def _others_share(self) -> float:
        """Returns the share of the home's solar power that another maker's inverters generate."""
        return THIRD_PARTY_SHARE if self.oddity in ("pv3p", "unseen-solar") else 0.0

    def _reading(
        self,
        eid: int,
        power_w: float,
        delivered_wh: float,
        received_wh: float,
        shares: tuple[float, ...] = (0.5, 0.5, 0.0),
    ) -> dict[str, object]:
        if self.oddity == "just-started":
            power_w = delivered_wh = received_wh = 0.0

        def values(share: float) -> dict[str, object]:
            return {
                "timestamp": int(self.clock.time()),
                "actEnergyDlvd": round(delivered_wh * share, 3),
                "actEnergyRcvd": round(received_wh * share, 3),
                "activePower": round(power_w * share, 3),
                "freq": 60.0,
            }

        phases = [{"eid": eid * 2 + index, **values(share)} for index, share in enumerate(shares)]
        return {"eid": eid, **values(1.0), "channels": phases}

    def _production(self) -> object:
        now = self.clock.time()
        if self.oddity == "just-started":
            return dict.fromkeys(("wattHoursToday", "wattHoursSevenDays", "wattHoursLifetime", "wattsNow"), 0)
        other_wh = OTHER_LIFETIME_WH if self.oddity == "source-change" else 0
        return {
            "wattHoursToday": round(self.home.energy(now - now % 86400, now).solar_wh),
            "wattHoursSevenDays": round(self.home.energy(now - 7 * 86400, now).solar_wh),
            "wattHoursLifetime": round(self.home.lifetime(now).solar_wh) + other_wh,
            "wattsNow": round(self._power().solar_w),
        }

    def _inverters(self) -> object:
        if self.oddity == "just-started":
            return []
        return [
            {
                "serialNumber": f"1223000001{index:02}",
                "lastReportDate": self._reported_at(),
                "devType": 1,
                "lastReportWatts": watts,
                "maxReportWatts": 550,
            }
            for index, watts in enumerate(self._inverter_watts())
        ]

    def _device_data(self) -> object:
        if self.oddity == "just-started":
            return {"deviceCount": 0, "deviceDataLimit": 50}
        total_wh = self.home.lifetime(self._reported_at()).solar_wh * (1 - self._others_share())
        table: dict[str, object] = {
            str(553648384 + 256 * index): self._pcu(index, watts, total_wh * SHARES[index] / len(SHARES))
            for index, watts in enumerate(self._inverter_watts())
        }
        return table | {"deviceCount": len(SHARES), "deviceDataLimit": 50}

    def _pcu(self, index: int, watts: int, lifetime_wh: float) -> dict[str, object]:
        channel = {
            "watts": {"now": watts, "nowUsed": 0, "max": 550},
            "lastReading": {"endDate": self._reported_at(), "duration": 900, "joulesProduced": watts * 900},
            "lifetime": {"joulesProduced": round(lifetime_wh * 3600), "duration": 1_000_000},
        }
        serial = f"1223000001{index:02}"
        return {"devName": "pcu", "sn": serial, "active": True, "modGone": watts == 0, "channels": [channel]}

    def _ensemble(self) -> object:
        devices = [
            {
                "part_num": "830-01760-r37",
                "serial_num": serial,
                "last_rpt_date": self._reported_at(),
                "communicating": True,
                "percentFull": round(self._power().soc_percent),
                "dc_switch_off": False,
                "encharge_capacity": BATTERY_WH,
            }
            for serial in BATTERIES
        ]
        if self.oddity == "battery-silent":
            devices[0] |= {"communicating": False, "last_rpt_date": self._reported_at() - 6 * 3600}
        groups = [{"type": "ENCHARGE", "devices": devices}]
        if self.oddity in ("off-grid", "generator"):
            groups.append({"type": "ENPOWER", "devices": [self._controller()]})
        return groups

    def _controller(self) -> dict[str, object]:
        return {
            "part_num": "861-01381-r05",
            "serial_num": "202400000042",
            "last_rpt_date": self._reported_at(),
            "communicating": True,
            "mains_admin_state": "closed",
            "mains_oper_state": "open",
            "Enpwr_grid_mode": "multimode-offgrid",
        }

    def _generator(self) -> object:
        state = "closed" if self.oddity == "generator" else "open"
        return {"admin_state": state, "oper_state": state, "present": 1, "type": 1}

    def _battery_power(self) -> object:
        half_mw = round(self._power().battery_w * 500)
        soc = round(self._power().soc_percent)
        return {"devices:": [{"serial_num": serial, "real_power_mw": half_mw, "soc": soc} for serial in BATTERIES]}

    def _ensemble_state(self) -> object:
        soc = round(self._power().soc_percent)
        return {"agg_soc": soc, "ENC_agg_soc": soc, "Enc_max_available_capacity": BATTERY_WH * 2}

    def _segments(self) -> object:
        """Answers as a metered box: the CTs' values, with total consumption from production and net alone."""
        if self.oddity == "just-started":
            none = {"type": "inverters", "activeCount": 0, "readingTime": 0, "wNow": 0, "whLifetime": 0}
            return {"production": [none], "consumption": [], "storage": []}
        power, total = self._power(), self.home.lifetime(self.clock.time())
        net_wh = total.import_wh - total.export_wh
        eim = {"type": "eim", "activeCount": 1, "readingTime": int(self.clock.time())}
        consumed = {"wNow": power.solar_w + power.grid_w, "whLifetime": total.solar_wh + net_wh}
        return {
            "production": [
                {"type": "inverters", "activeCount": len(SHARES), "wNow": power.solar_w, "whLifetime": total.solar_wh},
                eim | {"measurementType": "production", "wNow": power.solar_w, "whLifetime": total.solar_wh},
            ],
            "consumption": [
                eim | {"measurementType": "total-consumption"} | consumed,
                eim | {"measurementType": "net-consumption", "wNow": power.grid_w, "whLifetime": net_wh},
            ],
            "storage": [{"type": "acb", "activeCount": 0, "readingTime": 0, "wNow": 0, "whNow": 0, "state": "idle"}],
        }

    def _inventory(self) -> object:
        serials = [f"1223000001{index:02}" for index in range(len(SHARES))]
        return [{"type": "PCU", "devices": [{"part_num": "800-01736-r02", "serial_num": one} for one in serials]}]

    def _power(self) -> Power:
        return self.home.power(self.clock.time())

    def _reported_at(self) -> int:
        """Inverters report every 15 minutes on this firmware."""
        return int(self.clock.time()) // 900 * 900

    def _inverter_watts(self) -> list[int]:
        solar_w = self.home.power(self._reported_at()).solar_w * (1 - self._others_share())
        return [round(solar_w * share / len(SHARES)) for share in SHARES]


def simulator(serial: str = SERIAL) -> Simulator:
    clock = SimulatedClock()
    app = SimulatedGateway(clock)
    app.serial = serial
    return Simulator(
        vendor="iqgateway",
        stands_in_for=(ADDRESS,),
        app=app,
        clock=clock,
        home={f"iqgw:{serial}": app.truth},
        owner_form={"host": ADDRESS, "token": app.mint()},
        tls=True,
        has_history=False,
        impostor=lambda: simulator(ANOTHER),  # with another certificate, too
        notes=(f"an IQ Gateway with 12 microinverters and two batteries, at {ADDRESS} for whoever asks through it",),
    )
