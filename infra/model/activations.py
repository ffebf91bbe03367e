"""Fixed scales for what flows through an INT8 graph, so that a text's vector does not depend on its neighbours.

`quantize_dynamic` scales the input of each product by the extremes of the whole batch: the vector of a text then
changes with the texts that happen to be encoded beside it. Here the extremes are measured once, and written into the
graph as constants. That also spares every run the search for them.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from encoder import Encoder, Unigram
from graph import RUNTIME

SAMPLES = 256
SHORTEST, LONGEST = 2, 48
# What lies beyond the extremes of so many texts is cut: a scale for the rarest would be too coarse for all the others.
REACHED = 0.8


def measure(encoder: Encoder, model: onnx.ModelProto, tensors: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scale and zero point (uint8) of each tensor of the FP32 graph, from its extremes over made-up texts.

    A made-up text is a row of pieces, each as likely as the vocabulary says: so every language that the model keeps is
    there, and no corpus is needed. The scales are about as good as those of real questions (README.md).
    """
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    extremes = np.empty((SAMPLES, len(tensors), 2), np.float32)
    for sample, ids in enumerate(_texts(encoder)):
        row = np.array([ids], np.int64)
        values = session.run(tensors, {"input_ids": row, "attention_mask": np.ones_like(row)})
        extremes[sample] = [(value.min(), value.max()) for value in values]
    scales = {}
    lows, highs = np.quantile(extremes[:, :, 0], 1 - REACHED, axis=0), np.quantile(extremes[:, :, 1], REACHED, axis=0)
    for name, low, high in zip(tensors, lows.tolist(), highs.tolist()):
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255 or 1.0
        scales[name] = (np.array(scale, np.float32), np.array(round(-low / scale), np.uint8))
    return scales


def _texts(encoder: Encoder) -> list[list[int]]:
    tokenizer, random = encoder.tokenizer, np.random.default_rng(0)
    count = len(tokenizer.pieces)
    if isinstance(tokenizer, Unigram):
        chances = np.exp(tokenizer.scores)
    else:
        # A WordPiece vocabulary has no scores, but its words stand in the order of their frequency (Zipf's law).
        chances = 1 / np.arange(1, count + 1)
        chances[[piece.startswith("[unused") for piece in tokenizer.pieces]] = 0
    chances[list(tokenizer.specials())] = 0
    chances /= chances.sum()
    longest = min(LONGEST, len(encoder.tensors["position"]) - 2)
    texts = []
    for length in random.integers(SHORTEST, longest, SAMPLES, endpoint=True):
        pieces = random.choice(count, length, p=chances).tolist()
        texts.append([tokenizer.begin, *pieces, tokenizer.end])
    return texts


def inputs_of_products(quantised: onnx.ModelProto) -> list[str]:
    """The tensors that `quantize_dynamic` scales while the model runs."""
    return [node.input[0] for node in quantised.graph.node if node.op_type == "DynamicQuantizeLinear"]


def fix(quantised: onnx.ModelProto, scales: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Gives each product its scales as constants, and makes it one operator with its bias.

    What `quantize_dynamic` writes for a product is DynamicQuantizeLinear, MatMulInteger, Cast, Mul by both scales, and
    then our Add.
    """
    graph = quantised.graph
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    makers = {output: node for node in graph.node for output in node.output}

    replaced: dict[str, onnx.NodeProto | None] = {}
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            scale, zero = scales[node.input[0]]
            graph.initializer.append(numpy_helper.from_array(scale, node.output[1]))
            graph.initializer.append(numpy_helper.from_array(zero, node.output[2]))
            inputs = [node.input[0], node.output[1], node.output[2]]
            replaced[node.name] = helper.make_node("QuantizeLinear", inputs, [node.output[0]], node.name)
        elif node.op_type == "MatMulInteger":
            values, weight, zero, weight_zero = node.input
            (cast,) = users[node.output[0]]
            (scaled,) = users[cast.output[0]]
            (biased,) = users[scaled.output[0]]
            both = makers[next(name for name in scaled.input if name != cast.output[0])]
            scale = makers[values].output[1]
            weight_scale = next(name for name in both.input if name != scale)
            bias = next(name for name in biased.input if name != scaled.output[0])
            inputs = [values, weight, scale, weight_scale, zero, weight_zero, bias]
            product = helper.make_node("MatMulIntegerToFloat", inputs, biased.output, biased.name, domain=RUNTIME)
            replaced |= {biased.name: product} | {part.name: None for part in (node, cast, scaled, both)}

    nodes = [replaced.get(node.name, node) for node in graph.node]
    del graph.node[:]
    graph.node.extend(node for node in nodes if node is not None)
