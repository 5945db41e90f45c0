"""The process that runs a program shut in: started by `sandbox.py` by its path, on bare Python.

Room: evals. Knows Linux; imports nothing of Freehold, so that nothing of it is there to be found.

It reads {settings} as JSON from its one argument and the program from stdin. On the descriptor that
`settings` names it writes one line: "ready" once it is shut in, then how the program ended. Only
whoever ran to the end knows the word that says so.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys

__all__ = ["main"]

_NEW_MOUNTS, _NEW_UTS, _NEW_IPC = 0x00020000, 0x04000000, 0x08000000
_NEW_USER, _NEW_PIDS, _NEW_NET = 0x10000000, 0x20000000, 0x40000000
_NO_SUID, _NO_DEVICES, _PRIVATE, _RECURSIVE = 2, 4, 1 << 18, 1 << 14
_SET_DEATH_SIGNAL, _SET_DUMPABLE, _NO_NEW_PRIVILEGES = 1, 4, 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# Every right that a version of Landlock knows; newer ones are of devices and audits.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_ALL_NET, _ALL_SCOPES = 3, 3

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("rights", ctypes.c_uint64), ("parent", ctypes.c_int32))


def _checked(what: str, result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result


def _own_namespaces() -> None:
    """No network, no other processes, no shared memory of others, mounts of its own."""
    user, group = os.geteuid(), os.getegid()
    every = _NEW_USER | _NEW_NET | _NEW_PIDS | _NEW_IPC | _NEW_UTS | _NEW_MOUNTS
    _checked("namespaces", _libc.unshare(every))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(text)


def _own_folder(folder: bytes, most_bytes: int) -> None:
    """A folder in memory over the one on disk: gone with the process, and of a bounded size."""
    _checked("mounts", _libc.mount(b"none", b"/", None, _PRIVATE | _RECURSIVE, None))
    options = f"size={most_bytes},nr_inodes=1024,mode=700".encode()
    flags = _NO_SUID | _NO_DEVICES
    _checked("a folder", _libc.mount(b"tmpfs", folder, b"tmpfs", flags, options))


def _only_these_files(folder: str, readable: list[str]) -> None:
    """Landlock: reading where Python's own library is, all in the folder, nothing else."""
    version = _checked("Landlock", _libc.syscall(_LANDLOCK_CREATE, None, 0, 1))
    rights = _RIGHTS[max(known for known in _RIGHTS if known <= version)]
    asked = _Attributes(rights, _ALL_NET if version >= 4 else 0, _ALL_SCOPES if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = _checked("Landlock", _libc.syscall(_LANDLOCK_CREATE, ctypes.byref(asked), size, 0))
    for path, allowed in [(folder, rights), *((p, _READ_FILE | _READ_DIR) for p in readable)]:
        _allow(rules, path, allowed)
    _checked("Landlock", _libc.syscall(_LANDLOCK_RESTRICT, rules, 0))
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - nothing is imported that is not needed
            rights &= ~_READ_DIR
        rule = _Beneath(rights, parent)
        _checked("Landlock", _libc.syscall(_LANDLOCK_ADD, rules, 1, ctypes.byref(rule), 0))
    finally:
        os.close(parent)


def _limited(settings: dict[str, int], *, own_processes: bool) -> None:
    limits = {
        resource.RLIMIT_AS: settings["memory_bytes"],
        resource.RLIMIT_CPU: settings["cpu_s"],
        resource.RLIMIT_FSIZE: settings["file_bytes"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    if own_processes:  # elsewhere the limit counts whatever else the person runs
        limits[resource.RLIMIT_NPROC] = 16
    for limit, most in limits.items():
        resource.setrlimit(limit, (most, most))


def _shut_in(settings: dict[str, object]) -> None:
    """All of it, or OSError saying what this machine lacks. The rest runs in a child."""
    folder = str(settings["folder"])
    _own_namespaces()
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    _libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    _own_folder(folder.encode(), int(str(settings["folder_bytes"])))
    os.chdir(folder)
    _checked("privileges", _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    readable = settings["readable"]
    assert isinstance(readable, list)
    _only_these_files(folder, readable)


def _ending(kind: type[BaseException] | None, word: str) -> str:
    """How the program ended; only one that ran to its end is known by the word."""
    if kind is None:
        return word
    plain = {MemoryError: "memory", SyntaxError: "syntax", SystemExit: "exit"}
    # The text of an error could be anything; so could the name of its type, but it is short.
    return plain.get(kind, f"raised {kind.__name__[:40]}")


def main() -> None:
    """Shuts itself in, runs the program, says how it ended, and is gone."""
    settings = json.loads(sys.argv[1])
    program = sys.stdin.buffer.read().decode()
    word = settings.pop("word")
    del sys.argv[1:]
    report = int(settings["report"])
    try:
        if settings["full"]:
            _shut_in(settings)
        else:
            os.chdir(settings["folder"])
        _limited(settings, own_processes=settings["full"])
        os.close(0)
        os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        what = error.strerror if error.filename is None else error.filename
        os.write(report, f"cannot {what}\n".encode())
        os._exit(70)
    os.write(report, b"ready\n")
    try:
        exec(compile(program, "answer.py", "exec"), {"__name__": "__main__"})  # noqa: S102
        sys.stdout.flush()
    finally:
        ended = _ending(sys.exc_info()[0], word)
        os.write(report, f"{ended}\n".encode())
        os._exit(0)


if __name__ == "__main__":
    main()
