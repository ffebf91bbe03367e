"""Writes an encoder as an ONNX graph: token ids and their mask in, unit vectors out."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from blocks import SIZE, Blocks
from encoder import Encoder

OPSET = 20
# ONNX Runtime's own operators.
RUNTIME = "com.microsoft"
# onnx.helper writes the newest IR version, which may be ahead of the runtime's; 10 is the one of opset 20's time.
IR_VERSION = 10


class _Graph:
    """Collects nodes and initializers; every method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def ints(self, *values: int) -> str:
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def words_of_blocks(self, words: Blocks) -> str:
        shape = (len(words.packed), words.packed.shape[1] * 2)
        packed = TensorProto(name="word", data_type=TensorProto.INT4, dims=shape, raw_data=words.packed.tobytes())
        self.constants["word"] = packed
        inputs = ["word", "input_ids", self.constant("word.scales", words.scales)]
        axes = {"gather_axis": 0, "quantize_axis": 1}
        return self.node("GatherBlockQuantized", inputs, "words", domain=RUNTIME, block_size=SIZE, **axes)


def write(encoder: Encoder, words: Blocks | None = None) -> onnx.ModelProto:
    """Inputs `input_ids` and `attention_mask`, int64 [batch, tokens]; output `vectors`, float [batch, hidden].

    The word vectors are FP32, or what is given as `words`.
    """
    shape, tensors = encoder.architecture, encoder.tensors
    graph = _Graph()

    def norm(x: str, source: str, name: str) -> str:
        weight = graph.constant(f"{source}.weight", tensors[f"{source}.weight"])
        bias = graph.constant(f"{source}.bias", tensors[f"{source}.bias"])
        return graph.node("LayerNormalization", [x, weight, bias], name, axis=-1, epsilon=shape.epsilon)

    def linear(x: str, source: str) -> str:
        weight = graph.constant(f"{source}.weight", tensors[f"{source}.weight"])
        bias = graph.constant(f"{source}.bias", tensors[f"{source}.bias"])
        return graph.node("Add", [graph.node("MatMul", [x, weight], f"{source}.product"), bias], f"{source}.sum")

    size = shape.hidden // shape.heads
    if words is None:
        looked_up = graph.node("Gather", [graph.constant("word", tensors["word"]), "input_ids"], "words")
    else:
        looked_up = graph.words_of_blocks(words)
    length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    table = graph.constant("position", tensors["position"])
    positions = graph.node("Slice", [table, graph.ints(0), length, graph.ints(0)], "positions")
    x = norm(graph.node("Add", [looked_up, positions], "embedded"), "norm", "normed")

    mask = graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    one = graph.constant("one", np.float32(1))
    far = graph.constant("far", np.float32(-1e4))
    hidden = graph.node("Mul", [graph.node("Sub", [one, mask], "padding"), far], "hidden")
    hidden = graph.node("Unsqueeze", [hidden, graph.ints(1, 2)], "attention_bias")

    scale = graph.constant("scale", np.float32(size**-0.5))
    for layer in range(shape.layers):

        def split(x: str, name: str, order: list[int], layer: int = layer) -> str:
            parts = graph.node("Reshape", [x, graph.ints(0, 0, shape.heads, size)], f"{layer}.{name}.parts")
            return graph.node("Transpose", [parts], f"{layer}.{name}.heads", perm=order)

        query = split(linear(x, f"{layer}.query"), "query", [0, 2, 1, 3])
        key = split(linear(x, f"{layer}.key"), "key", [0, 2, 3, 1])
        value = split(linear(x, f"{layer}.value"), "value", [0, 2, 1, 3])
        scores = graph.node("Mul", [graph.node("MatMul", [query, key], f"{layer}.dots"), scale], f"{layer}.scaled")
        scores = graph.node("Add", [scores, hidden], f"{layer}.scores")
        shares = graph.node("Softmax", [scores], f"{layer}.shares", axis=-1)
        mixed = graph.node("MatMul", [shares, value], f"{layer}.mixed")
        mixed = graph.node("Transpose", [mixed], f"{layer}.mixed.tokens", perm=[0, 2, 1, 3])
        mixed = graph.node("Reshape", [mixed, graph.ints(0, 0, shape.hidden)], f"{layer}.mixed.joined")
        attended = graph.node("Add", [linear(mixed, f"{layer}.attention"), x], f"{layer}.attention.residual")
        x = norm(attended, f"{layer}.attention_norm", f"{layer}.attended")
        wide = graph.node("Gelu", [linear(x, f"{layer}.expand")], f"{layer}.expand.gelu")
        shrunk = graph.node("Add", [linear(wide, f"{layer}.shrink"), x], f"{layer}.output.residual")
        x = norm(shrunk, f"{layer}.output_norm", f"{layer}.output")

    if shape.pooling == "mean":
        weights = graph.node("Unsqueeze", [mask, graph.ints(1)], "weights")
        # The sum need not become a mean: its length is divided away below.
        pooled = graph.node("Squeeze", [graph.node("MatMul", [weights, x], "sums"), graph.ints(1)], "pooled")
    else:
        pooled = graph.node("Gather", [x, graph.constant("first", np.int64(0))], "pooled", axis=1)
    graph.node("LpNormalization", [pooled], "vectors", axis=-1, p=2)

    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", shape.hidden])]
    body = helper.make_graph(graph.nodes, "encoder", inputs, outputs, list(graph.constants.values()))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(RUNTIME, 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION)
