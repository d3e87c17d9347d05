"""What documentation says to type is typed here, word for word, in a folder that `joinder init` has made."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from databases import Databases
from joinder.store.key_file import read_key_file

DATABASES = ("sqlite",)
DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"<!-- run by tests/deploy/test_upkeep\.py -->\n```sh\n(.*?)```", re.DOTALL)


class Hub:
    """A shell in the folder of a hub that has an account, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
        scripts = sysconfig.get_path("scripts")
        self.env = {**kept, "PATH": f"{scripts}:{kept['PATH']}", "JOINDER_BALLAST_MIB": "0", "HOME": str(folder)}

    def types(self, block: str) -> str:
        done = subprocess.run(["sh", "-eu"], input=block, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    made = Hub(tmp_path / "hub")
    made.folder.mkdir()
    made.types('joinder init --account "Acme Energy" --no-input')
    return made


def blocks(page: str) -> list[str]:
    found = BLOCK.findall((DOCS / page).read_text())
    assert found, page
    return found


@pytest.mark.timeout(300)
def test_the_steps_of_upkeep_lead_where_they_say(hub: Hub, tmp_path: Path) -> None:
    backup, drill, restore, upgrade, move = blocks("upkeep.md")
    safe = tmp_path / "safe"
    safe.mkdir()
    hub.types(backup.replace("/somewhere/else", str(safe)))
    assert len(read_key_file(safe / "joinder.key")) == 1
    assert "Acme Energy" in hub.types(drill)
    hub.types('joinder accounts create "Made after the copy"')
    hub.types(restore)
    assert "after the copy" not in hub.types("joinder accounts list")
    hub.types(upgrade)
    assert (hub.folder / "before-upgrade.sqlite3").is_file()
    hub.types(move)
    hub.folder = tmp_path / "new-machine"
    assert "Acme Energy" in hub.types("joinder accounts list")


@pytest.mark.timeout(300)
def test_the_steps_of_upkeep_lead_there_on_postgresql_too(databases: Databases, tmp_path: Path) -> None:
    """As the page says: copies are called .dump, the name to confirm is the database's, a drill has an empty one."""
    url, drilled = databases.empty(), databases.empty()
    hub = Hub(tmp_path / "hub")
    hub.folder.mkdir()
    (hub.folder / "url").write_text(url)
    hub.types('joinder init --account "Acme Energy" --no-input --database-url-file url')

    def on_postgresql(block: str) -> str:
        block = block.replace("--confirm joinder.sqlite3", f"--confirm {urlsplit(url).path.lstrip('/')}")
        block = block.replace("sqlite:///drill/joinder.sqlite3", f"'{drilled}'")
        return re.sub(r"(backups/\*|before-upgrade)\.sqlite3", r"\1.dump", block)

    backup, drill, restore, upgrade, _ = map(on_postgresql, blocks("upkeep.md"))  # the last moves a file
    hub.types(backup.replace("/somewhere/else", str(tmp_path)))
    assert "Acme Energy" in hub.types(drill)
    hub.types('joinder accounts create "Made after the copy"')
    hub.types(restore)
    assert "after the copy" not in hub.types("joinder accounts list")
    hub.types(upgrade)
    assert (hub.folder / "before-upgrade.dump").is_file()


def test_the_steps_of_operate_run(hub: Hub) -> None:
    for block in blocks("operate.md"):
        hub.types(block)
