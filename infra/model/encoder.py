"""The form every source is read into: the architecture, FP32 tensors and tokenizer of a sentence encoder."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


class BuildError(Exception):
    """A reason to stop, as one sentence that says what is wrong and where."""


@dataclass(frozen=True)
class Architecture:
    """A post-norm BERT encoder; `pooling` turns its token vectors into one: `mean` over the tokens, or `cls`."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    epsilon: float
    pooling: str


@dataclass
class Unigram:
    """A SentencePiece unigram vocabulary: characters are mapped, composed (NFC), then split by the best score."""

    pieces: list[str]
    scores: list[float]
    begin: int
    end: int
    pad: int
    unknown: int
    characters: dict[int, str]
    """What a single code point becomes; all others stay."""

    kind: str = "unigram"

    def specials(self) -> set[int]:
        """Ids that no text may produce."""
        marks = {i for i, piece in enumerate(self.pieces) if piece in ("<s>", "</s>", "<pad>", "<unk>", "<mask>")}
        return marks | {self.begin, self.end, self.pad, self.unknown}


@dataclass
class WordPiece:
    """A BERT vocabulary: basic tokenizer, then the longest piece first; `##` continues a word."""

    pieces: list[str]
    begin: int
    end: int
    pad: int
    unknown: int
    lowercase: bool
    strip_accents: bool
    split_ideographs: bool
    word_limit: int
    """Longer words, in characters, are unknown."""

    kind: str = "wordpiece"

    def specials(self) -> set[int]:
        """Ids that no text may produce."""
        marks = {i for i, piece in enumerate(self.pieces) if piece in ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]")}
        return marks | {self.begin, self.end, self.pad, self.unknown}


@dataclass
class Encoder:
    """Tensors by our names (see `tensor_shapes`), matrices as [in, out]."""

    architecture: Architecture
    tokenizer: Unigram | WordPiece
    tensors: dict[str, np.ndarray] = field(repr=False)
    prefix: str
    """What the model was trained to see before every text."""

    origin: dict[str, str]
    """Where it comes from, for the manifest: name, version, licence."""


LAYER_MATRICES = ("query", "key", "value", "attention", "expand", "shrink")


def tensor_shapes(architecture: Architecture) -> dict[str, tuple[int | None, ...]]:
    """Every tensor an encoder must have, with its shape; None where the size is the source's own."""
    hidden, wide = architecture.hidden, architecture.intermediate
    shapes: dict[str, tuple[int | None, ...]] = {
        "word": (None, hidden),
        "position": (None, hidden),
        "norm.weight": (hidden,),
        "norm.bias": (hidden,),
    }
    for layer in range(architecture.layers):
        for name in LAYER_MATRICES:
            rows = wide if name == "shrink" else hidden
            columns = wide if name == "expand" else hidden
            shapes[f"{layer}.{name}.weight"] = (rows, columns)
            shapes[f"{layer}.{name}.bias"] = (columns,)
        for name in ("attention_norm", "output_norm"):
            shapes[f"{layer}.{name}.weight"] = (hidden,)
            shapes[f"{layer}.{name}.bias"] = (hidden,)
    return shapes


def check(encoder: Encoder, where: str) -> None:
    """Stops when a tensor is missing or has another shape than the architecture asks for."""
    architecture = encoder.architecture
    if architecture.hidden % architecture.heads:
        raise BuildError(f"{where}: {architecture.heads} heads do not divide a hidden size of {architecture.hidden}")
    for name, shape in tensor_shapes(architecture).items():
        tensor = encoder.tensors.get(name)
        if tensor is None:
            raise BuildError(f"{where}: the tensor {name} is missing")
        if len(tensor.shape) != len(shape) or any(want not in (None, got) for want, got in zip(shape, tensor.shape)):
            raise BuildError(f"{where}: the tensor {name} has the shape {tensor.shape}, expected {shape}")
    pieces, rows = len(encoder.tokenizer.pieces), encoder.tensors["word"].shape[0]
    if pieces > rows:
        raise BuildError(f"{where}: the tokenizer has {pieces} pieces but the model only {rows} word vectors")
