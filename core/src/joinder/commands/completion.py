from __future__ import annotations

import rich_click as click

from joinder.commands.running import echo


@click.command(name="completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def command(shell: str) -> None:
    """Print the script that lets a shell complete `joinder`. Example:  joinder completion bash >> ~/.bashrc

    zsh: >> ~/.zshrc; fish: > ~/.config/fish/completions/joinder.fish. Completing opens no database.
    """
    from click.shell_completion import get_completion_class

    from joinder.cli import group

    completion = get_completion_class(shell)
    if completion is None:
        raise LookupError(shell)
    echo(completion(group, {}, "joinder", "_JOINDER_COMPLETE").source())
