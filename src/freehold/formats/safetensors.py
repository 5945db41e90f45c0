"""Opens safetensors models, one file or sharded by an index, as lazy tensors.

Room: formats. Must not know families, configurations, or what a tensor is for.

Source: the safetensors README; `model.safetensors.index.json` as written by transformers.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING

from freehold.errors import DuplicateName, MissingShard
from freehold.formats.mapped_file import MappedFile, clip, label
from freehold.formats.safetensors_header import Dtype, SafetensorsPlace, read_header
from freehold.formats.safetensors_index import read_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Dtype", "SafetensorsFile", "SafetensorsTensor", "open_safetensors"]


class SafetensorsTensor:
    """A tensor in a file: what it is, and its bytes when asked for.

    Shapes: `shape` is row-major, as the file has it.
    """

    __slots__ = ("_file", "_offset", "dtype", "n_bytes", "name", "shape")

    def __init__(self, file: MappedFile, place: SafetensorsPlace) -> None:
        self.name = place.name
        self.dtype = place.dtype
        self.shape = place.shape
        self.n_bytes = place.n_bytes
        self._file = file
        self._offset = place.offset

    def data(self) -> NDArray[np.uint8]:
        """The little-endian elements as a read-only view of the file, aligned to no more than 1.

        Shapes: (n_bytes,). Keep the view no longer than the file is open.
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
        return f"SafetensorsTensor({self.name!r}, {self.dtype.name}, {self.shape})"


class SafetensorsFile:
    """An open model: `tensors` of all its files, `metadata` as its one file has it.

    Use it in a `with`. The files behind an index are opened when `tensors` is first asked for,
    and judged then; that they exist is known from the start. A sharded model has no `metadata`:
    its files' own are about the files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: list[MappedFile] = []
        self._tensors: Mapping[str, SafetensorsTensor] | None = None
        self._owners: dict[str, str] = {}
        self.metadata: Mapping[str, str] = MappingProxyType({})
        file = MappedFile(path)
        self._files.append(file)
        try:
            if path.suffix == ".json":
                self._owners = read_index(file)
                shards = [path.with_name(name) for name in dict.fromkeys(self._owners.values())]
                self.size_bytes = sum(_size_of(path, shard) for shard in shards)
            else:
                metadata, places = read_header(file)
                self.size_bytes = file.size_bytes
                self.metadata = MappingProxyType(metadata)
                self._tensors = MappingProxyType(
                    {place.name: SafetensorsTensor(file, place) for place in places}
                )
        except BaseException:
            self.close()
            raise

    @property
    def tensors(self) -> Mapping[str, SafetensorsTensor]:
        """The tensors by name, in the order of the files and of their bytes.

        Raises: FormatError when a file behind the index is unsound or contradicts it; ValueError
        when the model was closed before they were first asked for.
        """
        if self._tensors is None:
            self._files[0].check_open()
            self._tensors = self._collect()
        return self._tensors

    def close(self) -> None:
        """Give the mappings back; tensors cannot be read any more."""
        for file in self._files:
            file.close()

    def __enter__(self) -> SafetensorsFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SafetensorsFile({str(self.path)!r})"

    def _collect(self) -> Mapping[str, SafetensorsTensor]:
        tensors: dict[str, SafetensorsTensor] = {}
        files: list[MappedFile] = []
        try:
            for shard in dict.fromkeys(self._owners.values()):
                files.append(MappedFile(self.path.with_name(shard)))
                self._add(tensors, shard, files[-1])
            self._check_complete(tensors)
        except BaseException:
            for file in files:
                file.close()
            raise
        self._files += files
        return MappingProxyType(tensors)

    def _add(self, tensors: dict[str, SafetensorsTensor], shard: str, file: MappedFile) -> None:
        for place in read_header(file)[1]:
            owner = self._owners.get(place.name)
            if owner != shard:
                raise _contradiction(self.path, shard, place, owner)
            tensors[place.name] = SafetensorsTensor(file, place)

    def _check_complete(self, tensors: dict[str, SafetensorsTensor]) -> None:
        absent = [name for name in self._owners if name not in tensors]
        if absent:
            raise MissingShard(
                f"{len(absent)} tensors of the index are not in its files",
                path=self.path,
                field=label(absent[0]),
                value=clip(absent[0]),
                expected=f"it in {label(self._owners[absent[0]])}",
                found="no such tensor there",
                hint="files of two models were mixed; fetch them again",
            )


def open_safetensors(path: str | Path) -> SafetensorsFile:
    """Open a model by its one file, or a sharded one by its `.safetensors.index.json`.

    Raises: FormatError for whatever the bytes break; OSError when a file cannot be opened.
    """
    return SafetensorsFile(Path(path))


def _size_of(index: Path, shard: Path) -> int:
    if not shard.is_file():
        raise MissingShard(
            f"{label(shard.name)} is missing",
            path=index,
            field="weight_map",
            value=shard.name,
            expected="every file of the index beside it",
            found="nothing there",
            hint="fetch the missing file into the same folder",
        )
    return shard.stat().st_size


def _contradiction(
    index: Path, shard: str, place: SafetensorsPlace, owner: str | None
) -> MissingShard | DuplicateName:
    kind = MissingShard if owner is None else DuplicateName
    return kind(
        f"the file {label(shard)} holds a tensor that the index does not place there",
        path=index,
        offset=place.offset,
        field=label(place.name),
        value=clip(place.name),
        expected="no such tensor" if owner is None else f"it in {label(owner)}",
        found=f"it in {label(shard)}",
        hint="files of two models were mixed; fetch them again",
    )
