"""S27: JOINDER_PLUGINS may name the very files of a plugin; another file, version or hash stops the start."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.metadata import Distribution, entry_points
from pathlib import Path

import pytest

from joinder.plugin_pins import NoContent, content_of
from joinder.plugins import judged, loadable, pins
from joinder.settings import ConfigError, settings_from_env

MODULE = "joinder_acme_pinned.py"
INFO = "joinder_acme_pinned-1.2.dist-info"
NAME = "joinder-acme-pinned"
GROUP = "joinder.vendors"
CODE = "raise AssertionError('it was imported')\n"


def row(site: Path, path: str) -> str:
    digest = hashlib.sha256((site / path).read_bytes()).digest()
    return f"{path},sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()},{(site / path).stat().st_size}"


def installed(site: Path, *, installer: str = "pip") -> Distribution:
    """A distribution as an installer leaves it."""
    info = site / INFO
    info.mkdir(parents=True)
    (site / MODULE).write_text(CODE)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[joinder.vendors]\npinned = {MODULE[:-3]}\n")
    (info / "INSTALLER").write_text(installer)
    rows = [row(site, path) for path in (MODULE, f"{INFO}/METADATA", f"{INFO}/entry_points.txt", f"{INFO}/INSTALLER")]
    rows += [f"__pycache__/{MODULE[:-3]}.cpython-311.pyc,,", f"../../../bin/{installer},sha256=x,1", f"{INFO}/RECORD,,"]
    (info / "RECORD").write_text("\n".join(rows) + "\n")
    return Distribution.at(info)


def test_whoever_installed_it_and_where_it_is_the_same_content(tmp_path: Path) -> None:
    first = content_of(installed(tmp_path / "a"))
    second = content_of(installed(tmp_path / "b", installer="uv"))
    assert first == second
    assert first.startswith("sha256:")
    assert len(first) == 7 + 64


def test_another_file_that_is_listed_as_it_is_is_another_content(tmp_path: Path) -> None:
    found = installed(tmp_path)
    before = content_of(found)
    listed = row(tmp_path, MODULE)
    (tmp_path / MODULE).write_text(CODE + "# more\n")
    record = tmp_path / INFO / "RECORD"
    record.write_text(record.read_text().replace(listed, row(tmp_path, MODULE)))
    assert content_of(found) != before


def _change(site: Path) -> None:
    (site / MODULE).write_text(CODE * 2)


def _delete(site: Path) -> None:
    (site / MODULE).unlink()


def _unlist(site: Path) -> None:
    record = site / INFO / "RECORD"
    record.write_text("".join(line for line in record.read_text().splitlines(keepends=True) if MODULE not in line))


def _unhash(site: Path) -> None:
    record = site / INFO / "RECORD"
    record.write_text(record.read_text().replace(row(site, MODULE), f"{MODULE},,"))


def _unknown_hash(site: Path) -> None:
    record = site / INFO / "RECORD"
    record.write_text(record.read_text().replace(f"{MODULE},sha256", f"{MODULE},crc32"))


def _editable(site: Path) -> None:
    (site / INFO / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {"editable": True}}))


UNFIT = {
    "a changed file": (_change, "is not as its RECORD lists it"),
    "a file that is gone": (_delete, "cannot be compared with its RECORD"),
    "a module that is not listed": (_unlist, "lists no module"),
    "a file without a hash": (_unhash, "has no hash of"),
    "a hash nobody knows": (_unknown_hash, "cannot be compared with its RECORD"),
    "an editable one": (_editable, "an editable install"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_is_not_as_it_is_listed_has_no_content(tmp_path: Path, name: str) -> None:
    spoil, words = UNFIT[name]
    found = installed(tmp_path)
    spoil(tmp_path)
    with pytest.raises(NoContent, match=words):
        content_of(found)


def test_a_pinned_plugin_is_loaded_until_a_file_of_it_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = content_of(installed(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    pinned = f"{NAME}==1.2 {content}"
    assert (pinned, None) in pins()
    assert set(loadable(GROUP, (pinned,))) == {"pinned", "virtual"}
    with pytest.raises(ConfigError, match=r"wants joinder-acme-pinned==1.3, not 1.2"):
        loadable(GROUP, (f"{NAME}==1.3 {content}",))
    with pytest.raises(ConfigError, match=f"wants {NAME} with sha256:000.*, not {content}"):
        loadable(GROUP, (f"{NAME} sha256:{'0' * 64}",))
    _change(tmp_path)
    wanted = f"JOINDER_PLUGINS wants {NAME} with {content}, but {MODULE} is not as its RECORD lists it"
    with pytest.raises(ConfigError, match=wanted):
        loadable(GROUP, (pinned,))
    refused = {one.entry.name: str(one.refusal) for one in judged(entry_points(group=GROUP), (pinned,))}
    assert wanted in refused["pinned"]
    assert (
        dict(pins())[f"{NAME}==1.2"] == f"{NAME} is named by its version alone: {MODULE} is not as its RECORD lists it."
    )


WRONG = ("a sha256:", "a sha256:abc", f"a sha256:{'g' * 64}", f"a sha256:{'A' * 64}", f"a sha512:{'a' * 128}")


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="joinder vendors pin"):
        settings_from_env({"JOINDER_PLUGINS": text})


def test_hashes_and_versions_stand_in_one_list() -> None:
    pinned = f"a>=1,<2 sha256:{'0' * 64}"
    assert settings_from_env({"JOINDER_PLUGINS": f"{pinned}, b"}).plugins == (pinned, "b")
