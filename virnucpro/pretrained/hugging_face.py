"""Read and write a language model in the format of Hugging Face: encoder, head and other tensors.

`weights.py` has the tables from published names to ours; this module has those of the head, and all tables back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import save_file

from virnucpro.models.dnabert_flash import DNABERT, DNABERTConfig
from virnucpro.models.encoder import PackedEncoder
from virnucpro.models.esm2_flash import ESM2, ESM2Config
from virnucpro.models.masked_head import MaskedHead
from virnucpro.pretrained.repository import CONFIG, WEIGHT_FILES
from virnucpro.pretrained.weights import (
    DNABERT_S,
    ESM2_FAIR,
    ESM2_HUGGING_FACE,
    State,
    Table,
    check_fit,
    load_state,
    map_keys,
    shapes_only,
)

Config = TypeVar("Config", ESM2Config, DNABERTConfig)

# DNABERT writes the bias of its decoder twice.
ESM2_HEAD: Table = (
    (r"(?:encoder\.)?lm_head\.dense\.(weight|bias)", r"dense.\1"),
    (r"(?:encoder\.)?lm_head\.layer_norm\.(weight|bias)", r"norm.\1"),
    (r"(?:encoder\.)?lm_head\.(?:decoder\.)?weight", "decoder.weight"),
    (r"(?:encoder\.)?lm_head\.bias", "decoder.bias"),
)
DNABERT_HEAD: Table = (
    (r"cls\.predictions\.transform\.dense\.(weight|bias)", r"dense.\1"),
    (r"cls\.predictions\.transform\.LayerNorm\.(weight|bias)", r"norm.\1"),
    (r"cls\.predictions\.decoder\.(weight|bias)", r"decoder.\1"),
    (r"cls\.predictions\.bias", ""),
)
# The settings of ESM-2 beside its shape; other models of its family differ here.
ESM2_SETTINGS = {"position_embedding_type": "rotary", "layer_norm_eps": 1e-5}
_OF_HEAD = r"((encoder\.)?lm_head|cls\.predictions)\..+"

_ESM2_BACK: Table = (
    (r"layers\.(\d+)\.q\.(.+)", r"encoder.layer.\1.attention.self.query.\2"),
    (r"layers\.(\d+)\.k\.(.+)", r"encoder.layer.\1.attention.self.key.\2"),
    (r"layers\.(\d+)\.v\.(.+)", r"encoder.layer.\1.attention.self.value.\2"),
    (r"layers\.(\d+)\.out\.(.+)", r"encoder.layer.\1.attention.output.dense.\2"),
    (r"layers\.(\d+)\.attention_norm\.(.+)", r"encoder.layer.\1.attention.LayerNorm.\2"),
    (r"layers\.(\d+)\.up\.(.+)", r"encoder.layer.\1.intermediate.dense.\2"),
    (r"layers\.(\d+)\.down\.(.+)", r"encoder.layer.\1.output.dense.\2"),
    (r"layers\.(\d+)\.feed_forward_norm\.(.+)", r"encoder.layer.\1.LayerNorm.\2"),
    (r"norm\.(.+)", r"encoder.emb_layer_norm_after.\1"),
    (r"embedding\.weight", "embeddings.word_embeddings.weight"),
)
_ESM2_HEAD_BACK: Table = (
    (r"dense\.(.+)", r"lm_head.dense.\1"),
    (r"norm\.(.+)", r"lm_head.layer_norm.\1"),
    (r"decoder\.weight", "lm_head.decoder.weight"),
    (r"decoder\.bias", "lm_head.bias"),
)
_DNABERT_BACK: Table = (
    (r"layers\.(\d+)\.qkv\.(.+)", r"encoder.layer.\1.attention.self.Wqkv.\2"),
    (r"layers\.(\d+)\.out\.(.+)", r"encoder.layer.\1.attention.output.dense.\2"),
    (r"layers\.(\d+)\.attention_norm\.(.+)", r"encoder.layer.\1.attention.output.LayerNorm.\2"),
    (r"layers\.(\d+)\.gated\.(.+)", r"encoder.layer.\1.mlp.gated_layers.\2"),
    (r"layers\.(\d+)\.down\.(.+)", r"encoder.layer.\1.mlp.wo.\2"),
    (r"layers\.(\d+)\.feed_forward_norm\.(.+)", r"encoder.layer.\1.mlp.layernorm.\2"),
    (r"embedding\.weight", "embeddings.word_embeddings.weight"),
    (r"token_type", "embeddings.token_type_embeddings.weight"),
    (r"embedding_norm\.(.+)", r"embeddings.LayerNorm.\1"),
)
_DNABERT_HEAD_BACK: Table = (
    (r"dense\.(.+)", r"cls.predictions.transform.dense.\1"),
    (r"norm\.(.+)", r"cls.predictions.transform.LayerNorm.\1"),
    (r"decoder\.(.+)", r"cls.predictions.decoder.\1"),
)


@dataclass(frozen=True, slots=True)
class Names:
    """How an architecture names its tensors: tables of the encoder and the head, to our names and back; the prefix."""

    encoder: Table
    head: Table
    encoder_back: Table
    head_back: Table
    prefix: str  # of the encoder in a model that has a head
    decoder: str = ""  # the head's matrix


ESM2_NAMES = Names(ESM2_HUGGING_FACE, ESM2_HEAD, _ESM2_BACK, _ESM2_HEAD_BACK, "esm.", "lm_head.decoder.weight")
DNABERT_NAMES = Names(
    DNABERT_S, DNABERT_HEAD, _DNABERT_BACK, _DNABERT_HEAD_BACK, "bert.", "cls.predictions.decoder.weight"
)
FAIR_NAMES = Names(ESM2_FAIR, ESM2_HEAD, (), (), "encoder.sentence_encoder.")  # is never written


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a file: encoder and head under our names; the head is empty if the file has none.

    `rest` has the other tensors, such as a contact head or a classifier, under the names of the file. `prefix` is the
    beginning of the encoder's names in the file. A decoder that is the embedding table is not part of the head.
    """

    encoder: State
    head: State = field(default_factory=dict)
    rest: State = field(default_factory=dict)
    prefix: str = ""

    @property
    def whole_head(self) -> State:
        """The head with its decoder, which defaults to the embedding table; empty without a head."""
        return {"decoder.weight": self.encoder["embedding.weight"], **self.head} if self.head else {}


@dataclass(frozen=True, slots=True)
class Published(Generic[Config]):
    """A language model from files: its shape, its weights and the file's config.json."""

    config: Config
    weights: Weights
    settings: dict[str, Any] = field(default_factory=dict)

    def check(self, source: str) -> None:
        """Check names, shapes and types of all weights.

        Raises:
            ModelError: they do not fit; the message names `source`.
        """
        network, head = build(self.config, bool(self.weights.head))
        check_fit(network, self.weights.encoder, source)
        if head is not None:
            check_fit(head, self.weights.whole_head, f"the head of {source}")

    def modules(self, source: str) -> tuple[PackedEncoder, MaskedHead | None]:
        """Return the encoder and the head, float32 on the CPU, in evaluation mode; errors are those of `check`."""
        self.check(source)
        network, head = build(self.config, bool(self.weights.head))
        load_state(network, self.weights.encoder, source)
        if head is not None:
            load_state(head, self.weights.whole_head, source)
            if "decoder.weight" not in self.weights.head:
                head.tie(network.embedding)
            head.eval()
        return network.eval(), head


def build(config: ESM2Config | DNABERTConfig, with_head: bool) -> tuple[PackedEncoder, MaskedHead | None]:
    """Return the modules of a language model without weights, on the meta device."""
    with shapes_only():
        if isinstance(config, ESM2Config):
            return ESM2(config), MaskedHead(config.width, config.vocabulary) if with_head else None
        return DNABERT(config), MaskedHead(config.width, config.vocabulary, config.eps) if with_head else None


def read_state(state: Mapping[str, torch.Tensor], names: Names, source: str) -> Weights:
    """Return the weights of a published state dict.

    Raises:
        ModelError: a tensor is unknown, or given twice.
    """
    encoder = map_keys(state, names.encoder, source)
    head = map_keys({key: value for key, value in state.items() if re.fullmatch(_OF_HEAD, key)}, names.head, source)
    unused = [pattern for pattern, ours in names.encoder if not ours]
    rest = {
        key: value
        for key, value in state.items()
        if not re.fullmatch(_OF_HEAD, key) and any(re.fullmatch(pattern, key) for pattern in unused)
    }
    prefix = names.prefix if any(key.startswith(names.prefix) for key in state) else ""
    return Weights(encoder, without_tied(head, encoder), rest, prefix)


def without_tied(head: State, encoder: State) -> State:
    """Return the weights of a head, without its decoder if that equals the embedding table."""
    decoder, embedding = head.get("decoder.weight"), encoder.get("embedding.weight")
    if decoder is None or embedding is None or decoder.dtype != embedding.dtype or not torch.equal(decoder, embedding):
        return head
    return {key: value for key, value in head.items() if key != "decoder.weight"}


def written_state(
    network: PackedEncoder, head: MaskedHead | None, names: Names, prefix: str, rest: Mapping[str, torch.Tensor]
) -> State:
    """Return encoder, head and the rest under the published names; the tensors share memory with the modules."""
    ours = {key: value.detach() for key, value in network.state_dict().items()}
    if names is ESM2_NAMES:
        for key in [key for key in ours if ".qkv." in key]:
            parts = ours.pop(key).chunk(3)
            ours |= {key.replace(".qkv.", f".{part}."): value for part, value in zip("qkv", parts, strict=True)}
    state = {prefix + key: value for key, value in map_keys(ours, names.encoder_back, "the encoder").items()}
    if head is not None:
        own = {key: value.detach() for key, value in head.state_dict().items()}
        state |= map_keys(own, names.head_back, "the head")
    return {**state, **rest}


def write_files(folder: Path, state: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> None:
    """Write config.json and model.safetensors of a state dict whose tensors share no memory."""
    path = folder / WEIGHT_FILES[0]
    save_file({key: value.contiguous().cpu() for key, value in state.items()}, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes it readable only by its owner
    (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def settings_of(config: ESM2Config | DNABERTConfig, with_head: bool) -> dict[str, Any]:
    """Return the config.json of a language model, as transformers reads it."""
    shared = {
        "vocab_size": config.vocabulary, "hidden_size": config.width, "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads, "hidden_act": "gelu", "pad_token_id": config.pad_token,
    }  # fmt: skip
    if isinstance(config, DNABERTConfig):
        own = {"intermediate_size": config.feed_forward, "layer_norm_eps": config.eps}
        return {"architectures": ["BertForMaskedLM" if with_head else "BertModel"], "model_type": "bert"} | shared | own
    return {
        "architectures": ["EsmForMaskedLM" if with_head else "EsmModel"], "model_type": "esm",
        **shared, **ESM2_SETTINGS, "intermediate_size": 4 * config.width, "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0, "max_position_embeddings": 1026, "emb_layer_norm_before": False,
        "token_dropout": config.token_dropout, "mask_token_id": config.mask_token,
    }  # fmt: skip
