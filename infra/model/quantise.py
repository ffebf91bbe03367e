"""Turns the FP32 graph into the one that ships: INT8, fused ahead of time, weights beside it to be memory-mapped."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

import activations
from encoder import Encoder

GRAPH, WEIGHTS = "model.onnx", "weights.bin"


def quantise(encoder: Encoder, model: onnx.ModelProto, scratch: Path) -> Path:
    """INT8 of every product with weights, a scale for each output channel, and of FP32 word vectors.

    Weights keep to 7 bits. Processors without VNNI add two products of bytes in 16 bits, which 8-bit weights can
    overflow: the sum is cut, and the vectors depend on the processor. With 7 bits it cannot happen, every processor
    computes the same, and the eighth bit is worth less than that (the figures are in README.md).
    """
    logging.getLogger().setLevel(logging.ERROR)
    exact = onnx.ModelProto()
    exact.CopyFrom(model)
    path = scratch / "int8.onnx"
    quantize_dynamic(
        model,
        path,
        op_types_to_quantize=["MatMul", "Gather"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        # Shape inference stops at an operator that only ONNX Runtime knows.
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    quantised = onnx.load(path)
    scales = activations.measure(encoder, exact, activations.inputs_of_products(quantised))
    activations.fix(quantised, scales)
    onnx.save(quantised, path)
    return path


def optimise(source: Path, target: Path) -> None:
    """Writes GRAPH and WEIGHTS into the folder `target`.

    The extended level fuses operators without regard to the processor; the level above chooses layouts by it, and
    such a file would belong to the machine that wrote it.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target / GRAPH)
    options.log_severity_level = 3
    # The fused operator is not faster than the sum and the norm that it replaces, and only ONNX Runtime knows it.
    options.add_session_config_entry("optimization.disable_specified_optimizers", "SkipLayerNormFusion")
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
