"""Reads a Hugging Face style folder: config.json, model.safetensors, tokenizer.json.

BERT and XLM-RoBERTa encoders with a WordPiece or Unigram tokenizer, optionally with the files of a
sentence-transformers model beside them, which say how token vectors are pooled.
"""

from __future__ import annotations

import base64
import json
import struct
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from encoder import Architecture, BuildError, Encoder, Unigram, WordPiece, check

_LAYER_NAMES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "expand",
    "output.dense": "shrink",
    "output.LayerNorm": "output_norm",
}
_MODELS = ("bert", "xlm-roberta", "roberta")


def read(folder: Path, origin: dict[str, str], prefix: str = "") -> Encoder:
    """Reads the folder; `prefix` is what the model was trained to see before every text."""
    config = _json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in _MODELS:
        raise BuildError(f"{folder / 'config.json'}: the architecture {kind!r} is not one of {', '.join(_MODELS)}")
    for name, want in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if config.get(name, want) != want:
            raise BuildError(f"{folder / 'config.json'}: {name} is {config[name]!r}; only {want!r} is supported")
    try:
        architecture = Architecture(
            config["hidden_size"],
            config["num_hidden_layers"],
            config["num_attention_heads"],
            config["intermediate_size"],
            config["layer_norm_eps"],
            _pooling(folder),
        )
    except KeyError as missing:
        raise BuildError(f"{folder / 'config.json'}: {missing} is missing") from None
    # RoBERTa counts positions from the one after the padding id.
    first = 0 if kind == "bert" else config.get("pad_token_id", 1) + 1
    tensors = _tensors(folder / "model.safetensors", architecture, first)
    encoder = Encoder(architecture, _tokenizer(folder / "tokenizer.json"), tensors, prefix, origin)
    check(encoder, str(folder / "model.safetensors"))
    return encoder


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BuildError(f"{path}: the file is missing") from None
    except ValueError as error:
        raise BuildError(f"{path}: not JSON: {error}") from None


def _pooling(folder: Path) -> str:
    path = folder / "1_Pooling" / "config.json"
    if not path.exists():
        return "mean"
    on = {name for name, value in _json(path).items() if name.startswith("pooling_mode_") and value is True}
    if on == {"pooling_mode_mean_tokens"}:
        return "mean"
    if on == {"pooling_mode_cls_token"}:
        return "cls"
    raise BuildError(f"{path}: the pooling {sorted(on)} is not supported, only mean_tokens or cls_token")


def _tensors(path: Path, architecture: Architecture, first: int) -> dict[str, np.ndarray]:
    stored = _safetensors(path)
    # The encoder may be a part of a larger model, as in `bert.encoder.layer.0…`.
    base = next((name.removesuffix("embeddings.word_embeddings.weight") for name in stored if "word_embeddings" in name), "")

    def take(name: str) -> np.ndarray:
        if base + name not in stored:
            raise BuildError(f"{path}: the tensor {base + name} is missing")
        return stored[base + name]

    tensors = {
        "word": take("embeddings.word_embeddings.weight"),
        # Every token has type 0, so its vector can be added to the positions once and for all.
        "position": take("embeddings.position_embeddings.weight")[first:] + take("embeddings.token_type_embeddings.weight")[0],
        "norm.weight": take("embeddings.LayerNorm.weight"),
        "norm.bias": take("embeddings.LayerNorm.bias"),
    }
    for layer in range(architecture.layers):
        for theirs, ours in _LAYER_NAMES.items():
            weight = take(f"encoder.layer.{layer}.{theirs}.weight")
            tensors[f"{layer}.{ours}.weight"] = weight.T if weight.ndim == 2 else weight
            tensors[f"{layer}.{ours}.bias"] = take(f"encoder.layer.{layer}.{theirs}.bias")
    return tensors


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    """A u64 header length, the header as JSON (name: dtype, shape, data_offsets), then the data."""
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
    except FileNotFoundError:
        raise BuildError(f"{path}: the file is missing") from None
    try:
        (length,) = struct.unpack("<Q", data[:8].tobytes())
        header = json.loads(data[8 : 8 + length].tobytes())
    except (ValueError, struct.error):
        raise BuildError(f"{path}: not a safetensors file") from None
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in ("F32", "F16", "BF16"):
            continue
        start, end = entry["data_offsets"]
        raw = data[8 + length + start : 8 + length + end]
        if raw.size != end - start:
            raise BuildError(f"{path}: the file is cut short at the tensor {name}")
        if entry["dtype"] == "BF16":
            # The upper half of an f32.
            values = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = raw.view("<f4" if entry["dtype"] == "F32" else "<f2").astype(np.float32)
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def _tokenizer(path: Path) -> Unigram | WordPiece:
    stored = _json(path)
    model = stored.get("model", {})
    # Some files leave the type out; only Unigram has a list of [piece, score].
    kind = model.get("type") or ("Unigram" if isinstance(model.get("vocab"), list) else "WordPiece")
    if kind == "Unigram":
        return _unigram(path, stored)
    if kind == "WordPiece":
        return _wordpiece(path, stored)
    raise BuildError(f"{path}: the tokenizer {kind!r} is not supported, only WordPiece or Unigram")


def _unigram(path: Path, stored: dict[str, Any]) -> Unigram:
    model = stored["model"]
    if model.get("byte_fallback"):
        raise BuildError(f"{path}: a tokenizer with byte fallback is not supported")
    pieces = [piece for piece, _ in model["vocab"]]
    scores = [score for _, score in model["vocab"]]
    ids = _ids(path, pieces, stored, ("<s>", "</s>", "<pad>"))
    return Unigram(pieces, scores, ids["<s>"], ids["</s>"], ids["<pad>"], model["unk_id"], _characters(path, stored))


def _wordpiece(path: Path, stored: dict[str, Any]) -> WordPiece:
    model, normalizer = stored["model"], stored.get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer" or not normalizer.get("clean_text", True):
        raise BuildError(f"{path}: the normalizer {normalizer.get('type')!r} is not BERT's")
    if (stored.get("pre_tokenizer") or {}).get("type") != "BertPreTokenizer":
        raise BuildError(f"{path}: the pre-tokenizer is not BERT's")
    if model.get("continuing_subword_prefix", "##") != "##":
        raise BuildError(f"{path}: pieces that continue a word are not written with ##")
    pieces = [piece for piece, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    ids = _ids(path, pieces, stored, ("[CLS]", "[SEP]", "[PAD]", "[UNK]"))
    lowercase, strip = normalizer["lowercase"], normalizer.get("strip_accents")
    return WordPiece(
        pieces,
        ids["[CLS]"],
        ids["[SEP]"],
        ids["[PAD]"],
        ids["[UNK]"],
        lowercase=lowercase,
        strip_accents=lowercase if strip is None else strip,
        split_ideographs=normalizer.get("handle_chinese_chars", True),
        word_limit=model.get("max_input_chars_per_word", 100),
    )


def _ids(path: Path, pieces: list[str], stored: dict[str, Any], names: tuple[str, ...]) -> dict[str, int]:
    ids = {piece: i for i, piece in enumerate(pieces)}
    ids |= {token["content"]: token["id"] for token in stored.get("added_tokens", [])}
    missing = [name for name in names if name not in ids]
    if missing:
        raise BuildError(f"{path}: the tokens {', '.join(missing)} are missing")
    return {name: ids[name] for name in names}


def _characters(path: Path, stored: dict[str, Any]) -> dict[int, str]:
    """What single code points become, from a compiled SentencePiece map or from Unicode."""
    normalizer = stored.get("normalizer") or {}
    steps = normalizer.get("normalizers", [normalizer])
    for step in steps:
        if step.get("type") == "Precompiled":
            return _compiled(path, base64.b64decode(step["precompiled_charsmap"]))
    if any(step.get("type") == "NFKC" for step in steps):
        singles = ((code, unicodedata.normalize("NFKC", chr(code))) for code in range(0x110000))
        return {code: text for code, text in singles if text != chr(code)}
    raise BuildError(f"{path}: the normalizer has neither a Precompiled map nor NFKC")


def _compiled(path: Path, data: bytes) -> dict[int, str]:
    """Single code points of a SentencePiece map: u32 trie bytes, a double array, then strings that end with NUL."""
    (size,) = struct.unpack_from("<I", data)
    units = np.frombuffer(data, "<u4", size // 4, 4).tolist()
    strings = data[4 + size :]

    def lookup(key: bytes) -> int | None:
        at = _offset(units[0])
        for byte in key:
            at ^= byte
            if at >= len(units) or units[at] & 0x800000FF != byte:
                return None
            leaf, at = units[at] >> 8 & 1, at ^ _offset(units[at])
        return units[at] & 0x7FFFFFFF if leaf else None

    characters = {}
    for code in (*range(1, 0xD800), *range(0xE000, 0x110000)):
        start = lookup(chr(code).encode())
        if start is not None:
            characters[code] = strings[start : strings.index(0, start)].decode()
    if not characters:
        raise BuildError(f"{path}: the normalizer's map has no characters")
    return characters


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)
