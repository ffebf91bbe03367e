"""The Python peers, one process each: a request a line on standard input, an answer a line on standard output.

  peers.py onnxruntime GRAPH FOLDER   onnxruntime and tokenizers, each batch padded to its longest text
  peers.py fastembed GRAPH FOLDER     fastembed with the same graph as a custom model

FOLDER is what `export.py` wrote. One thread each; every text gets the prefix that the model was trained with.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402

PREFIX = "query: "
MAX_TOKENS = 128
Encode = Callable[[list[str]], np.ndarray]


def with_onnxruntime(graph: Path, folder: Path) -> Encode:
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("<pad>"), pad_token="<pad>")

    def encode(texts: list[str]) -> np.ndarray:
        encodings = tokenizer.encode_batch([PREFIX + text for text in texts])
        ids = np.array([encoding.ids for encoding in encodings], np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        return session.run(["vectors"], {"input_ids": ids, "attention_mask": mask})[0]

    encode.ids = lambda text: tokenizer.encode(PREFIX + text).ids  # type: ignore[attr-defined]
    return encode


def with_fastembed(graph: Path, folder: Path) -> Encode:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    model = Path(tempfile.mkdtemp(prefix="fastembed-"))
    for path in [*graph.parent.glob("*.onnx"), *graph.parent.glob("weights.bin"), *folder.glob("*.json")]:
        shutil.copyfile(path, model / path.name)
    TextEmbedding.add_custom_model(
        model="local/encoder",
        pooling=PoolingType.DISABLED,
        normalization=False,
        sources=ModelSource(hf="local/encoder"),
        dim=384,
        model_file=graph.name,
    )
    embedding = TextEmbedding("local/encoder", threads=1, specific_model_path=str(model), lazy_load=False)

    def encode(texts: list[str]) -> np.ndarray:
        return np.array(list(embedding.embed([PREFIX + text for text in texts], batch_size=len(texts))))

    return encode


def main() -> None:
    kind, graph, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    # Whatever a library prints must not stand among the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    encode = {"onnxruntime": with_onnxruntime, "fastembed": with_fastembed}[kind](graph, folder)
    for line in sys.stdin:
        request = json.loads(line)
        batches = request["batches"]
        vectors = encode(batches[0])
        for texts in batches:
            encode(texts)
        seconds = []
        for _ in range(request["runs"]):
            start = time.perf_counter()
            for texts in batches:
                encode(texts)
            seconds.append(time.perf_counter() - start)
        print(json.dumps({"seconds": seconds, "vectors": vectors.tolist()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
