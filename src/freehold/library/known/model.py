"""What is known of an open model: its terms, its sizes, its shape.

Room: library. Plain data; must not know where the data comes from.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COMPONENTS", "TASKS", "Experts", "KnownModel", "Latent", "Recurrent", "Shape"]

TASKS = ("chat", "code", "reasoning", "tools", "vision-text", "embedding", "completion")

# Of the Model Openness Framework, and OSAID's data information.
COMPONENTS = (
    "weights",
    "architecture",
    "technical-report",
    "evaluation-results",
    "model-card",
    "data-card",
    "sample-outputs",
    "training-code",
    "inference-code",
    "evaluation-code",
    "evaluation-data",
    "libraries",
    "research-paper",
    "datasets",
    "data-information",
    "preprocessing-code",
    "intermediate-checkpoints",
    "model-metadata",
)


@dataclass(frozen=True, kw_only=True)
class Latent:
    """Attention that keeps one latent row a token instead of keys and values."""

    rank: int
    query_rank: int
    nope: int
    rope: int
    value: int


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """Layers that keep one state for a whole text; the others of the model attend."""

    layers: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int


@dataclass(frozen=True, kw_only=True)
class Experts:
    """A mixture of `count` experts of which a token uses `used`.

    `dense_layers` have a plain MLP instead; with `beside_dense` every layer has both.
    """

    count: int
    used: int
    ffn: int
    shared_ffn: int = 0
    dense_layers: int = 0
    beside_dense: bool = False


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The widths of a decoder, or of an `encoder`.

    `windowed` layers see `window` tokens; the others may have their own `full_` heads. `kv_shared`
    layers read another layer's keys and values; `wide_layers` have an MLP twice as wide.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied: bool = False
    encoder: bool = False
    gated: bool = False
    window: int = 0
    windowed: int = 0
    full_head_dim: int = 0
    full_kv_heads: int = 0
    full_value_is_key: bool = False
    kv_shared: int = 0
    wide_layers: int = 0
    layer_embedding: int = 0
    latent: Latent | None = None
    recurrent: Recurrent | None = None
    experts: Experts | None = None


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """One open model.

    `licence` is the hub's id, or "unknown"; `released` a year and month; `published` names what
    the makers gave besides; `source` says how far the shape was checked: "config" or "facts".
    """

    name: str
    hub: str
    family: str
    licence: str
    released: str
    parameters: int
    active: int
    context: int
    tasks: tuple[str, ...]
    published: tuple[str, ...]
    source: str
    vision: int = 0
    short: str | None = None
    native: str | None = None
    shape: Shape | None = None

    @property
    def text_parameters(self) -> int:
        """Parameters of the language model alone."""
        return self.parameters - self.vision
