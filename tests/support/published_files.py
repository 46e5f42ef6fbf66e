"""Tiny models of random weights in the forms in which the published ones are published."""

import argparse
import json
import os
import random
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from support.models import seeded
from virnucpro.cli.main import main
from virnucpro.models import DNABERT, DNABERTConfig

DNABERT_SHAPE = DNABERTConfig(layers=2, width=24, heads=3, feed_forward=40, vocabulary=60)
ESM2_WIDTH, ESM2_HEADS, ESM2_LAYERS = 32, 2, 2
INPUT_DIM = DNABERT_SHAPE.width + ESM2_WIDTH
DNABERT_NAMES = {
    "qkv": "attention.self.Wqkv", "out": "attention.output.dense", "attention_norm": "attention.output.LayerNorm",
    "gated": "mlp.gated_layers", "down": "mlp.wo", "feed_forward_norm": "mlp.layernorm",
}  # fmt: skip


class MLPClassifier(nn.Module):
    """The published classifier, pickled as __main__.MLPClassifier."""

    __module__ = "__main__"

    def __init__(self, input_dim, hidden_dim):
        super().__init__()
        self.hidden_layer = nn.Linear(input_dim, hidden_dim)
        self.bn1 = nn.BatchNorm1d(hidden_dim)
        self.output_layer = nn.Linear(hidden_dim, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.output_layer(self.dropout(F.relu(self.bn1(self.hidden_layer(x)))))


def pickle_classifier(path: Path, model: MLPClassifier) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["__main__"], "MLPClassifier", MLPClassifier, raising=False)
        torch.save(model, path)
    return path


def write_tokenizer(path: Path, vocabulary: int) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    letters = random.Random(1)
    tokenizer.train_from_iterator(
        ["".join(letters.choices("ACGT", k=200)) for _ in range(50)],
        trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(path))


@seeded(2)
def write_dnabert(directory: Path, form: str = "pytorch_model.bin", **settings) -> Path:
    """Write a tiny DNABERT-S as it is published."""
    ours = DNABERT(DNABERT_SHAPE).state_dict()
    state = {
        "bert.embeddings.word_embeddings.weight": ours["embedding.weight"],
        "bert.embeddings.token_type_embeddings.weight": torch.randn(2, DNABERT_SHAPE.width),
        "bert.embeddings.LayerNorm.weight": ours["embedding_norm.weight"],
        "bert.embeddings.LayerNorm.bias": ours["embedding_norm.bias"],
        "bert.pooler.dense.weight": torch.randn(DNABERT_SHAPE.width, DNABERT_SHAPE.width),
    }
    for name, value in ours.items():
        if name.startswith("layers."):
            _, number, part, kind = name.split(".")
            state[f"bert.encoder.layer.{number}.{DNABERT_NAMES[part]}.{kind}"] = value
    directory.mkdir()
    (save_file if form.endswith("safetensors") else torch.save)(state, directory / form)
    config = {"model_type": "bert", "num_attention_heads": DNABERT_SHAPE.heads, "layer_norm_eps": 1e-12, **settings}
    (directory / "config.json").write_text(json.dumps(config))
    write_tokenizer(directory / "tokenizer.json", DNABERT_SHAPE.vocabulary)
    (directory / "bert_layers.py").write_text("raise SystemExit('remote code')")
    return directory


@seeded(3)
def write_esm2(directory: Path, form: str = "safetensors", **settings) -> Path:
    """Write a tiny ESM-2 in one of Hugging Face's forms, or as a checkpoint of fair-esm."""
    if form == "fair-esm":
        return write_fair_esm(directory.with_suffix(".pt"))
    from transformers import EsmConfig, EsmForMaskedLM

    config = EsmConfig(
        vocab_size=33, hidden_size=ESM2_WIDTH, num_hidden_layers=ESM2_LAYERS, num_attention_heads=ESM2_HEADS,
        intermediate_size=4 * ESM2_WIDTH, pad_token_id=1, mask_token_id=32, max_position_embeddings=1026,
        position_embedding_type="rotary", token_dropout=True, emb_layer_norm_before=False,
        **{"layer_norm_eps": 1e-5, **settings},
    )  # fmt: skip
    model = EsmForMaskedLM(config)
    if form == "safetensors":
        model.save_pretrained(directory)
    elif form == "sharded safetensors":
        model.save_pretrained(directory, max_shard_size="20KB")
        assert len(list(directory.glob("*.safetensors"))) > 2
    else:
        directory.mkdir()
        config.save_pretrained(directory)
        state = model.state_dict()
        if form == "bin":
            torch.save(state, directory / "pytorch_model.bin", _use_new_zipfile_serialization=False)
        else:
            names = sorted(state)
            places = {name: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, name in enumerate(names)}
            for place in set(places.values()):
                torch.save({name: state[name] for name in names if places[name] == place}, directory / place)
            (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    return directory


@seeded(4)
def write_fair_esm(path: Path, heads: object = ESM2_HEADS) -> Path:
    from esm.model.esm2 import ESM2 as FairESM2  # noqa: N811

    state = {}
    for name, value in FairESM2(ESM2_LAYERS, ESM2_WIDTH, ESM2_HEADS, "ESM-1b").state_dict().items():
        head = "encoder." if name.startswith("lm_head.") else "encoder.sentence_encoder."
        if not name.startswith("contact_head."):
            state[head + name] = value
    torch.save({"cfg": {"model": argparse.Namespace(encoder_attention_heads=heads)}, "model": state}, path)
    return path


def run_command(models: str, arguments: list[str]) -> None:
    """Run the command line where models lie in a folder, as the whole work of a process."""
    os.environ["VIRNUCPRO_MODELS"] = models
    main(arguments)
