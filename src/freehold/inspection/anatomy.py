"""What a tensor is for, told by its name, and a model's parts as a tree.

Room: inspection. Knows how formats spell the parts of a network; must not know any family: a
model that nobody here can run has a tree all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from freehold.inspection.weights import OpenTensor

__all__ = ["Branch", "Part", "anatomy", "part_of", "role_order", "runs"]

_LAYER = re.compile(r"(?:^|(.*?)\.)(?:blk|layers?|h|blocks?)\.(\d+)\.(.+)")
_SUFFIX = re.compile(r"\.(weight|bias|weight_scale|weight_scale_inv|scales|qweight|qzeros|g_idx)$")
# The one stack of layers of a plain model; others keep their prefix as a name.
_MAIN = frozenset({"", "model", "transformer", "encoder", "bert.encoder", "roberta.encoder"})
_MAIN |= {"model.language_model", "language_model.model", "model.decoder"}


@dataclass(frozen=True)
class Part:
    """A tensor's place: `stack` is empty for the one stack of layers, `layer` None outside."""

    stack: str
    layer: int | None
    group: str
    name: str

    @property
    def role(self) -> str:
        """Its place within a layer, or in the model, in one word or two."""
        return self.name if self.group == self.name else f"{self.group} {self.name}"


# In order: the first pattern that a name's end meets. Group, part.
_WITHIN = tuple(
    (re.compile(pattern), group, name)
    for pattern, group, name in (
        (r"shexp\b.*gate_inp|gate_inp_shexp|shared_expert_gate", "shared expert", "opening"),
        (r"gate_(proj_)?shexp|shared_experts?\.gate_proj", "shared expert", "gate"),
        (r"up_shexp|shared_experts?\.up_proj", "shared expert", "up"),
        (r"down_shexp|shared_experts?\.down_proj", "shared expert", "down"),
        (r"ffn_gate_inp|router|block_sparse_moe\.gate$|mlp\.gate$|exp_probs_b", "mlp", "router"),
        (r"gate_up_exps|experts.*gate_up_proj", "experts", "gate and up"),
        (r"ffn_gate_exps|experts.*(gate_proj|w1)\b", "experts", "gate"),
        (r"ffn_up_exps|experts.*(up_proj|w3)\b", "experts", "up"),
        (r"ffn_down_exps|experts.*(down_proj|w2)\b", "experts", "down"),
        (r"(attn_q|q_proj|attn.q)_norm|q_norm|query_norm", "norms", "q"),
        (r"(attn_k|k_proj|attn.k)_norm|k_norm|key_norm", "norms", "k"),
        (r"q_a_(layer)?norm|kv_a_(layer)?norm", "norms", "latent"),
        (r"post_attention_norm|attn_post_norm|attention\.output\.LayerNorm", "norms", "after attn"),
        (r"post_ffw_norm|post_feedforward_layernorm", "norms", "after mlp"),
        (r"ssm_norm|linear_attn\.norm", "norms", "state"),
        (r"attn_norm|input_layernorm|ln_1\b|ln_attn", "norms", "attn"),
        (r"ffn_norm|post_attention_layernorm|pre_feedforward_layernorm|ln_2\b", "norms", "mlp"),
        (r"output\.LayerNorm", "norms", "after mlp"),
        (r"[nN]orm", "norms", "other"),
        (r"attn_sinks|sinks", "attention", "sinks"),
        (r"attn_qkv|qkv_proj|query_key_value|c_attn|in_proj_qkv\b", "attention", "qkv"),
        (r"ssm_|linear_attn|conv1d|mamba|attn_gate", "state", "rule"),
        (r"(attn_)?q_a(_proj)?$", "attention", "q down"),
        (r"(attn_)?q_b(_proj)?$", "attention", "q up"),
        (r"kv_a_(mqa|proj)", "attention", "kv down"),
        (r"(attn_)?(kv_b|k_b|v_b)(_proj)?$", "attention", "kv up"),
        (r"attn_q|q_proj|self\.query|\bwq", "attention", "q"),
        (r"attn_k|k_proj|self\.key|\bwk", "attention", "k"),
        (r"attn_v|v_proj|self\.value|\bwv", "attention", "v"),
        (r"attn_output|o_proj|out_proj|attention\.output\.dense|\bwo", "attention", "out"),
        (r"gate_up_proj", "mlp", "gate and up"),
        (r"ffn_gate|gate_proj|\bw1\b", "mlp", "gate"),
        (r"ffn_up|up_proj|intermediate\.dense|fc1|c_fc|\bw3\b", "mlp", "up"),
        (r"ffn_down|down_proj|output\.dense|fc2|c_proj|\bw2\b", "mlp", "down"),
    )
)
_OUTSIDE = tuple(
    (re.compile(pattern), group, name)
    for pattern, group, name in (
        (r"(token|tok)_embd|embed_tokens|word_embeddings|\bwte\b", "embedding", "tokens"),
        (r"position_embd|position_embeddings|\bwpe\b", "embedding", "positions"),
        (r"token_types|token_type_embeddings", "embedding", "types"),
        (r"embd_norm|embeddings\.LayerNorm", "embedding", "norm"),
        (r"output_norm|(^|\.)norm$|final_layernorm|ln_f", "head", "norm"),
        (r"^output$|lm_head|embed_out", "head", "matrix"),
        (r"pooler|cls\b|classifier|score", "head", "pooler"),
        (r"rope", "other", "rotation"),
    )
)
_GROUPS = ("embedding", "attention", "state", "mlp", "experts", "shared expert", "norms", "head")


def part_of(name: str) -> Part:
    """The place of a tensor by its name in a file."""
    match = _LAYER.match(name)
    rest = name if match is None else match[3]
    stem = _SUFFIX.sub("", rest)
    bias = " bias" if rest.endswith("bias") and not stem.endswith("exp_probs_b") else ""
    rules = _OUTSIDE if match is None else _WITHIN
    found = ((group, part) for pattern, group, part in rules if pattern.search(stem))
    group, part = next(found, ("other", stem[:40]))
    if match is None:
        return Part("", None, group, part + bias)
    stack = match[1] or ""
    return Part("" if stack in _MAIN else stack[:40], int(match[2]), group, part + bias)


def role_order(parts: Iterable[Part]) -> list[str]:
    """The roles within layers, in the order in which a token meets them."""
    known = {(group, name): n for n, (_, group, name) in enumerate(_WITHIN)}
    first = ("q", "k", "v", "qkv", "out", "gate", "up", "down")

    def key(part: Part) -> tuple[int, int, int, str]:
        plain = part.name.removesuffix(" bias")
        group = _GROUPS.index(part.group) if part.group in _GROUPS else len(_GROUPS)
        place = first.index(plain) if plain in first else len(first)
        return group, place, known.get((part.group, plain), 99), part.name

    return list(dict.fromkeys(part.role for part in sorted(parts, key=key)))


@dataclass
class Branch:
    """A part of the model with what is in it; `times` how often it is repeated.

    `parameters` and `n_bytes` are of all repetitions. `detail` tells shapes and types of a leaf.
    """

    name: str
    parameters: int
    n_bytes: int
    detail: str = ""
    times: int = 1
    branches: list[Branch] = field(default_factory=list)


def anatomy(tensors: Sequence[OpenTensor]) -> Branch:
    """The whole model as a tree, layers of the same shapes folded into one."""
    placed = [(part_of(tensor.name), tensor) for tensor in tensors]
    root = _branch("model", tensors)
    outside: dict[str, list[tuple[Part, OpenTensor]]] = {}
    layers: dict[str, dict[int, list[tuple[Part, OpenTensor]]]] = {}
    for part, tensor in placed:
        if part.layer is None:
            outside.setdefault(part.group, []).append((part, tensor))
        else:
            layers.setdefault(part.stack, {}).setdefault(part.layer, []).append((part, tensor))
    if "embedding" in outside:
        root.branches.append(_group("embedding", [outside.pop("embedding")]))
    head = outside.pop("head", [])
    for group, found in outside.items():
        root.branches.append(_group(group, [found]))
    for stack, numbered in layers.items():
        root.branches += _folded(stack, numbered)
    if head:
        root.branches.append(_group("head", [head]))
    if layers and not {part.name for part, _ in head} & {"matrix", "pooler"}:
        root.branches.append(Branch("head matrix", 0, 0, "none of its own: the embedding, if any"))
    return root


def _branch(name: str, tensors: Iterable[OpenTensor], detail: str = "", times: int = 1) -> Branch:
    every = list(tensors)
    return Branch(
        name, sum(t.elements for t in every), sum(t.n_bytes for t in every), detail, times
    )


_Placed = list[tuple[Part, OpenTensor]]


def _folded(stack: str, numbered: dict[int, _Placed]) -> list[Branch]:
    """A branch for each kind of layer, by the shapes of what it has."""
    kinds: dict[tuple[object, ...], list[int]] = {}
    for number in sorted(numbered):
        shapes = tuple(sorted((part.role, tensor.shape) for part, tensor in numbered[number]))
        kinds.setdefault(shapes, []).append(number)
    return [_layer_kind(stack, numbers, numbered) for numbers in kinds.values()]


def _layer_kind(stack: str, numbers: list[int], numbered: dict[int, _Placed]) -> Branch:
    name = f"{stack} layer {runs(numbers)}".strip()
    layers = [numbered[number] for number in numbers]
    branch = _branch(name, (tensor for layer in layers for _, tensor in layer), times=len(numbers))
    groups = {part.group for part, _ in layers[0]}
    order = [group for group in _GROUPS if group in groups] + sorted(groups - set(_GROUPS))
    for group in order:
        of_group = [[pair for pair in layer if pair[0].group == group] for layer in layers]
        branch.branches.append(_group(group, of_group))
    return branch


def _group(name: str, layers: list[_Placed]) -> Branch:
    """A group of parts; `layers` has its tensors for each repetition."""
    branch = _branch(name, (tensor for layer in layers for _, tensor in layer), times=len(layers))
    roles = role_order(part for part, _ in layers[0])
    by_role: dict[str, list[OpenTensor]] = {role: [] for role in roles}
    for layer in layers:
        for part, tensor in layer:
            by_role.setdefault(part.role, []).append(tensor)
    for role, tensors in by_role.items():
        shapes = sorted({" x ".join(map(str, t.shape)) for t in tensors})
        types = sorted({tensor.type for tensor in tensors})
        detail = f"{' or '.join(shapes[:3])}  {', '.join(types)}"
        label = role.removeprefix(name + " ")
        count = max(1, len(tensors) // len(layers))
        branch.branches.append(_branch(label, tensors, detail, count))
    return branch


def runs(numbers: list[int]) -> str:
    """Numbers as runs: 0-3, 5, 7-9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    told = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join(told[:8]) + (", …" if len(told) > 8 else "")
