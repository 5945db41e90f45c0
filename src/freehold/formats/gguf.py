"""Opens GGUF models, whole or split over files, as metadata and lazy tensors.

Room: formats. Must not know families, tokenizers, or what a tensor is for.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING

from freehold.errors import BadValue, DuplicateName
from freehold.formats.block_types import BlockType
from freehold.formats.gguf_cursor import MetadataArray, MetadataValue
from freehold.formats.gguf_header import GgufHeader, TensorPlace, read_header
from freehold.formats.gguf_split import check_shard, check_total, find_shards
from freehold.formats.mapped_file import MappedFile, clip, label

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BlockType", "GgufFile", "GgufTensor", "MetadataArray", "MetadataValue", "open_gguf"]


class GgufTensor:
    """A tensor in a file: what it is, and its bytes when asked for.

    Shapes: `shape` is row-major, (out, in) for a matrix.
    """

    __slots__ = ("_file", "_offset", "n_bytes", "name", "shape", "type")

    def __init__(self, file: MappedFile, place: TensorPlace) -> None:
        self.name = place.name
        self.type = place.type
        self.shape = place.shape
        self.n_bytes = place.n_bytes
        self._file = file
        self._offset = place.offset

    def data(self) -> NDArray[np.uint8]:
        """The stored blocks, one after the other, as a read-only view of the file.

        Shapes: (n_bytes,). Keep the view no longer than the GgufFile is open.
        Raises: ValueError after the file was closed.
        """
        return self._file.view(self._offset, self.n_bytes)

    def release(self, start_bytes: int = 0, end_bytes: int | None = None) -> None:
        """Drop the whole pages inside this part of the tensor from memory; views stay valid."""
        end = self.n_bytes if end_bytes is None else end_bytes
        if not 0 <= start_bytes <= end <= self.n_bytes:
            raise ValueError(f"bytes {start_bytes} to {end} of a tensor of {self.n_bytes}")
        self._file.release(self._offset + start_bytes, self._offset + end)

    def __repr__(self) -> str:
        return f"GgufTensor({self.name!r}, {self.type.name}, {self.shape})"


class GgufFile:
    """An open model: `metadata` of its first file, `tensors` of all of them.

    Use it in a `with`. The files of a split model after the first are opened when `tensors` is
    first asked for, and judged then; that they exist is known from the start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = [MappedFile(path)]
        try:
            self._first: GgufHeader = read_header(self._files[0])
            self.architecture = _architecture(path, self._first.metadata)
            self._shard_paths = find_shards(path, self._first)
            self.size_bytes = sum(shard.stat().st_size for shard in self._shard_paths)
        except BaseException:
            self.close()
            raise
        self.version = self._first.version
        self.metadata: Mapping[str, MetadataValue] = MappingProxyType(self._first.metadata)
        self._tensors: Mapping[str, GgufTensor] | None = None

    @property
    def tensors(self) -> Mapping[str, GgufTensor]:
        """The tensors by name, in the order of the files.

        Raises: FormatError when a further file of a split model is unsound; ValueError when the
        model was closed before they were first asked for.
        """
        if self._tensors is None:
            self._files[0].check_open()
            self._tensors = self._collect()
        return self._tensors

    def raw_value(self, key: str) -> bytes:
        """A metadata value as the first file has it: its type's number and its bytes.

        Raises: KeyError; ValueError after the file was closed.
        """
        start, end = self._first.spans[key]
        return bytes(self._files[0].view(start, end - start))

    def close(self) -> None:
        """Give the mappings back. Metadata stay readable; tensors do not."""
        for file in self._files:
            file.close()

    def __enter__(self) -> GgufFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"GgufFile({str(self.path)!r}, {self.architecture})"

    def _collect(self) -> Mapping[str, GgufTensor]:
        tensors: dict[str, GgufTensor] = {}
        _add(tensors, self._files[0], self._first)
        later: list[MappedFile] = []
        try:
            for number, path in enumerate(self._shard_paths[1:], start=1):
                file = MappedFile(path)
                later.append(file)
                header = read_header(file)
                check_shard(path, header, number=number, first=self._first)
                _add(tensors, file, header)
                check_total(path, self._first, len(tensors), complete=False)
            check_total(self.path, self._first, len(tensors), complete=True)
        except BaseException:
            for file in later:
                file.close()
            raise
        self._files += later
        return MappingProxyType(tensors)


def open_gguf(path: str | Path) -> GgufFile:
    """Open a model by its file; a split one by its first file, `...-00001-of-NNNNN.gguf`.

    Raises: FormatError for whatever the file's bytes break; OSError when it cannot be opened.
    """
    return GgufFile(Path(path))


def _add(tensors: dict[str, GgufTensor], file: MappedFile, header: GgufHeader) -> None:
    for place in header.tensors:
        if place.name in tensors:
            raise DuplicateName(
                f"the tensor {label(place.name)} is also in an earlier file of this model",
                path=file.path,
                offset=place.offset,
                field=f"name of {label(place.name)}",
                value=place.name,
                expected="each name once",
                found="a second one",
                hint="the files are not parts of one model; fetch them again",
            )
        tensors[place.name] = GgufTensor(file, place)


def _architecture(path: Path, metadata: dict[str, MetadataValue]) -> str:
    value = metadata.get("general.architecture")
    if not isinstance(value, str) or not value:
        raise BadValue(
            "the file does not say what architecture it holds",
            path=path,
            field="general.architecture",
            value=clip(value),
            expected="a name of at least one letter",
            found="nothing" if value is None else clip(value),
            hint="a later part of a split model has none: open its first file",
        )
    return value
