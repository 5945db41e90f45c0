"""What lies beside weights: programs, pickles, links that lead away.

Room: inspection. Reads the first bytes of files and the opcodes of pickles; runs and unpickles
nothing.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path

from freehold.inspection.safety.finding import Finding

__all__ = ["pickle_imports", "scan_files"]

_MAX_FILES = 2000
_MAX_PICKLE_BYTES = 16 << 20
_MAX_OPCODES = 2_000_000
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill"})
_CODE = frozenset({".py", ".pyc", ".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".ps1", ".js"})
_CODE |= {".jar", ".ipynb", ".cmd", ".wasm", ".html", ".htm"}
_MAGIC = {
    b"\x7fELF": "a Linux program",
    b"MZ": "a Windows program",
    b"#!": "a script",
    b"\xcf\xfa\xed\xfe": "a macOS program",
}
# What an honest checkpoint needs to be unpickled.
_HARMLESS = ("torch.", "collections.", "numpy.", "_codecs.", "transformers.", "argparse.")


def scan_files(path: Path) -> Iterator[Finding]:
    """The directory of a model, or its one file."""
    if not path.is_dir():
        yield from _one(path, path.name)
        return
    files = sorted(file for file in path.rglob("*") if ".git" not in file.parts)
    for file in files[:_MAX_FILES]:
        name = str(file.relative_to(path))
        if file.is_symlink() and not _stays(file, path):
            yield Finding(
                "note",
                "files.link",
                name,
                f"it is a link that leads out of the directory, to {file.resolve().parent}",
                "usual in a download cache; anywhere else, copy the file in its place",
            )
        if file.is_file():
            yield from _one(file, name)
    if len(files) > _MAX_FILES:
        yield Finding(
            "warning",
            "files.many",
            str(path.name),
            f"the directory holds {len(files):,} files; {_MAX_FILES:,} were looked at",
            "keep a model in a directory of its own",
        )


def _stays(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _one(file: Path, name: str) -> Iterator[Finding]:
    suffix = file.suffix.lower()
    with file.open("rb") as opened:
        start = opened.read(64)
    if _is_pickle(suffix, start):
        yield _pickle(file, name)
        return
    program = next((what for magic, what in _MAGIC.items() if start.startswith(magic)), None)
    if program is None and suffix in _CODE:
        program = "code"
    if program is not None:
        yield Finding(
            "danger" if program != "code" else "warning",
            "files.code",
            name,
            f"it is {program}, beside weights that need none",
            "nothing here runs it; do not load this directory with `trust_remote_code`",
        )


def _is_pickle(suffix: str, start: bytes) -> bool:
    if start[:4] == b"GGUF" or not start:
        return False
    protocol = start[:1] == b"\x80" and 2 <= start[1] <= 5 if len(start) > 1 else False
    return protocol or suffix in _PICKLES


def _pickle(file: Path, name: str) -> Finding:
    imports = pickle_imports(file)
    if imports is None:
        why = "it is called as pickles are, and cannot be read as one"
        return Finding("warning", "files.pickle", name, why, "nothing here opens it; delete it")
    wild = sorted(found for found in imports if not found.startswith(_HARMLESS))
    if wild:
        why = f"it is a pickle that would call {', '.join(wild[:6])} when it is opened"
        return Finding("danger", "files.pickle_calls", name, why, "delete it; open it with nothing")
    return Finding(
        "warning",
        "files.pickle",
        name,
        "it is a pickle: whoever opens it runs what its author put in",
        "never read here; keep the safetensors and delete this",
    )


def pickle_imports(file: Path) -> set[str] | None:
    """The names that a pickle would import, read from its opcodes without running any.

    None for a file that cannot be read so.
    """
    try:
        streams = list(_streams(file))
        return {found for raw in streams for found in _globals(raw)}
    except (ValueError, zipfile.BadZipFile, OSError, IndexError, KeyError, RuntimeError):
        return None


def _streams(file: Path) -> Iterator[bytes]:
    if not zipfile.is_zipfile(file):
        with file.open("rb") as opened:
            yield opened.read(_MAX_PICKLE_BYTES)
        return
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist()[:_MAX_FILES]:
            if member.filename.endswith(".pkl"):
                with archive.open(member) as opened:
                    yield opened.read(_MAX_PICKLE_BYTES)


def _globals(raw: bytes) -> Iterator[str]:
    """Every name a pickle imports; texts are followed through its memo, where names hide."""
    texts: list[str] = []
    memo: dict[int, str] = {}
    last = ""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(raw)):
        if count > _MAX_OPCODES:
            yield "more than can be looked at"
            return
        if opcode.name in ("GLOBAL", "INST") and isinstance(argument, str):
            yield argument.replace(" ", ".", 1)
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = last
            continue
        elif opcode.name in ("BINPUT", "LONG_BINPUT", "PUT") and isinstance(argument, int):
            memo[argument] = last
            continue
        last = argument if isinstance(argument, str) else ""
        if opcode.name in ("BINGET", "LONG_BINGET", "GET") and isinstance(argument, int):
            last = memo.get(argument, "")
        if last:
            texts = [*texts[-7:], last]
