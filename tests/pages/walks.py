"""Each vendor's path, walked by keyboard with scripts off at 320 px: from the link to the receipt of its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from playwright.async_api import Browser
from playwright.async_api import Error as PlaywrightError

from joinder.api.pages.catalogue import languages
from joinder.demo.sequence import offered
from joinder.demo.stack import Running
from joinder.plurals import counted
from joinder.simulate import Simulator
from pages.chromium import NARROW, opened
from pages.lookout import Lookout, Seen, in_other_languages
from pages.owner import Owner, Stuck, Wanted
from pages.vendors import ACCOUNT, WRITTEN, enrollments

LANGUAGES = {"en": ("dark", "light"), "de": ("light", "dark")}  # the last is the theme that is walked in
LANDS = ("joined", "sites_later", "pending_approval")
FAILS = ("consent_unusable", "code_refused")  # of an account without a site
WITHOUT_SITES = "no-sites"


async def walked(running: Running, browser: Browser) -> AsyncIterator[Seen]:
    """Walks every path in every language, one after the other."""
    for simulator in running.simulators:
        flow_id = await offered(running.api, simulator)
        link = f"{running.url}/join/flows/{flow_id}/authorize"
        for language in LANGUAGES:
            async with opened(browser, java_script_enabled=False, viewport=NARROW, locale=language) as context:
                owner = Owner(await context.new_page(), Lookout(context))
                walk = Walk(running, simulator, owner, language)
                await walk.whole(link)
                yield owner.lookout.seen(simulator.vendor, language, keys=owner.keys, landing=walk.landing)


class Walk:
    """One owner at one vendor, in one language; `landing` is how that ended, in a word of docs/errors.md."""

    def __init__(self, running: Running, simulator: Simulator, owner: Owner, language: str) -> None:
        self._running, self._simulator, self._owner = running, simulator, owner
        self._page, self._lookout = owner.page, owner.lookout
        self._language, self._says, self._themes = language, languages()[language], LANGUAGES[language]
        self._vendor = running.hub.registry.vendor(simulator.vendor)
        self.landing = ""

    async def whole(self, link: str) -> None:
        """Goes as far as it gets; what stops it is a fault."""
        try:
            await self._owner.opens(link)
            await (self._by_form() if self._simulator.owner_form else self._by_vendor())
            await self._lands()
            await self._ends()
        except (Stuck, PlaywrightError) as stopped:
            self._lookout.wrong(str(stopped).partition("\n")[0])

    async def _by_vendor(self) -> None:
        """Consents with an account without a site first, where the vendor has one, then begins again."""
        if (empty := self._simulator.owners.get(WITHOUT_SITES)) is not None:
            await self._consents(empty.answers)
            await self._looks("landing, no site", *(self._title_of(code) for code in FAILS))
            await self._owner.follows("the beginning", reads(self._label_of("start_again")))
        await self._consents(self._simulator.owner_choice)

    async def _consents(self, choice: Mapping[str, str]) -> None:
        """Goes from the page before to the vendor's, and chooses who consents there: an owner of the simulator."""
        await self._looks("intro", self._label_of("intro_title"))
        await self._owner.follows("the way to the vendor", reads(self._label_of("intro_go")))
        await self._lookout.judge(self._page, "consent", "en", self._themes)  # which knows one language
        ((name, value),) = choice.items()
        await self._owner.follows("the owner", lambda focus: (focus.name, focus.value) == (name, value))

    async def _by_form(self) -> None:
        """Sends it empty, then with the last entry wrong, then right."""
        asked = [field.name for field in self._vendor.consent_fields if field.name in self._simulator.owner_form]
        right = {name: self._simulator.owner_form[name] for name in asked}
        await self._looks("form", self._label_of("form_title"))
        await self._sends({})
        await self._is_told_what_is_wrong("form, empty")
        await self._owner.goes_to("the first problem", lambda focus: focus.tag == "a")
        await self._owner.presses("Enter")
        await self._sends({**right, asked[-1]: f"{right[asked[-1]]}x"})
        await self._is_told_what_is_wrong("form, wrong")
        await self._sends(right)

    async def _sends(self, entries: Mapping[str, str]) -> None:
        for name, text in entries.items():
            await self._owner.enters(name, text)
        await self._owner.follows("the button", lambda focus: focus.value == "connect")

    async def _is_told_what_is_wrong(self, where: str) -> None:
        await self._looks(where, self._label_of("form_title"))
        focus = await self._owner.focus()
        if focus is None or focus.id != "problem":
            self._lookout.wrong("the focus is not on the problem")

    async def _lands(self) -> None:
        titles = {self._title_of(code): code for code in reversed(LANDS)}
        self.landing = titles[await self._looks("landing", *titles)]
        await self._has_enrollments(1)

    async def _ends(self) -> None:
        """Withdraws by the signed link of the landing."""
        await self._owner.follows("the owner's own page", reads(self._label_of("own_link")))
        await self._looks("connection", self._label_of("own_title"))
        await self._owner.follows("the end", reads(self._label_of("own_end")))
        await self._looks("end", self._label_of("end_title"))
        await self._owner.follows("the end itself", reads(self._label_of("end_go")))
        await self._looks("receipt", self._label_of("receipt_ended"))
        await self._has_enrollments(0)

    async def _looks(self, where: str, *headings: str) -> str:
        """Judges one of our own pages, and returns its heading. Raises Stuck where it is another than it should be."""
        await self._lookout.judge(self._page, where, self._language, self._themes)
        heading = await self._page.inner_text("h1")
        if heading not in headings:
            raise Stuck(f"“{heading}”, where {' or '.join(headings)} should be")
        if self._simulator.vendor not in WRITTEN:
            for sentence in await in_other_languages(self._page, self._language):
                self._lookout.wrong(f"not in {self._language}: {sentence}")
        return heading

    async def _has_enrollments(self, count: int) -> None:
        if len(found := await enrollments(self._running)) != count:
            self._lookout.wrong(f"{counted(len(found), 'enrollment')}, where there should be {count}")

    def _title_of(self, code: str) -> str:
        return self._says.pages[code].title.format(vendor=self._vendor.label)

    def _label_of(self, name: str) -> str:
        return self._says.labels[name].format(vendor=self._vendor.label, account=ACCOUNT)


def reads(text: str) -> Wanted:
    return lambda focus: focus.text == text
