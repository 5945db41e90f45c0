"""BERT and RoBERTa as transformers saves them: keys of config.json, tensor names.

Room: loading. Source: the saved form of BertModel and RobertaModel, transformers 5.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.models.bert import Bert as Model
from freehold.models.bert import BertConfig

__all__ = ["Model", "file_name", "prefix_of", "read_config", "unused_tensor"]

_TOP = {
    "embed": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "embed_norm": "embeddings.LayerNorm",
}
_LAYER = {
    "attn.q": "attention.self.query",
    "attn.k": "attention.self.key",
    "attn.v": "attention.self.value",
    "attn.out": "attention.output.dense",
    "attn_norm": "attention.output.LayerNorm",
    "mlp.up": "intermediate.dense",
    "mlp.down": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
_LAYER_NAME = re.compile(r"layers\.(\d+)\.(.+)")
# What checkpoints hold besides: a counting row, and the head of a pre-training task.
_UNUSED = frozenset({"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"})
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_IGNORED = {
    "_name_or_path": "where the checkpoint came from",
    "architectures": "the class it was saved from; tensors are matched by name",
    "model_type": "chose this table",
    "transformers_version": "who wrote the file",
    "torch_dtype": "the tensors carry their types",
    "dtype": "the tensors carry their types",
    "attention_probs_dropout_prob": "training only",
    "hidden_dropout_prob": "training only",
    "classifier_dropout": "training only",
    "initializer_range": "training only",
    "gradient_checkpointing": "training only",
    "use_cache": "an encoder keeps no cache",
    "chunk_size_feed_forward": "how to compute, not what",
    "output_attentions": "what to return besides",
    "output_hidden_states": "what to return besides",
    "output_past": "what to return besides",
    "return_dict": "what to return besides",
    "torchscript": "how to export",
    "bos_token_id": "the tokenizer knows",
    "eos_token_id": "the tokenizer knows",
    "pad_token_id": "nothing is padded here; RoBERTa's positions count from it, read below",
    "tie_word_embeddings": "of a head that embedders lack",
    "pooler_fc_size": "of a head that embedders lack",
    "pooler_num_attention_heads": "of a head that embedders lack",
    "pooler_num_fc_layers": "of a head that embedders lack",
    "pooler_size_per_head": "of a head that embedders lack",
    "pooler_type": "of a head that embedders lack",
    "directionality": "says that it is an encoder",
    "id2label": "of a head that embedders lack",
    "label2id": "of a head that embedders lack",
    "num_labels": "of a head that embedders lack",
    "problem_type": "of a head that embedders lack",
    "finetuning_task": "of a head that embedders lack",
    "cross_attention_hidden_size": "of a decoder",
    "tokenizer_class": "the tokenizer's own file says",
}


def file_name(canonical: str) -> str:
    """The tensor's name in the file, without a prefix."""
    kind = "weight"
    if canonical.endswith("_bias"):
        canonical, kind = canonical.removesuffix("_bias"), "bias"
    match = _LAYER_NAME.fullmatch(canonical)
    if match is None:
        return f"{_TOP[canonical]}.{kind}"
    return f"encoder.layer.{match[1]}.{_LAYER[match[2]]}.{kind}"


def prefix_of(names: Collection[str]) -> str:
    """What a checkpoint of a larger model puts before names: "bert.", "roberta." or nothing."""
    for prefix in ("bert.", "roberta."):
        if prefix + "embeddings.word_embeddings.weight" in names:
            return prefix
    return ""


def unused_tensor(name: str) -> bool:
    """Whether an encoder may leave this tensor of the file alone."""
    return name in _UNUSED


def read_config(metadata: Mapping[str, object], model_type: str) -> BertConfig:
    """The configuration that config.json describes.

    Raises: BadConfig, UnknownConfigKey.
    """
    keys = Keys({f"{model_type}.{key}": value for key, value in metadata.items()}, model_type)
    for key, reason in _IGNORED.items():
        keys.ignore(key, reason)
    keys.absent_or("position_embedding_type", "absolute", "positions are learned")
    keys.absent_or("is_decoder", False, "every token sees the whole text")
    keys.absent_or("is_encoder_decoder", False, "every token sees the whole text")
    keys.absent_or("add_cross_attention", False, "there is one stack of layers")
    keys.absent_or("pruned_heads", {}, "all heads are of one width")
    width = keys.integer("hidden_size")
    heads = keys.integer("num_attention_heads", most=1 << 12)
    if width % heads:
        raise BadConfig(
            "hidden_size is not a multiple of num_attention_heads",
            family=model_type,
            expected=f"a multiple of {heads}",
            found=str(width),
        )
    # RoBERTa counts positions from one past its padding token's id.
    padding = keys.integer("pad_token_id", default=1, least=0) if model_type != "bert" else -1
    config = BertConfig(
        vocabulary=keys.integer("vocab_size"),
        positions=keys.integer("max_position_embeddings"),
        types=keys.integer("type_vocab_size"),
        layers=keys.integer("num_hidden_layers", most=4096),
        width=width,
        heads=heads,
        mlp_width=keys.integer("intermediate_size"),
        eps=keys.number("layer_norm_eps"),
        activation=_ACTIVATIONS[
            keys.word("hidden_act", default="gelu", allowed=tuple(_ACTIVATIONS))
        ],
        first_position=padding + 1,
    )
    if config.positions <= config.first_position:
        raise BadConfig(
            "max_position_embeddings leaves no position for a token",
            family=model_type,
            expected=f"more than {config.first_position}",
            found=str(config.positions),
        )
    keys.finish()
    return config
