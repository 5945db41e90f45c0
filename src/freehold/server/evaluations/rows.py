"""The rows of a run: from the request itself or from a file, checked before the first is asked.

Room: server. Must not know how they are asked or graded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from freehold.errors import BadRequest

if TYPE_CHECKING:
    from freehold.server.context import House

__all__ = ["Rows", "rows_of"]

_MOST_ROWS = 100_000
_MOST_BYTES = 256 << 20
_MOST_LINE_BYTES = 4 << 20
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


@dataclass(frozen=True)
class Rows:
    """Items with the samples that came along, and the digest of the bytes they came in."""

    items: tuple[dict[str, Any], ...]
    samples: tuple[dict[str, Any] | None, ...]
    digest: str
    name: str


def rows_of(
    source: Mapping[str, Any], schema: Mapping[str, Any], *, house: House, owner: str
) -> Rows:
    """The rows of a data source. Raises: BadRequest with the row's number; NotFound."""
    digest = hashlib.sha256()
    if source["type"] == "file_id":
        name = source["id"]
        found = _from_file(house, name, owner, digest.update)
    else:
        name = "file_content"
        found = source["content"]
        digest.update(json.dumps(found, sort_keys=True).encode())
    items, samples = [], []
    for number, row in enumerate(found, start=1):
        if number > _MOST_ROWS:
            raise BadRequest("there are too many rows", expected=f"at most {_MOST_ROWS}")
        item, sample = row.get("item"), row.get("sample")
        if not isinstance(item, dict) or not isinstance(sample, dict | None):
            raise BadRequest(
                f"row {number} is not an item",
                param="data_source.source",
                expected='{"item": {...}}, and "sample": {...} if it has one',
            )
        _check(item, schema, number)
        items.append(item)
        samples.append(sample)
    if not items:
        raise BadRequest("there are no rows", param="data_source.source", expected="at least one")
    return Rows(tuple(items), tuple(samples), f"sha256:{digest.hexdigest()}", name)


def _from_file(house: House, file_id: str, owner: str, hashed: Any) -> Iterable[dict[str, Any]]:
    read = 0
    with house.store.files.open(file_id, owner=owner) as file:
        number = 0
        while line := file.readline(_MOST_LINE_BYTES + 1):
            number += 1
            read += len(line)
            if len(line) > _MOST_LINE_BYTES or read > _MOST_BYTES:
                raise BadRequest(
                    f"row {number} or the file is too large",
                    param="data_source.source.id",
                    expected=f"rows of {_MOST_LINE_BYTES} bytes, {_MOST_BYTES} in all",
                )
            hashed(line)
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadRequest(
                    f"line {number} of the file is not JSON", param="data_source.source.id"
                ) from error
            if not isinstance(row, dict):
                raise BadRequest(
                    f"line {number} of the file is no object", param="data_source.source.id"
                )
            yield row


def _check(item: Mapping[str, Any], schema: Mapping[str, Any], number: int) -> None:
    """The fields that the evaluation's schema requires, and the types of those at the top."""
    required = schema.get("required", ())
    missing = [name for name in required if isinstance(name, str) and name not in item]
    properties = schema.get("properties", {})
    wrong = [
        name
        for name, said in (properties.items() if isinstance(properties, dict) else ())
        if name in item and isinstance(said, dict) and not _fits(item[name], said.get("type"))
    ]
    if missing or wrong:
        raise BadRequest(
            f"row {number} is not as the evaluation's item_schema says",
            param="data_source.source",
            expected="every required field, each of its type",
            found=f"{(missing or wrong)[0][:100]} {'missing' if missing else 'of another type'}",
        )


def _fits(value: object, said: object) -> bool:
    names = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    kinds = [_TYPES[name] for name in names if name in _TYPES]
    if not kinds:
        return True
    if isinstance(value, bool):
        return (bool,) in kinds
    return any(isinstance(value, kind) for kind in kinds)
