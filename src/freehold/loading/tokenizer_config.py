"""tokenizer_config.json and special_tokens_map.json: what they add to a tokenizer.json.

Room: loading. Every key is honoured, ignored with a reason, or an error by name.
Source: tokenization_utils_base.py of transformers 5, which also reads what version 4 wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.tokenizer import Added, added_tokens

__all__ = ["TokenizerConfig", "read_tokenizer_config"]

_NAME = "tokenizer_config"
_MAX_TEMPLATES = 32

_ITSELF = "tokenizer.json says"
_CONTEXT = "config.json says how long a text may be; nothing is shortened"
_PADDING = "nothing is padded"
_ORIGIN = "how the file came to be"
_IGNORED = {
    "add_prefix_space": _ITSELF,
    "legacy": _ITSELF,
    "sp_model_kwargs": _ITSELF,
    "do_lower_case": _ITSELF,
    "strip_accents": _ITSELF,
    "tokenize_chinese_chars": _ITSELF,
    "fix_mistral_regex": _ITSELF,
    "tokenizer_class": "names a class; tokenizer.json holds what it does",
    "backend": "names a class; tokenizer.json holds what it does",
    "processor_class": "names a class for other media",
    "auto_map": "names code of the checkpoint, which is never run",
    "trust_remote_code": "code of a checkpoint is never run",
    "model_max_length": _CONTEXT,
    "max_length": _CONTEXT,
    "truncation_side": _CONTEXT,
    "truncation_strategy": _CONTEXT,
    "truncation": _CONTEXT,
    "stride": _CONTEXT,
    "padding": _PADDING,
    "padding_side": _PADDING,
    "pad_to_multiple_of": _PADDING,
    "pad_token_type_id": _PADDING,
    "model_input_names": "one input, the tokens",
    "return_token_type_ids": "one input, the tokens",
    "clean_up_tokenization_spaces": "decoding gives the tokens' own text, unchanged",
    "spaces_between_special_tokens": "decoding gives the tokens' own text, unchanged",
    "use_default_system_prompt": "the chat template says",
    "name_or_path": _ORIGIN,
    "_name_or_path": _ORIGIN,
    "tokenizer_file": _ORIGIN,
    "vocab_file": _ORIGIN,
    "merges_file": _ORIGIN,
    "special_tokens_map_file": _ORIGIN,
    "transformers_version": _ORIGIN,
    "from_slow": _ORIGIN,
    "is_local": _ORIGIN,
    "local_files_only": _ORIGIN,
    "unsloth_version": _ORIGIN,
    "tool_parser_type": "the chat template says which form calls have",
    "response_schema": "the chat template says which form answers have",
}
# Tokens with a role of their own in the map; others there are named by models of several media.
_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")


@dataclass(frozen=True, slots=True)
class TokenizerConfig:
    """What the two files say. `control` are spellings that they call special."""

    bos: str | None
    eos: str | None
    adds_bos: bool | None
    adds_eos: bool | None
    added: tuple[Added, ...]
    control: frozenset[str]
    templates: Mapping[str, str]


def read_tokenizer_config(
    config: Mapping[str, object], names: Mapping[str, object]
) -> TokenizerConfig:
    """Reads the keys of tokenizer_config.json and of special_tokens_map.json, either may be empty.

    Raises: BadConfig, UnknownConfigKey; BadTokenizer for a token in a wrong form.
    """
    keys = Keys({f"{_NAME}.{key}": value for key, value in config.items()}, _NAME)
    for key, reason in _IGNORED.items():
        keys.ignore(key, reason)
    keys.absent_or("split_special_tokens", False, "what a template writes as control is control")
    keys.absent_or("errors", "replace", "bytes that are no text become U+FFFD")
    adds = [_flag(keys, config, name) for name in ("add_bos_token", "add_eos_token")]
    for key in (*config, "chat_template"):
        if key.endswith(("_token", "_token_id", "_tokens")) or key in ("chat_template", "tokens"):
            keys.ignore(key, "read here, or names one of the tokens that tokenizer.json lists")
    keys.ignore("added_tokens_decoder", "read here")
    keys.finish()
    return TokenizerConfig(
        bos=_token(config, names, "bos_token"),
        eos=_token(config, names, "eos_token"),
        adds_bos=adds[0],
        adds_eos=adds[1],
        added=tuple(_added(config.get("added_tokens_decoder"))),
        control=frozenset(_control(config)) | frozenset(_control(names)),
        templates=_templates(config.get("chat_template")),
    )


def _flag(keys: Keys, config: Mapping[str, object], name: str) -> bool | None:
    said = keys.truth(name, default=False)
    return None if config.get(name) is None else said


def _spelling(value: object, name: str) -> str:
    """A token, written as its text or as an object with that."""
    content = value.get("content") if isinstance(value, dict) else value
    if not isinstance(content, str) or not content:
        raise BadConfig(
            f"bad value of {_NAME}.{name}",
            family=_NAME,
            value=value,
            expected="a token",
            found=repr(value)[:80],
        )
    return content


def _token(config: Mapping[str, object], names: Mapping[str, object], role: str) -> str | None:
    """The token of a role; special_tokens_map.json is asked where the other file is silent."""
    value = config[role] if role in config else names.get(role)
    return None if value is None else _spelling(value, role)


def _control(fields: Mapping[str, object]) -> list[str]:
    """Every spelling that a file calls special: those of roles, and those listed besides."""
    found = [_spelling(fields[role], role) for role in _ROLES if fields.get(role) is not None]
    for name in ("additional_special_tokens", "extra_special_tokens"):
        listed = fields.get(name)
        if isinstance(listed, dict):
            listed = list(listed.values())
        if listed is not None and not isinstance(listed, list):
            raise BadConfig(
                f"bad value of {_NAME}.{name}",
                family=_NAME,
                expected="a list of tokens",
                found=type(listed).__name__,
            )
        found += [_spelling(token, name) for token in listed or ()]
    return found


def _added(value: object) -> list[Added]:
    """The tokens of `added_tokens_decoder`, which maps ids, as texts, to tokens."""
    if value is None:
        return []
    if not isinstance(value, dict):
        raise _bad("added_tokens_decoder", "an object", type(value).__name__)
    entries = []
    for number, token in value.items():
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            raise _bad("added_tokens_decoder", "ids", repr(number)[:80])
        if not isinstance(token, dict) or "id" in token:
            raise _bad("added_tokens_decoder", "tokens by their ids", repr(token)[:80])
        entries.append({**token, "id": int(number)})
    return added_tokens(entries, f"{_NAME}.added_tokens_decoder")


def _templates(value: object) -> dict[str, str]:
    """The template, or several with names: a list of name and template, or an object."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    pairs: list[tuple[object, object]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = [(t.get("name"), t.get("template")) for t in value if isinstance(t, dict)]
        if len(pairs) < len(value):
            raise _bad("chat_template", "names and templates", "something else")
    found = {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str)}
    if len(found) < len(pairs) or not 0 < len(found) <= _MAX_TEMPLATES:
        raise _bad("chat_template", f"at most {_MAX_TEMPLATES} templates with names", "others")
    return found


def _bad(name: str, expected: str, found: str) -> BadConfig:
    return BadConfig(f"bad value of {_NAME}.{name}", family=_NAME, expected=expected, found=found)
