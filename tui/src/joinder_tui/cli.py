"""`joinder tui`, also as `joinder-tui`."""

from __future__ import annotations

import rich_click as click


@click.command(name="tui")
@click.option("--readonly", is_flag=True, help="Look only: every key that changes something is off.")
@click.option("--theme", help="light, dark, high-contrast, ansi, or one of Textual's such as nord.")
@click.option("--serve", is_flag=True, help="Show it in a browser on this machine, at http://127.0.0.1:PORT.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --serve; anything but loopback is refused.")
@click.option("--port", default=8090, type=click.IntRange(1, 65535), show_default=True, help="With --serve.")
def command(readonly: bool, theme: str | None, serve: bool, host: str, port: int) -> None:
    """Manage flows, credentials and enrollments in the terminal. Example:  joinder tui --readonly

    It works on the same store as the server and needs none running. Press ? for the keys of a screen.
    """
    from joinder.settings import settings_from_env

    settings = settings_from_env()
    if serve:
        from joinder_tui.serving import serve_on

        serve_on(host, port, readonly=readonly, theme=theme)
        return
    from joinder.commands.running import fail
    from joinder_tui.app import JoinderApp, opening

    app = JoinderApp(opening(settings), readonly=readonly)
    if theme is not None:
        if theme not in app.available_themes:
            fail(f"No theme is named {theme}. Known: {', '.join(sorted(app.available_themes))}", 2)
        app.theme = theme
    if not is_a_terminal():
        fail(
            "This needs a terminal for input and output. joinder status, and other commands with --json, need none.", 2
        )
    raise SystemExit(app.run() or app.return_code or 0)


def is_a_terminal() -> bool:
    """Tells whether keys can be read and screens be drawn; a driver of Textual's own, as in a browser, can without."""
    import os
    import sys

    return "TEXTUAL_DRIVER" in os.environ or (sys.stdin.isatty() and sys.stdout.isatty())


def main() -> None:
    from joinder.cli import refusing_configuration
    from joinder.start import run

    run(lambda: refusing_configuration(lambda: command(prog_name="joinder-tui")))


if __name__ == "__main__":
    main()
