"""Files that people name are written whole, and nothing else that has the name is replaced by one."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from joinder.small_files import put


def test_what_is_no_file_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe, heard = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()), daemon=True)
    reader.start()
    put(pipe, "told")
    reader.join()
    assert heard == ["told"]
    assert pipe.is_fifo()


def test_a_link_stays_one_and_its_file_is_written(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("before")
    link.symlink_to(file)
    put(link, "after")
    assert link.is_symlink()
    assert file.read_text() == "after"


def test_a_folder_is_refused_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        put(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
