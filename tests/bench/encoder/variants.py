#!/usr/bin/env python3
"""Variants of the built INT8 graph, timed in turn with ONNX Runtime; writes target/bench/encoder-variants.json.

Each variant is made of target/model/current (built with --keep-fp32) by changing its graph, so that everything else
stays the same. Beside the times stands the cosine of its vectors to those of FP32 on infra/model/check/questions.tsv.

Examples:
  taskset -c 1 target/venv/bench-encoder/bin/python tests/bench/encoder/variants.py
  ... variants.py --only 'attention fused' --only 'built'      # some of them
  ... variants.py --list
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "target/model/current"
PEERS = ROOT / "target/bench/encoder-peers"
OUT = ROOT / "target/bench/encoder-variants.json"
SHAPES = [(1, 8), (1, 16), (1, 64), (1, 128), (10, 16), (10, 32), (32, 32), (32, 128)]
PROFILED = [(1, 8), (1, 128), (10, 16), (32, 128)]
MS = "com.microsoft"
Level = onnxruntime.GraphOptimizationLevel


class Graph:
    """A graph whose nodes can be replaced; they are sorted when it is written."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path)
        self.nodes = {node.name: node for node in self.model.graph.node}
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}

    def value(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.constants[name])

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def drop(self, *names: str) -> None:
        for name in names:
            del self.nodes[name]

    def node(self, kind: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: object) -> None:
        name = outputs[0] + "/" + kind
        self.nodes[name] = helper.make_node(kind, inputs, outputs, name, domain=domain, **attributes)

    def of_kind(self, kind: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes.values() if node.op_type == kind]

    def layers(self) -> Iterator[int]:
        return iter(range(sum(name.endswith(".expand.gelu") for name in self.nodes)))

    def bytes(self) -> bytes:
        known = {value.name for value in self.model.graph.input} | set(self.constants) | {""}
        waiting, ordered = list(self.nodes.values()), []
        while waiting:
            ready = [node for node in waiting if known.issuperset(node.input)]
            assert ready, f"inputs nobody makes: {set(waiting[0].input) - known}"
            ordered += ready
            known.update(name for node in ready for name in node.output)
            waiting = [node for node in waiting if not known.issuperset(node.output)]
        used = {name for node in ordered for name in node.input}
        graph = self.model.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(ordered)
        graph.initializer.extend(tensor for name, tensor in self.constants.items() if name in used)
        return self.model.SerializeToString()


# ---- The variants: each changes the graph it is given ----


def fused_attention(graph: Graph, mask: bool = True) -> None:
    """One operator for what is between the three products and the quantised mix."""
    if mask:
        graph.node("Cast", ["attention_mask"], ["mask.int"], to=TensorProto.INT32)
    quantised = any(graph.of_kind("QuantizeLinear"))
    for i in graph.layers():
        parts = [f"{i}.{name}.{step}" for name in ("query", "key", "value") for step in ("parts", "heads")]
        scores = next(name for name in graph.nodes if name.startswith(f"{i}.dots"))
        graph.drop(*parts, scores, f"{i}.scores", f"{i}.shares", f"{i}.mixed", f"{i}.mixed.tokens", f"{i}.mixed.joined")
        if f"{i}.scaled" in graph.nodes:
            graph.drop(f"{i}.scaled")
        inputs = [f"{i}.query.sum", f"{i}.key.sum", f"{i}.value.sum", "", "mask.int" if mask else ""]
        mixed = f"{i}.mix" if quantised else f"{i}.mixed.joined"
        graph.node("MultiHeadAttention", inputs, [mixed], MS, num_heads=12, scale=32**-0.5)
        if quantised:
            graph.drop(f"{i}.mixed_q")
            scale = [f"{i}.mixed.joined_scale", f"{i}.mixed.joined_zero_point"]
            graph.node("QuantizeLinear", [mixed, *scale], [f"{i}.mixed.joined_quantized"])


def one_product(graph: Graph) -> None:
    """Query, key and value by one product, then split."""
    for i in graph.layers():
        old = [graph.nodes[f"{i}.{name}.sum"] for name in ("query", "key", "value")]
        joined = [
            graph.constant(f"{i}.qkv.{at}", np.concatenate([graph.value(node.input[at]) for node in old], -1))
            for at in (1, 3, 5, 6)
        ]
        values, scale, zero = old[0].input[0], old[0].input[2], old[0].input[4]
        inputs = [values, joined[0], scale, joined[1], zero, joined[2], joined[3]]
        graph.drop(*(node.name for node in old))
        graph.node("MatMulIntegerToFloat", inputs, [f"{i}.qkv"], MS)
        graph.node("Split", [f"{i}.qkv"], [node.output[0] for node in old], axis=-1, num_outputs=3)


def integer_attention(graph: Graph) -> None:
    """The products of query, key and value inside the operator of attention."""
    one_product(graph)
    fused_attention(graph)
    for i in graph.layers():
        values, weight, scale, weight_scale, zero, weight_zero, bias = graph.nodes[f"{i}.qkv/MatMulIntegerToFloat"].input
        graph.drop(f"{i}.qkv/MatMulIntegerToFloat", f"{i}.query.sum/Split", f"{i}.mix/MultiHeadAttention")
        inputs = [values, weight, bias, scale, weight_scale, "mask.int", zero, weight_zero]
        graph.node("QAttention", inputs, [f"{i}.mix"], MS, num_heads=12)


def skip_norm(graph: Graph) -> None:
    """The sum and the norm after it as one operator."""
    for norm in graph.of_kind("LayerNormalization"):
        total = graph.nodes.get(norm.input[0])
        if total is not None and total.op_type == "Add" and norm.name != "normed":
            graph.drop(norm.name, total.name)
            inputs = [*total.input, norm.input[1], norm.input[2]]
            graph.node("SkipLayerNormalization", inputs, list(norm.output), MS, epsilon=1e-12)


def gelu(kind: str) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        for node in graph.of_kind("Gelu"):
            graph.drop(node.name)
            graph.node(kind, list(node.input), list(node.output), MS, **({"alpha": 1.702} if kind == "QuickGelu" else {}))

    return change


def requantised(bits: int, per_channel: bool = True, unsigned: bool = False) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        exact = Graph(MODEL / "fp32/model.onnx")
        for node in graph.of_kind("MatMulIntegerToFloat"):
            weight = exact.value(node.name.removesuffix(".sum") + ".weight")
            top = np.abs(weight).max(axis=0 if per_channel else None)
            limit = 2 ** (bits - 1) - (1 if bits == 8 else 0)
            scale = (top / limit).astype(np.float32)
            integers = np.clip(np.rint(weight / scale), -limit, limit)
            kind = np.uint8 if unsigned else np.int8
            zero = np.full(scale.shape, 128 if unsigned else 0, kind)
            node.input[1] = graph.constant(node.name + ".w", (integers + (128 if unsigned else 0)).astype(kind))
            node.input[3] = graph.constant(node.name + ".ws", scale)
            node.input[5] = graph.constant(node.name + ".wz", zero)

    return change


def dynamic(graph: Graph) -> None:
    """Scales found in every run, as `quantize_dynamic` writes it."""
    for node in graph.of_kind("QuantizeLinear"):
        graph.drop(node.name)
        quantised, scale, zero = node.output[0], node.input[1], node.input[2]
        graph.node("DynamicQuantizeLinear", [node.input[0]], [quantised, quantised + ".s", quantised + ".z"])
        for user in list(graph.nodes.values()):
            for at, name in enumerate(user.input):
                if name in (scale, zero):
                    user.input[at] = quantised + (".s" if name == scale else ".z")


def plain_mix(graph: Graph) -> None:
    """Quantises the mix after it was transposed, not before, as `dynamic` needs it."""
    for i in graph.layers():
        graph.drop(f"{i}.mixed_q", f"{i}.mixed.tokens", f"{i}.mixed.joined")
        graph.node("Transpose", [f"{i}.mixed_pre_q"], [f"{i}.mixed.t"], perm=[0, 2, 1, 3])
        graph.node("Reshape", [f"{i}.mixed.t", "ints_0_0_384"], [f"{i}.mix"])
        scale = [f"{i}.mixed.joined_scale", f"{i}.mixed.joined_zero_point"]
        graph.node("QuantizeLinear", [f"{i}.mix", *scale], [f"{i}.mixed.joined_quantized"])


def qdq(graph: Graph) -> None:
    """Dequantised products, which the runtime fuses when it loads the graph."""
    for node in graph.of_kind("MatMulIntegerToFloat"):
        values, weight, scale, weight_scale, zero, weight_zero, bias = node.input
        name = node.name
        graph.drop(name)
        graph.node("DequantizeLinear", [values, scale, zero], [name + ".x"])
        graph.node("DequantizeLinear", [weight, weight_scale, weight_zero], [name + ".w"], axis=1)
        graph.node("MatMul", [name + ".x", name + ".w"], [name + ".p"])
        graph.node("Add", [name + ".p", bias], list(node.output))


def blocks_of_weights(bits: int, size: int) -> Callable[[Graph], None]:
    """MatMulNBits with 8-bit compute in the place of each product."""

    def change(graph: Graph) -> None:
        plain_mix(graph)
        exact = Graph(MODEL / "fp32/model.onnx")
        sources = {node.output[0]: node.input[0] for node in graph.of_kind("QuantizeLinear")}
        for node in graph.of_kind("MatMulIntegerToFloat"):
            weight = exact.value(node.name.removesuffix(".sum") + ".weight").T
            rows, columns = weight.shape
            parts = weight.reshape(rows, columns // size, size)
            limit = 2 ** (bits - 1)
            scale = np.abs(parts).max(-1, keepdims=True) / (limit - 1)
            integers = np.clip(np.rint(parts / scale) + limit, 0, 2 * limit - 1).astype(np.uint8)
            if bits == 4:
                integers = integers[..., 0::2] | integers[..., 1::2] << 4
            inputs = [
                sources[node.input[0]], graph.constant(node.name + ".w", integers),
                graph.constant(node.name + ".ws", scale[..., 0].astype(np.float32)),
            ]
            graph.drop(node.name)
            attributes = {"K": columns, "N": rows, "bits": bits, "block_size": size, "accuracy_level": 4}
            graph.node("MatMulNBits", inputs, [node.name + ".p"], MS, **attributes)
            graph.node("Add", [node.name + ".p", node.input[6]], list(node.output))
        for node in graph.of_kind("QuantizeLinear"):
            graph.drop(node.name)

    return change


def words_of_bytes(graph: Graph) -> None:
    """Word vectors in bytes: Gather and DequantizeLinear, twice the size of the blocks."""
    words = Graph(MODEL / "fp32/model.onnx").value("word")
    scale = np.abs(words).max() / 127
    graph.drop("words")
    graph.node("Gather", [graph.constant("word.bytes", np.rint(words / scale).astype(np.int8)), "input_ids"], ["looked"])
    graph.node("DequantizeLinear", ["looked", graph.constant("word.scale", np.float32(scale))], ["words"])


def words_of_nibbles(graph: Graph) -> None:
    """The same 4-bit blocks, looked up as bytes and taken apart by standard operators."""
    packed = np.frombuffer(graph.constants["word"].raw_data, np.uint8).reshape(-1, 192)
    values = np.stack([packed & 15, packed >> 4], -1).reshape(-1, 384) ^ 8
    graph.drop("words")
    # The first half of a row in the low halves of its bytes, the second in the high ones.
    again = graph.constant("word.halves", values[:, :192] | values[:, 192:] << 4)
    graph.node("Gather", [again, "input_ids"], ["halves"])
    graph.node("BitwiseAnd", ["halves", graph.constant("fifteen", np.uint8(15))], ["low"])
    graph.node("BitShift", ["halves", graph.constant("four", np.uint8(4))], ["high"], direction="RIGHT")
    graph.node("Concat", ["low", "high"], ["bytes"], axis=-1)
    graph.node("Cast", ["bytes"], ["floats"], to=TensorProto.FLOAT)
    graph.node("Sub", ["floats", graph.constant("eight", np.float32(8))], ["signed"])
    graph.node("Reshape", ["signed", graph.constant("blocks", np.array([0, 0, 12, 32]))], ["blocked"])
    graph.node("Gather", ["word.scales", "input_ids"], ["block.scales"])
    graph.node("Unsqueeze", ["block.scales", graph.constant("last", np.array([-1]))], ["column.scales"])
    graph.node("Mul", ["blocked", "column.scales"], ["scaled.blocks"])
    graph.node("Reshape", ["scaled.blocks", graph.constant("row", np.array([0, 0, 384]))], ["words"])


def together(*changes: Callable[[Graph], None]) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        for one in changes:
            one(graph)

    return change


def unmasked(graph: Graph) -> None:
    fused_attention(graph, mask=False)


# Name: (which graph, change, options of the session).
INT8, FP32 = MODEL / "model.onnx", MODEL / "fp32/model.onnx"
VARIANTS: dict[str, tuple[Path, Callable[[Graph], None] | None, dict[str, object]]] = {
    "FP32, all optimisations": (FP32, None, {"level": Level.ORT_ENABLE_ALL}),
    "FP32, attention fused": (FP32, fused_attention, {"level": Level.ORT_ENABLE_ALL}),
    "built": (INT8, None, {}),
    "attention fused": (INT8, fused_attention, {}),
    "attention fused, one product for Q, K, V": (INT8, together(one_product, fused_attention), {}),
    "attention fused, no mask (flash)": (INT8, unmasked, {}),
    "one product for Q, K, V": (INT8, one_product, {}),
    "QAttention": (INT8, integer_attention, {}),
    "SkipLayerNormalization": (INT8, skip_norm, {}),
    "GELU by tanh (FastGelu)": (INT8, gelu("FastGelu"), {}),
    "GELU by a sigmoid (QuickGelu)": (INT8, gelu("QuickGelu"), {}),
    "word vectors in bytes": (INT8, words_of_bytes, {}),
    "word vectors in blocks, standard operators": (INT8, words_of_nibbles, {}),
    "8-bit weights": (INT8, requantised(8), {}),
    "8-bit weights, unsigned": (INT8, requantised(8, unsigned=True), {}),
    "7-bit weights, one scale for each matrix": (INT8, requantised(7, per_channel=False), {}),
    "dynamic scales": (INT8, together(plain_mix, dynamic), {}),
    "QDQ, all optimisations": (INT8, qdq, {"level": Level.ORT_ENABLE_ALL}),
    "MatMulNBits 8 bits, blocks of 128": (INT8, blocks_of_weights(8, 128), {}),
    "MatMulNBits 4 bits, blocks of 32": (INT8, blocks_of_weights(4, 32), {}),
    "built, all optimisations at load": (INT8, None, {"level": Level.ORT_ENABLE_ALL}),
    "built, memory pattern on": (INT8, None, {"pattern": True}),
    "built, arena off": (INT8, None, {"arena": False}),
}


def session(name: str, profile: str | None = None) -> onnxruntime.InferenceSession:
    path, change, given = VARIANTS[name]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = given.get("level", Level.ORT_DISABLE_ALL)
    options.enable_mem_pattern = given.get("pattern", False)
    options.enable_cpu_mem_arena = given.get("arena", True)
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    source: Path | bytes = path
    if change is not None:
        graph = Graph(path)
        change(graph)
        source = graph.bytes()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def questions() -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(PEERS / "tokenizer.json"))
    lines = (ROOT / "infra/model/check/questions.tsv").read_text("utf-8").splitlines()
    texts = [line.split("\t")[-1] for line in lines if line and not line.startswith("#")]
    return [tokenizer.encode("query: " + text).ids for text in texts]


def encode(model: onnxruntime.InferenceSession, texts: list[list[int]]) -> np.ndarray:
    vectors = []
    for ids in texts:
        row = np.array([ids])
        vectors.append(model.run(["vectors"], feed(model, row))[0][0])
    return np.array(vectors)


def feed(model: onnxruntime.InferenceSession, ids: np.ndarray) -> dict[str, np.ndarray]:
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def profile_section() -> dict:
    """Milliseconds by operator, INT8 and FP32 side by side."""
    rows = []
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        for batch, tokens in PROFILED:
            found: dict[str, dict[str, float]] = {}
            for name in ("FP32, all optimisations", "built"):
                model = session(name, f"{scratch}/profile")
                inputs = feed(model, random.integers(5, 90000, (batch, tokens)))
                runs = max(2000 // (batch * tokens), 5)
                for _ in range(runs):
                    model.run(None, inputs)
                events = json.loads(Path(model.end_profiling()).read_text())
                spent: dict[str, list[int]] = collections.defaultdict(list)
                for event in events:
                    if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                        spent[event["args"]["op_name"]].append(event["dur"])
                # The median of an operator's calls, times how many of them a run has.
                found[name] = {kind: statistics.median(times) * len(times) / runs / 1e3 for kind, times in spent.items()}
            groups = {
                "products with weights": ("MatMulIntegerToFloat",),
                "products of attention (FP32: all products)": ("MatMul", "FusedMatMul", "MultiHeadAttention"),
                "Softmax": ("Softmax",),
                "GELU": ("Gelu", "BiasGelu", "FastGelu"),
                "LayerNormalization": ("LayerNormalization", "SkipLayerNormalization"),
                "quantise": ("QuantizeLinear",),
                "Add": ("Add",),
                "Transpose, Reshape": ("Transpose", "Reshape"),
                "word vectors": ("Gather", "GatherBlockQuantized"),
            }
            totals = {name: sum(spent.values()) for name, spent in found.items()}
            for group, kinds in groups.items():
                cells = []
                for name, spent in found.items():
                    taken = sum(spent.get(kind, 0) for kind in kinds)
                    cells += [f"{taken:.2f}", f"{taken / totals[name]:.0%}"]
                rows.append([f"{batch} x {tokens}", group, *cells])
    columns = ["batch x tokens", "operators", "FP32, ms", "share", "INT8, ms", "share"]
    text = "ONNX Runtime's own profile: the median of an operator's calls, times its calls in a run."
    return {"title": "Where the time goes", "text": text, "columns": columns, "rows": rows, "goals": [], "plots": []}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="a variant; may be given again")
    parser.add_argument("--list", action="store_true", help="print the variants' names")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--rounds", type=int, help="default 9, quick 2")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(VARIANTS))
        return
    rounds = arguments.rounds or (2 if arguments.quick else 9)
    names = [name for name in VARIANTS if not arguments.only or name in arguments.only]

    texts, exact = questions(), None
    models, cosines = {}, {}
    exact = encode(session("FP32, all optimisations"), texts)
    for name in names:
        say(f"making {name}")
        try:
            models[name] = session(name)
            cosines[name] = (encode(models[name], texts) * exact).sum(1)
        except Exception as error:  # noqa: BLE001: whatever the runtime says is the result
            say(f"  does not run: {str(error)[:300]}")
    random = np.random.default_rng(0)
    inputs = {shape: random.integers(5, 90000, shape) for shape in SHAPES}
    times: dict[tuple[str, tuple[int, int]], list[float]] = collections.defaultdict(list)
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds}")
        for shape in SHAPES:
            for name, model in models.items():
                values = feed(model, inputs[shape])
                model.run(None, values)
                taken = []
                for _ in range(min(max(1000 // (shape[0] * shape[1]), 1), 20)):
                    start = time.perf_counter()
                    model.run(None, values)
                    taken.append(time.perf_counter() - start)
                times[name, shape].append(statistics.median(taken))

    base = "FP32, all optimisations"
    rows = []
    for name in models:
        cells = []
        for shape in SHAPES:
            text = f"{statistics.median(times[name, shape]) * 1e3:.2f}"
            if base in models and name != base:
                ratio = statistics.median(a / b for a, b in zip(times[base, shape], times[name, shape]))
                text += f" ({ratio:.2f})"
            cells.append(text)
        rows.append([name, f"{cosines[name].mean():.4f}", f"{cosines[name].min():.4f}", *cells])
        say(" | ".join(rows[-1]))
    text = (
        f"One thread, {rounds} rounds in turn; median ms and, in brackets, how many times as fast as FP32. Cosine to FP32 on "
        "the check's questions, mean and lowest. `tests/bench/encoder/variants.py --only NAME --only 'FP32, all "
        "optimisations'` repeats one."
    )
    columns = ["variant", "mean cosine", "lowest", *(f"{batch} x {tokens}" for batch, tokens in SHAPES)]
    table = {"title": "Variants of the graph", "text": text, "columns": columns, "rows": rows, "goals": [], "plots": []}
    sections = [table] if arguments.only else [table, profile_section()]
    OUT.write_text(json.dumps(sections, indent=1, ensure_ascii=False), "utf-8")
    say(str(OUT.relative_to(ROOT)))


if __name__ == "__main__":
    main()
