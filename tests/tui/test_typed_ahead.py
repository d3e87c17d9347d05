"""Who types faster than screens come types into the screen that was meant: no letter of a name is an act of a list."""

from __future__ import annotations

import pytest
from joinder_tui.screens.enrollments import Enrollments
from joinder_tui.screens.events import Events
from joinder_tui.screens.flow_form import FlowForm
from joinder_tui.screens.flows import Flows
from joinder_tui.screens.help import Help
from textual import events
from textual.screen import Screen
from textual.widgets import Input

from joinder.runtime.hub import Hub
from joinder.services.admin import audits
from services.conftest import Enroll
from tui.terminal import OpenTerminal, Terminal

NAMES = {"/": "slash", "?": "question_mark"}


def type_at_once(terminal: Terminal, *keys: str) -> None:
    """Keys stand in the queue before the first of them is looked at."""
    for key in keys:
        terminal.app.post_message(events.Key(NAMES.get(key, key), key if len(key) == 1 else None))


@pytest.mark.parametrize(("digit", "page"), [("2", Enrollments), ("7", Events)])
@pytest.mark.parametrize("begins_at", ["1", "2", "7", "8"])
async def test_a_name_that_is_typed_ahead_stands_in_the_filter_and_does_nothing(
    hub: Hub, enroll: Enroll, open_terminal: OpenTerminal, digit: str, page: type[Screen[None]], begins_at: str
) -> None:
    await enroll("ada")
    before = await audits.latest(hub, limit=99)
    async with open_terminal() as terminal:
        await terminal.press(begins_at)
        type_at_once(terminal, digit, "/", *"puller")
        await terminal.until(lambda: [box.value for box in terminal.app.screen.query(Input)] == ["puller"])
        await terminal.settled()
        assert isinstance(terminal.app.screen, page)
        assert isinstance(terminal.app.focused, Input)
    assert await audits.latest(hub, limit=99) == before


async def test_every_key_is_for_what_the_one_before_it_led_to(enroll: Enroll, open_terminal: OpenTerminal) -> None:
    await enroll("ada")
    async with open_terminal() as terminal:
        type_at_once(terminal, "3", "a", "escape", "2", "?", "escape", "/", "a", "d", "a", "enter", "3", "?")
        await terminal.until(lambda: [type(screen) for screen in terminal.app.screen_stack[1:]] == [Flows, Help])


async def test_an_answer_is_typed_ahead_of_its_question(hub: Hub, enroll: Enroll, open_terminal: OpenTerminal) -> None:
    enrollment_id = await enroll("ada")
    async with open_terminal() as terminal:
        await terminal.press("2")
        type_at_once(terminal, "p", "y")
        await terminal.until(lambda: "Paused: site-of-ada" in terminal.said())
        type_at_once(terminal, "enter", "/", *"xyzder")
        await terminal.until(lambda: [box.value for box in terminal.app.screen.query(Input)] == ["xyzder"])
    assert {one.action for one in await audits.latest(hub, target=enrollment_id, limit=9)} <= {
        "enrollment.consent",
        "enrollment.pause",
    }


async def test_letters_before_a_form_has_its_fields_do_nothing_and_it_opens(open_terminal: OpenTerminal) -> None:
    async with open_terminal() as terminal:
        type_at_once(terminal, "3", "a", "d", "2", "q")
        await terminal.until(lambda: isinstance(terminal.app.screen, FlowForm))
        await terminal.settled()
        assert isinstance(terminal.app.screen, FlowForm)
