"""What runs now, with its seconds: a vendor may take a minute, and the keys go on working."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from joinder_tui.widgets.plain import Static, line

if TYPE_CHECKING:
    from joinder_tui.app import JoinderApp


@dataclass(frozen=True)
class Deed:
    """One call of a service under way."""

    what: str
    begun: float = field(default_factory=time.monotonic)


class Doing(Static):
    """Hidden while nothing runs."""

    def on_mount(self) -> None:
        self.display = False
        self.set_interval(0.25, self._draw)

    def _draw(self) -> None:
        deeds = cast("JoinderApp", self.app).deeds.values()
        self.display = bool(deeds)
        if deeds:
            told = [f"⟳ {deed.what} … {time.monotonic() - deed.begun:.0f} s" for deed in deeds]
            self.update(line("   ".join([*told, "(ctrl+x stops waiting)"])))
