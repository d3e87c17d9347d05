"""How far the owners of a flow came, as bars that grow shorter, and why the others were lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from joinder_tui import texts

if TYPE_CHECKING:
    from joinder.services.admin.join_funnel import Funnel

WIDTH = 12  # of the longest bar
ACTORS = {"operator": ("■ you", "red"), "owner": ("▲ the owner", "magenta"), "vendor": ("○ the vendor", "blue")}


def drawn(funnel: Funnel | None) -> Text:
    """Draws started → consented → connected, then how many left, and each reason with who can end it."""
    if funnel is None:
        return Text("Nobody has opened the link of this flow yet: c copies it.", "dim")
    text = _stage("started", funnel.started, funnel.started)
    text.append("→ ").append_text(_stage("consented", funnel.consented, funnel.started))
    text.append("→ ").append_text(_stage("connected", funnel.connected, funnel.started))
    if waiting := funnel.consented - funnel.connected:
        text.append(f" ○ {texts.count(waiting)} not approved yet", "blue")
    if funnel.under_way:
        text.append(f" ◐ {funnel.under_way} under way", "yellow")
    return text.append("\n").append_text(_lost(funnel))


def _stage(name: str, count: int, most: int) -> Text:
    full = max(round(count / most * WIDTH), 1 if count else 0)
    return Text.assemble(f"{name} ", ("█" * full, "green"), f" {texts.count(count)} ")


def _lost(funnel: Funnel) -> Text:
    from joinder.services.admin.join_funnel import actor_of
    from joinder.services.join.join_ends import words_of

    lost = [Text(f"{funnel.left} left before the end")] if funnel.left else []
    for code, count in funnel.refused.items():
        sign, colour = ACTORS.get(actor_of(code), ("", ""))
        lost.append(Text.assemble(f"{texts.count(count)} {words_of(code)} ", (sign, colour)))
    return Text.assemble("lost: ", Text(" · ").join(lost)) if lost else Text("nobody was lost", "dim")
