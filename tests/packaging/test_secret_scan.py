"""S28: no secret is committed, and one that ever was is found, also where it was deleted again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import secret_scan
from security import ROOT

SECRET = "whsec_" + "Zk3fQ9xT1bLw7RmCv" + "Y5pH2sNdE8gUaJ4"  # in two: the scan reads this file too
CONFIGURED = f'webhook = "{SECRET}"\n'


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    committed(tmp_path, "prose.md", "Nothing to see here.\n")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def committed(folder: Path, name: str, text: str | None) -> None:
    """Writes the file, or deletes it, and commits that."""
    path = folder / name
    path.unlink() if text is None else path.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "x")


def test_the_tree_holds_none_but_made_up_ones() -> None:
    found = {one.digest: f"{one.path}:{one.line}" for one in secret_scan.in_tree(ROOT)}
    assert {found[digest] for digest in found.keys() - secret_scan.known()} == set()


def test_one_that_was_deleted_is_found_in_history(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert secret_scan.main(repository) == 0
    committed(repository, "settings.toml", CONFIGURED)
    committed(repository, "settings.toml", CONFIGURED + "# twice\n")
    committed(repository, "settings.toml", None)
    assert list(secret_scan.in_tree(repository)) == []
    (found,) = secret_scan.in_history(repository)
    assert (str(found.path)[:13], found.what) == ("settings.toml", "a random text")
    assert secret_scan.main(repository) == 1
    said = capsys.readouterr().out
    assert "history: settings.toml" in said
    assert SECRET[:20] not in said


def test_one_on_a_branch_that_nobody_merged_is_found(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "aside")
    committed(repository, "key.pem", "-----BEGIN PRIVATE" + " KEY-----\n")
    git(repository, "checkout", "--quiet", "-")
    assert [one.what for one in secret_scan.in_history(repository)] == ["a private key"]


def test_one_that_is_not_committed_yet_is_found_unless_git_ignores_it(repository: Path) -> None:
    (repository / "a file.env").write_text(CONFIGURED)
    assert [str(one.path) for one in secret_scan.in_tree(repository)] == ["a file.env"]
    committed(repository, ".gitignore", "*.env\n")
    assert list(secret_scan.in_tree(repository)) == []


def test_a_made_up_one_is_known_by_its_hash(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    committed(repository, "settings.toml", CONFIGURED)
    (found,) = secret_scan.in_tree(repository)
    listed = repository.parent / "known.txt"
    listed.write_text(f"# made up\n{found.digest}  # planted\n")
    monkeypatch.setattr(secret_scan, "KNOWN", listed)
    assert secret_scan.main(repository) == 0
    committed(repository, "other.toml", CONFIGURED.replace("Zk3fQ9", "Zk3fQ8"))
    assert secret_scan.main(repository) == 1


def test_what_is_no_text_or_a_link_is_passed_over(repository: Path) -> None:
    (repository / "picture.png").write_bytes(b"\0" + CONFIGURED.encode())
    (repository / "link").symlink_to("nowhere")
    committed(repository, "other.md", "Fine.\n")
    assert [*secret_scan.in_tree(repository), *secret_scan.in_history(repository)] == []
