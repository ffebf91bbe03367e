"""What both peers are made of: the encoder and the knowledge of `shared/encoder` and `shared/knowledge`, in Python.

The graph and its weights are the very files, with the same options of ONNX Runtime. The tokenizer is the package
`tokenizers` with the same vocabulary, the decision the same arithmetic in numpy on float32.
"""

from __future__ import annotations

import json
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

# numpy's threads wait for each other by spinning, and would take from the workers what they need.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

PREFIX = "query: "
# What the cosine of the nearest example counts for, beside the classifier's score (shared/knowledge, neighbours.rs).
NEAREST = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the bot says; `intent` where it knows."""

    text: str
    suggestions: list[str]
    language: str
    intent: str | None


class Bot:
    """Texts in, answers out. Threads may share it: a run of the model lets other threads go on."""

    def __init__(self, model: Path, data: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            str(model / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer = Tokenizer.from_file(str(data / "tokenizer.json"))
        known = json.loads((data / "knowledge.json").read_bytes())
        self.languages: list[str] = known["languages"]
        self.default: str = known["default_language"]
        self.texts: dict[str, dict[str, str]] = known["texts"]
        self.thresholds: dict[str, float] = known["thresholds"]
        self.intents: list[dict] = known["intents"]
        self.wordings: dict[str, int] = known["wordings"]
        with np.load(data / "knowledge.npz") as arrays:
            self.weights = np.ascontiguousarray(arrays["topics_weights"].T)
            self.biases = arrays["topics_biases"]
            self.examples = np.ascontiguousarray(arrays["examples"].T)
            self.starts = arrays["starts"]

    def answer(self, texts: list[str]) -> list[Answer]:
        """Answers questions, encoded in one run."""
        encodings = self.tokenizer.encode_batch_fast([PREFIX + text for text in texts])
        inputs = {
            "input_ids": np.array([encoding.ids for encoding in encodings], np.int64),
            "attention_mask": np.array([encoding.attention_mask for encoding in encodings], np.int64),
        }
        (vectors,) = self.session.run(["vectors"], inputs)
        scores = vectors @ self.weights + self.biases
        scores += NEAREST * np.maximum.reduceat(vectors @ self.examples, self.starts, axis=1)
        scores /= self.thresholds["temperature"]
        return [self._decide(text, row) for text, row in zip(texts, scores)]

    def _decide(self, text: str, scores: np.ndarray) -> Answer:
        language = self._language(text)
        intent = self.wordings.get(key(text))
        if intent is not None:
            return self._known(intent, language)
        chances = np.exp(scores - scores.max())
        chances /= chances.sum()
        # The last class is the background, which stands for everything the pack does not answer.
        nearest = np.argsort(chances[:-1])[:-4:-1]
        first, second = chances[nearest[0]], chances[nearest[1]]
        if first >= self.thresholds["answer"] and first - second >= self.thresholds["margin"]:
            return self._known(int(nearest[0]), language)
        if chances[nearest].sum() >= self.thresholds["suggest"]:
            titles = [self._in(self.intents[place]["titles"], language) for place in nearest]
            return Answer(self._in(self.texts["did_you_mean"], language), titles, language, None)
        return Answer(self._in(self.texts["fallback"], language), [], language, None)

    def _known(self, place: int, language: str) -> Answer:
        intent = self.intents[place]
        titles = [self._in(self.intents[other]["titles"], language) for other in intent["suggestions"]]
        return Answer(self._in(intent["answers"], language), titles, language, intent["id"])

    def _language(self, text: str) -> str:
        """By script, which tells Chinese from English; where it tells nothing, the default."""
        ideographs = sum("\u3400" <= c <= "\u9fff" for c in text)
        words = sum(any(c.isascii() and c.isalpha() for c in word) for word in text.split())
        if not ideographs and not words:
            return self.default
        language = "zh" if ideographs >= words else "en"
        return language if language in self.languages else self.default

    def _in(self, texts: dict[str, str], language: str) -> str:
        return texts.get(language) or texts[self.default]


def key(text: str) -> str:
    """The text without case, spaces and punctuation (shared/knowledge, wording.rs)."""
    narrow = (chr(ord(c) - 0xFEE0) if "\uff01" <= c <= "\uff5e" else c for c in text)
    return "".join(c for c in narrow if unicodedata.category(c)[0] not in "ZPC" and c not in "$+<=>^`|~").lower()
