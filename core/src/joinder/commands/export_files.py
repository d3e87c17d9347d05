"""Files an export writes: it goes on after a cut, behind the last site that is whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from joinder.clean import clean_cell
from joinder.small_files import naming, put
from joinder.wire.export import COLUMNS, ENERGIES, NAMES, Cell

FLUSH_BYTES = 1 << 20
FOLDERS, LINES, TABLES = (".parquet",), (".jsonl", ".ndjson"), (".csv",)  # what a name ends with
PART_ROWS = 100_000  # of one Parquet file, held in memory until it is full
Rows = Sequence[tuple[Cell, ...]]


class Progress(Struct):
    """What is written whole: up to which site, and how much. `asked` tells one export from another."""

    asked: str
    after: str = ""
    sites: int = 0
    rows: int = 0
    size: int = 0  # bytes of a file, or files of a folder


class Sink(Protocol):
    """Takes rows; `keep` writes down that everything up to a site is there."""

    progress: Progress

    def add(self, rows: Rows) -> None: ...
    def keep(self, site_id: str) -> None: ...
    def close(self) -> None: ...


class LinesFile:
    """CSV or JSON lines, appended to one file; what a cut left half is cut off."""

    def __init__(self, path: Path, progress: Progress, encode: Callable[[Rows], bytes], head: bytes) -> None:
        self._path, self.progress, self._encode = path, progress, encode
        write_progress(path, progress)  # first: what lies there without it is not this export's
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(progress.size)
        self._file.seek(progress.size)
        self._waiting = [] if progress.size else [head]
        self._of_site: list[bytes] = []
        self._rows_of_site = 0

    def add(self, rows: Rows) -> None:
        self._of_site.append(self._encode(rows))
        self._rows_of_site += len(rows)

    def keep(self, site_id: str) -> None:
        self._waiting += self._of_site
        self._of_site.clear()
        self.progress.rows += self._rows_of_site
        self._rows_of_site = 0
        self.progress.after, self.progress.sites = site_id, self.progress.sites + 1
        if sum(map(len, self._waiting)) >= FLUSH_BYTES:
            self._flush()

    def close(self) -> None:
        with naming(self._path), closing(self._file):
            self._flush()

    def _flush(self) -> None:
        with naming(self._path):
            self._file.write(b"".join(self._waiting))
            self._file.flush()
        self._waiting.clear()
        self.progress.size = self._file.tell()
        write_progress(self._path, self.progress)


class ParquetFolder:
    """Parts of a folder, each written under another name first; `pyarrow` is an extra."""

    def __init__(self, path: Path, progress: Progress) -> None:
        import pyarrow

        self._path, self.progress = path, progress
        write_progress(path, progress)
        path.mkdir(exist_ok=True)
        names = [(name, pyarrow.float64() if name in ENERGIES else pyarrow.string()) for name in COLUMNS]
        self._schema = pyarrow.schema(names)
        self._rows: list[tuple[Cell, ...]] = []
        self._of_site: list[tuple[Cell, ...]] = []

    def add(self, rows: Rows) -> None:
        self._of_site += rows

    def keep(self, site_id: str) -> None:
        self._rows += self._of_site
        self._of_site.clear()
        self.progress.after, self.progress.sites = site_id, self.progress.sites + 1
        if len(self._rows) >= PART_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()

    def _flush(self) -> None:
        import pyarrow
        from pyarrow import parquet

        if not self._rows:
            return
        cells = zip(*self._rows, strict=True)
        columns = [pyarrow.array(column, kind.type) for column, kind in zip(cells, self._schema, strict=True)]
        part = self._path / f"part-{self.progress.size:05}.parquet"
        half = part.with_suffix(".half")
        with naming(half):
            parquet.write_table(pyarrow.table(columns, schema=self._schema), half, compression="zstd")
        half.replace(part)
        self.progress.rows += len(self._rows)
        self.progress.size += 1
        self._rows.clear()
        write_progress(self._path, self.progress)


def open_sink(path: Path, progress: Progress) -> Sink:
    """Opens what the name asks for: `.parquet` a folder of parts, `.jsonl` JSON lines, `.csv`."""
    if path.suffix.lower() in FOLDERS:
        return ParquetFolder(path, progress)
    if path.suffix.lower() in LINES:
        return LinesFile(path, progress, _json_lines, b"")
    return LinesFile(path, progress, _csv, _csv([COLUMNS]))


def progress_of(path: Path, asked: str) -> Progress | None:
    """Reads how far an earlier run of the same export came; None where something else lies there."""
    notes = _notes(path)
    if not notes.exists():
        return None if path.exists() else Progress(asked)
    found = msgspec.json.decode(notes.read_bytes(), type=Progress)
    return found if found.asked == asked else None


def write_progress(path: Path, progress: Progress) -> None:
    with naming(_notes(path)):
        put(_notes(path), msgspec.json.encode(progress).decode())


def forget_progress(path: Path) -> None:
    _notes(path).unlink(missing_ok=True)


def _notes(path: Path) -> Path:
    return path.with_name(f"{path.name}.progress")


def _csv(rows: Rows) -> bytes:
    out = io.StringIO()
    named = len(NAMES)
    cleaned = ((*map(_cleaned, row[:named]), *row[named:]) for row in rows)
    csv.writer(out, lineterminator="\r\n").writerows(cleaned)
    return out.getvalue().encode()


def _json_lines(rows: Rows) -> bytes:
    return b"".join(msgspec.json.encode(_known(row)) + b"\n" for row in rows)


def _known(row: tuple[Cell, ...]) -> dict[str, Any]:
    return {name: value for name, value in zip(COLUMNS, row, strict=True) if value is not None}


@lru_cache(maxsize=1024)  # thousands of rows in a row are of one site
def _cleaned(cell: Cell) -> Cell:
    """Cleans what others named: a spreadsheet that opens the file must take none of it for a formula."""
    return clean_cell(cell) if isinstance(cell, str) else cell
