"""The rows of a file, one by one, each with its line: JSONL, CSV and Parquet.

Room: tune. Bytes are a stranger's: every size has a bound. Must not know what a row means.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from freehold.errors import BadDataset, SetupError

__all__ = ["OnBad", "Row", "mapped", "read_rows"]

Row = tuple[int, dict[str, Any]]
OnBad = Callable[[BadDataset], None]

_MOST_LINE_BYTES = 16 << 20
_MOST_COLUMNS = 1024
_MOST_NESTING = 64
_CONSTANT = "="  # before a value that is the same for every row


def read_rows(path: Path, *, on_bad: OnBad | None = None) -> Iterator[Row]:
    """Every row with its line, counted from 1. Parquet has rows only, counted the same.

    `on_bad` is told of lines that are no JSON, and reading goes on; without it they are raised.

    Raises: BadDataset, naming the line; SetupError where Parquet has no reader here; OSError.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic == b"PAR1":
            yield from _parquet_rows(file)
        elif path.suffix.lower() in (".csv", ".tsv"):
            yield from _csv_rows(path, "\t" if path.suffix.lower() == ".tsv" else ",")
        else:
            yield from _json_rows(file, on_bad)


def mapped(row: Row, mapping: Mapping[str, str]) -> Row:
    """The row with the fields that the mapping names, each from a column or a constant.

    Raises: BadDataset for a column that the row lacks.
    """
    line, values = row
    made: dict[str, Any] = {}
    for field, source in mapping.items():
        if source.startswith(_CONSTANT):
            made[field] = source.removeprefix(_CONSTANT)
        elif source in values:
            made[field] = values[source]
        else:
            raise BadDataset(
                f"there is no column {source!r} for {field}",
                line=line,
                value=source,
                expected=f"one of {', '.join(sorted(values)[:20])}",
                found="no such column",
            )
    return line, made


def _json_rows(file: BinaryIO, on_bad: OnBad | None) -> Iterator[Row]:
    number = 0
    while raw := file.readline(_MOST_LINE_BYTES + 1):
        number += 1
        if len(raw) > _MOST_LINE_BYTES:
            raise BadDataset(
                "the line is too long to be one example",
                line=number,
                expected=f"at most {_MOST_LINE_BYTES >> 20} MiB",
                found="more",
            )
        try:
            text = _text(raw, number)
            if text.strip():
                yield number, _object(text, number)
        except BadDataset as error:
            if on_bad is None:
                raise
            on_bad(error)


def _text(raw: bytes, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise BadDataset(
            "the line is no UTF-8",
            line=number,
            value=error.start,
            expected="UTF-8",
            found=f"byte 0x{raw[error.start]:02x} at column {error.start + 1}",
        ) from None


def _object(text: str, number: int) -> dict[str, Any]:
    try:
        # Without its end, so that what is missing there is at this line's last column.
        value = json.loads(text.rstrip(), object_pairs_hook=_once, parse_constant=_no_number)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except _TwiceError as error:
        raise BadDataset(
            "the line has a key twice", line=number, value=error.args[0], expected="each key once"
        ) from None
    except (json.JSONDecodeError, UnicodeEncodeError, ValueError, RecursionError) as error:
        raise BadDataset(
            "the line is no JSON", line=number, expected="one JSON object", found=_why(error)
        ) from None
    if not isinstance(value, dict):
        raise BadDataset(
            "the line is no JSON object",
            line=number,
            expected='one JSON object, such as {"messages": [...]}',
            found=_kind(value),
            hint="one example a line; a file that is one JSON list has to be taken apart",
        )
    return value


class _TwiceError(ValueError):
    """A key that stands twice in an object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise _TwiceError(next(key for key, count in counts.items() if count > 1))
    return made


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    if isinstance(error, UnicodeEncodeError):
        return "half of a character: an unpaired surrogate"
    return "nesting without end" if isinstance(error, RecursionError) else str(error)[:80]


def _kind(value: object) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _csv_rows(path: Path, delimiter: str) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        csv.field_size_limit(_MOST_LINE_BYTES)
        columns: list[str] = []
        line = 1
        try:
            for cells in reader:
                at, line = line, reader.line_num + 1
                if not columns:
                    columns = _columns(cells)
                elif cells:
                    yield at, _cells(columns, cells, at)
        except csv.Error as error:
            raise BadDataset(
                "the row is no CSV", line=line, expected="quotes that end", found=str(error)
            ) from None
        except UnicodeDecodeError as error:
            raise BadDataset(
                "the file is no UTF-8", line=line, expected="UTF-8", found=error.reason
            ) from None


def _columns(cells: list[str]) -> list[str]:
    if len(set(cells)) < len(cells) or len(cells) > _MOST_COLUMNS or not all(cells):
        raise BadDataset(
            "the first row does not name the columns",
            line=1,
            expected=f"at most {_MOST_COLUMNS} names, each once",
            found=f"{len(cells)} cells",
        )
    return cells


def _cells(columns: list[str], cells: list[str], line: int) -> dict[str, Any]:
    if len(cells) != len(columns):
        raise BadDataset(
            "the row has another number of cells than there are columns",
            line=line,
            value=len(cells),
            expected=f"{len(columns)} cells",
            found=f"{len(cells)}",
        )
    return dict(zip(columns, cells, strict=True))


def _parquet_rows(file: BinaryIO) -> Iterator[Row]:
    try:
        import pyarrow as arrow  # noqa: PLC0415 - only Parquet needs it
        from pyarrow import parquet  # noqa: PLC0415
    except ModuleNotFoundError:
        raise SetupError(
            "Parquet files are read with a package that is not installed",
            expected="pyarrow",
            found="no pyarrow",
            hint="pip install 'freehold[tune]'",
        ) from None
    number = 0
    try:
        table = parquet.ParquetFile(file)
        for batch in table.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise BadDataset(
            "the file is no Parquet that can be read",
            line=number + 1,
            expected="a whole Parquet file",
            found=type(error).__name__,
        ) from None
