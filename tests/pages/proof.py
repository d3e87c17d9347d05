"""The checks themselves, at a page where each of them must find something: one that finds nothing proves nothing."""

from __future__ import annotations

from playwright.async_api import Browser, Route

from pages.chromium import HERE, NARROW, opened
from pages.lookout import Lookout
from pages.owner import Owner, Stuck

BAD = """<!doctype html><html lang="fr"><head><title>Bad</title><link rel="icon" href="data:,">
<style>
:focus-visible { outline: 2px solid #fdfdfd }
[href="#above"] { position: fixed; top: -90px }
</style></head>
<body><main><h1>Bad</h1><p style="color: #ccc">too pale to be read</p><p style="width: 400px">too wide</p>
<p><a href="#dim">its focus is white on white</a></p><p><a href="#above">out of the window</a></p>
<p><a href="#mouse" tabindex="-1">for a mouse alone</a></p>
<img src="http://elsewhere.example/" alt="somebody else's"></main></body></html>"""
MUST_FIND = {
    "axe": "axe, light: color-contrast",
    "another theme": "axe, dark: color-contrast",
    "its width": "px wide in a window of 320",
    "its language": "speaks fr",
    "what it asks elsewhere": "asks http://elsewhere.example",
    "its console": "on the console: ",
    "a focus that nobody sees": "nobody sees the focus on a “its focus is white on white”",
    "a focus out of the window": "a “out of the window” has the focus out of the window",
    "what no key reaches": "Tab never came to what is for a mouse",
}


async def missed(browser: Browser) -> list[str]:
    """Returns the checks that found nothing there."""
    async with opened(browser, java_script_enabled=False, viewport=NARROW) as context:
        lookout, page = Lookout(context), await context.new_page()
        owner = Owner(page, lookout)
        await page.route(f"http://{HERE}:9/", _bad)
        await owner.opens(f"http://{HERE}:9/")
        await lookout.judge(page, "bad", "en", ("dark", "light"))
        try:
            await owner.goes_to("what is for a mouse", lambda focus: focus.text == "for a mouse alone")
        except Stuck as stuck:
            lookout.wrong(str(stuck))
    found = lookout.faults
    return [check for check, words in MUST_FIND.items() if not any(words in fault for fault in found)]


async def _bad(route: Route) -> None:
    await route.fulfill(body=BAD, content_type="text/html")
