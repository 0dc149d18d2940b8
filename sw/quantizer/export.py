"""A `FloatNetwork` to ONNX: as float model, or quantized in the QDQ format."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..graph import Quant
from .network import WINDOWS, FloatNetwork, Op
from .weights import QuantizedConv

__all__ = ["float_model", "qdq_model"]

_OPSET = 13
_IR = 8


def float_model(network: FloatNetwork) -> onnx.ModelProto:
    """The same network in float32, every tensor under its own name."""
    return _Writer(network, {}, {}).model()


def qdq_model(network: FloatNetwork, quants: Mapping[str, Quant],
              convs: Mapping[str, QuantizedConv], metadata: Mapping[str, str]) -> onnx.ModelProto:
    """`quants` by tensor; `convs` by the tensor that the convolution gives. A Relu is left out:
    zero points at the end of the range say the same."""
    model = _Writer(network, quants, convs).model()
    helper.set_model_props(model, dict(metadata))
    return model


class _Writer:
    def __init__(self, network: FloatNetwork, quants: Mapping[str, Quant],
                 convs: Mapping[str, QuantizedConv]) -> None:
        self.network, self.quants, self.convs = network, quants, convs
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.infos: list[onnx.ValueInfoProto] = []

    def model(self) -> onnx.ModelProto:
        network = self.network
        source, integers = network.input, False
        if source in self.quants:
            # Pixels with a zero point are no float value that could be quantized: they come as
            # integers.
            integers = network.raw_input and network.input_zero != 0
            if integers:
                self._dequantize(source, source, f"{source}_dq")
            else:
                self._quantize(source, source)
        for op in network.ops:
            self._op(op)
        outputs = [self._output(output) for output in network.outputs]
        graph = helper.make_graph(
            self.nodes, "network",
            [helper.make_tensor_value_info(
                source, TensorProto.UINT8 if integers else TensorProto.FLOAT,
                (1, *network.shapes[source]))],
            outputs, list(self.constants.values()), value_info=self.infos)
        return helper.make_model(graph, ir_version=_IR, producer_name="firecore",
                                 opset_imports=[helper.make_opsetid("", _OPSET)])

    # Pieces

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def _node(self, kind: str, name: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def _parameters(self, tensor: str) -> list[str]:
        quant = self.quants[tensor]
        return [self._constant(f"{tensor}_scale", np.float32(quant.scale)),
                self._constant(f"{tensor}_zp", np.asarray(quant.zero_point, quant.dtype))]

    def _quantize(self, tensor: str, value: str, result: str | None = None) -> None:
        """QuantizeLinear and DequantizeLinear behind the float `value` of a tensor."""
        self._node("QuantizeLinear", f"{tensor}_Q", [value, *self._parameters(tensor)],
                   f"{tensor}_q")
        self._dequantize(tensor, f"{tensor}_q", result or f"{tensor}_dq")

    def _dequantize(self, tensor: str, integers: str, result: str) -> None:
        self._node("DequantizeLinear", f"{tensor}_DQ", [integers, *self._parameters(tensor)],
                   result)

    def _read(self, tensor: str) -> str:
        """What stands for a tensor where it is read."""
        if tensor not in self.quants or (self.network.is_output(tensor)):
            return tensor
        return f"{tensor}_dq"

    # Operators

    def _op(self, op: Op) -> None:
        inputs = [self._read(name) for name in op.inputs]
        quantized = op.output in self.quants
        is_output = self.network.is_output(op.output)
        # An output carries its name behind the DequantizeLinear.
        value = f"{op.output}_float" if quantized and is_output else op.output
        clip = not quantized and op.relu
        result = f"{op.output}_sum" if clip else value
        attributes = {}
        match op.kind:
            case "Conv":
                inputs += self._weights(op)
                attributes = {"kernel_shape": op.weights.shape[2:], **op.attributes}
            case kind if kind in WINDOWS:
                attributes = dict(op.attributes)
                if kind == "MaxPool":
                    del attributes["count_include_pad"]
            case "Concat":
                attributes = {"axis": 1}
            case "Softmax":
                attributes = dict(op.attributes)
            case "Reshape":
                inputs.append(self._constant(f"{op.output}_shape",
                                             np.array(op.attributes["shape"], np.int64)))
        self._node(op.kind, op.name, inputs, result, **attributes)
        if clip:
            self._clip(op, result)
        if quantized:
            self._quantize(op.output, value, op.output if is_output else None)
        elif not is_output:
            self.infos.append(helper.make_tensor_value_info(
                op.output, TensorProto.FLOAT, (1, *self.network.shapes[op.output])))

    def _clip(self, op: Op, value: str) -> None:
        if op.limit is None:
            self._node("Relu", f"{op.output}_Relu", [value], op.output)
            return
        ends = [self._constant(f"{op.output}_{name}", np.float32(end))
                for name, end in (("min", 0), ("max", op.limit))]
        self._node("Clip", f"{op.output}_Clip", [value, *ends], op.output)

    def _weights(self, op: Op) -> list[str]:
        name = op.name
        if op.output not in self.convs:
            return [self._constant(f"{name}.w", op.weights.astype(np.float32)),
                    self._constant(f"{name}.b", op.bias.astype(np.float32))]
        conv, source = self.convs[op.output], self.quants[op.inputs[0]]
        parts = (("w", conv.weights, conv.scale), ("b", conv.bias, source.scale * conv.scale))
        return [self._node("DequantizeLinear", f"{name}_{part}DQ", [
            self._constant(f"{name}.{part}q", integers), self._constant(f"{name}.{part}s", scale),
            self._constant(f"{name}.{part}z", np.zeros(len(scale), integers.dtype))],
            f"{name}.{part}", axis=0) for part, integers, scale in parts]

    def _output(self, output) -> onnx.ValueInfoProto:
        shape = (1, *self.network.shapes[output.tensor])
        if output.name != output.tensor or output.shape != shape:
            name = self._constant(f"{output.name}_shape", np.array(output.shape, np.int64))
            self._node("Reshape", f"{output.name}_Reshape", [self._read(output.tensor), name],
                       output.name)
        return helper.make_tensor_value_info(output.name, TensorProto.FLOAT, output.shape)
