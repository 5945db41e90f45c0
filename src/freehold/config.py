"""Settings, resolved once: flags > environment > TOML file > defaults.

Room: config. Knows the names of settings and where they come from; must not know what any other
room does with them.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from freehold.errors import BadSetting

__all__ = [
    "Settings",
    "config_path",
    "data_home",
    "parse_size",
    "resolve_settings",
    "settings_table",
]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?(?:([kmgt])?(i)?b?)", re.ASCII)


def _path(raw: object) -> Path:
    if not isinstance(raw, str | Path) or not str(raw):
        raise ValueError("a path")
    return Path(raw).expanduser().absolute()


def _positive(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        raise ValueError("a whole number above 0")
    try:
        number = int(raw)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError("a whole number above 0")
    return number


def _port(raw: object) -> int:
    try:
        number = int(raw) if isinstance(raw, str | int) and not isinstance(raw, bool) else -1
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 16:
        raise ValueError("a port from 0 to 65535; 0 takes any free one")
    return number


def parse_size(raw: object) -> int:
    """Bytes from a whole number, or a number with a unit: 1500MB, 2GiB. Raises: ValueError."""
    matched = _SIZE.fullmatch(str(raw).strip().lower()) if isinstance(raw, int | str) else None
    if matched is None or isinstance(raw, bool):
        raise ValueError("a size above 0 such as 2GiB or 1500MB")
    number, prefix, binary = matched.groups()
    size = int(float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix or " "))
    if size < 1:
        raise ValueError("a size above 0 such as 2GiB or 1500MB")
    return size


def _seconds(raw: object) -> float:
    try:
        number = float(raw) if isinstance(raw, str | int | float) else -1.0
    except ValueError:
        number = -1.0
    if isinstance(raw, bool) or not 0 <= number < math.inf:
        raise ValueError("seconds, 0 or more")
    return number


def _bits(raw: object) -> int:
    if str(raw) not in ("8", "16"):
        raise ValueError("8 or 16")
    return int(str(raw))


def _log_form(raw: object) -> str:
    if raw not in ("text", "json"):
        raise ValueError("text or json")
    return str(raw)


def _recommended(raw: object) -> str:
    if raw not in ("auto", "none"):
        raise ValueError("auto or none")
    return str(raw)


def _switch(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("1 or 0, true or false")
    return word in _TRUE


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip() or not raw.isprintable():
        raise ValueError("a line of text")
    return raw.strip()


def _words(raw: object) -> tuple[str, ...]:
    parts = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("words with commas between them, or a list of texts")
    return tuple(part.strip() for part in parts if part.strip())


def _paths(raw: object) -> tuple[Path, ...]:
    return tuple(_path(word) for word in _words(raw))


def _setting(env: str, parse: Callable[[object], object], doc: str) -> Mapping[str, Any]:
    """A setting's environment variable, its parser and its line of the manual."""
    return {"env": env, "parse": parse, "doc": doc}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a person can set for the whole program, after resolution.

    `origin` says for each name where its value came from: flag, environment, file or default.
    """

    home: Path = field(
        metadata=_setting("FREEHOLD_HOME", _path, "Where models and history are kept.")
    )
    threads: int | None = field(
        metadata=_setting("FREEHOLD_THREADS", _positive, "Threads of the core; unset: all cores.")
    )
    context_tokens: int | None = field(
        metadata=_setting("FREEHOLD_CONTEXT", _positive, "Context in tokens; unset: the model's.")
    )
    history: bool = field(
        metadata=_setting("FREEHOLD_HISTORY", _switch, "Keep what you type in a private file.")
    )
    database: str | None = field(
        default=None,
        metadata=_setting(
            "FREEHOLD_DATABASE", _text, "postgresql:// URL; unset: freehold.db in the home."
        ),
    )
    host: str = field(
        default="127.0.0.1",
        metadata=_setting("FREEHOLD_HOST", _text, "The address the server listens on."),
    )
    port: int = field(
        default=8460,
        metadata=_setting("FREEHOLD_PORT", _port, "The port the server listens on; 0: any."),
    )
    allowed_hosts: tuple[str, ...] = field(
        default=(),
        metadata=_setting(
            "FREEHOLD_ALLOWED_HOSTS", _words, "Host names a server without keys answers to."
        ),
    )
    allowed_origins: tuple[str, ...] = field(
        default=(),
        metadata=_setting(
            "FREEHOLD_ALLOWED_ORIGINS", _words, "Web pages that may ask: https://name, or *."
        ),
    )
    model_memory: int | None = field(
        default=None,
        metadata=_setting(
            "FREEHOLD_MODEL_MEMORY",
            parse_size,
            "Memory for models, as 8GiB; unset: by the machine's.",
        ),
    )
    kv_memory: int | None = field(
        default=None,
        metadata=_setting(
            "FREEHOLD_KV_MEMORY",
            parse_size,
            "Memory for each model's KV cache; unset: the machine's.",
        ),
    )
    kv_bits: int = field(
        default=16,
        metadata=_setting(
            "FREEHOLD_KV_BITS", _bits, "16, or 8: half the KV memory for a small loss."
        ),
    )
    speculation: bool = field(
        default=True,
        metadata=_setting(
            "FREEHOLD_SPECULATION",
            _switch,
            "Guess what an answer that runs alone will repeat; changes no answer.",
        ),
    )
    adapter_dirs: tuple[str, ...] = field(
        default=(),
        metadata=_setting(
            "FREEHOLD_ADAPTER_DIRS",
            _words,
            "Where a running server may load adapters from.",
        ),
    )
    adapter_bits: int = field(
        default=8,
        metadata=_setting(
            "FREEHOLD_ADAPTER_BITS", _bits, "8, or 16: adapters as float16, in twice the memory."
        ),
    )
    max_running: int = field(
        default=32,
        metadata=_setting("FREEHOLD_MAX_RUNNING", _positive, "Sequences a model runs at once."),
    )
    max_waiting: int = field(
        default=256,
        metadata=_setting("FREEHOLD_MAX_WAITING", _positive, "Sequences that may wait, per model."),
    )
    generation_config: str = field(
        default="auto",
        metadata=_setting(
            "FREEHOLD_GENERATION_CONFIG",
            _recommended,
            "Sampling a request leaves open: auto, as the model's files recommend; none.",
        ),
    )
    request_s: float = field(
        default=600.0,
        metadata=_setting("FREEHOLD_REQUEST_S", _seconds, "Seconds an answer may take; 0: no end."),
    )
    drain_s: float = field(
        default=30.0,
        metadata=_setting("FREEHOLD_DRAIN_S", _seconds, "Seconds that streams have at the end."),
    )
    log_format: str = field(
        default="text",
        metadata=_setting("FREEHOLD_LOG_FORMAT", _log_form, "The server's log lines: text, json."),
    )
    policy: tuple[Path, ...] = field(
        default=(),
        metadata=_setting("FREEHOLD_POLICY", _paths, "Files of rules on licences and models."),
    )
    origin: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def models_dir(self) -> Path:
        """The store directory: one folder per model."""
        return self.home / "models"

    def shown(self, name: str) -> str | None:
        """A setting's value as people may see it: without the password of a URL."""
        value = getattr(self, name)
        if value is None:
            return None
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        return re.sub(r"(://[^/@]*?):[^/@]*@", r"\1:***@", text)


def _resolvable() -> dict[str, Mapping[str, Any]]:
    return {f.name: f.metadata for f in fields(Settings) if "env" in f.metadata}


def settings_table() -> list[tuple[str, str, str]]:
    """(name in the TOML file, environment variable, description) of every setting."""
    return [(name, meta["env"], meta["doc"]) for name, meta in _resolvable().items()]


def data_home(environment: Mapping[str, str]) -> Path:
    """The platform's data directory for this program: $XDG_DATA_HOME/freehold."""
    base = environment.get("XDG_DATA_HOME", "")
    # The XDG rules say a relative path there must be ignored.
    root = Path(base) if Path(base).is_absolute() else Path("~/.local/share").expanduser()
    return root / "freehold"


def config_path(environment: Mapping[str, str]) -> Path:
    """Where the TOML file is looked for: $XDG_CONFIG_HOME/freehold/config.toml."""
    base = environment.get("XDG_CONFIG_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path("~/.config").expanduser()
    return root / "freehold" / "config.toml"


def _from_file(path: Path) -> dict[str, object]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadSetting(
            f"cannot read the settings file {path}",
            value=str(path),
            expected="a readable TOML file",
            found=error.strerror or type(error).__name__,
            hint="fix its permissions or remove it",
        ) from error
    try:
        table = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(
            f"{path} is not a TOML file",
            value=str(path),
            expected="TOML 1.0 in UTF-8",
            found=str(error),
            hint="the table of settings is in docs/configuration.md",
        ) from error
    known = _resolvable()
    for key, value in table.items():
        if key not in known:
            raise BadSetting(
                f"unknown setting {key!r} in {path}",
                value=key,
                expected="one of " + ", ".join(sorted(known)),
                found=repr(value),
                hint="remove the line or correct its name",
            )
    return table


def resolve_settings(
    flags: Mapping[str, object] | None = None, *, environment: Mapping[str, str] | None = None
) -> Settings:
    """Settle every setting once. A flag of None counts as not given.

    Raises: BadSetting for an unknown TOML key, or a value that does not parse, naming its source.
    """
    environment = os.environ if environment is None else environment
    path = config_path(environment)
    table = _from_file(path)
    values: dict[str, Any] = {
        "home": data_home(environment),
        "threads": None,
        "context_tokens": None,
        "history": True,
    }
    values |= {f.name: f.default for f in fields(Settings) if f.default is not MISSING}
    origin = dict.fromkeys(values, "default")
    for name, meta in _resolvable().items():
        candidates = (
            ("flag", (flags or {}).get(name)),
            # An empty variable is the shell's way of saying unset.
            (f"environment {meta['env']}", environment.get(meta["env"]) or None),
            (f"file {path}", table.get(name)),
        )
        for source, raw in candidates:
            if raw is None:
                continue
            values[name] = _parsed(name, raw, source=source, parse=meta["parse"])
            origin[name] = source
            break
    return Settings(**values, origin=MappingProxyType(origin))


def _parsed(name: str, raw: object, *, source: str, parse: Callable[[object], object]) -> object:
    try:
        return parse(raw)
    except ValueError as error:
        raise BadSetting(
            f"setting {name!r} from {source} is not usable",
            value=name,
            expected=str(error),
            found=repr(raw),
            hint="the table of settings is in docs/configuration.md",
        ) from error
