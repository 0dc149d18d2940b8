"""A sound model, and ways to break it."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.models import ModelBuilder


class Broken:
    """A sound model (Conv, MaxPool, Fire, Add, average, Flatten) to break in one place."""

    def __init__(self):
        builder = ModelBuilder(seed=8)
        source = builder.conv(builder.input(), 16, relu=True, quant=builder.low())
        pool = builder.max_pool(source, pads=(1, 1, 1, 1))
        fire = builder.fire(pool, 16, 8)
        total = builder.add(pool, fire)
        builder.node("Flatten", [builder.average(total)], "result")
        self.model = builder.model("result")
        self.graph = self.model.graph

    def node(self, op, index=0):
        return [node for node in self.graph.node if node.op_type == op][index]

    def attribute(self, op, name, value):
        node = self.node(op)
        kept = [attribute for attribute in node.attribute if attribute.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    def constant(self, name, value):
        kept = [tensor for tensor in self.graph.initializer if tensor.name != name]
        del self.graph.initializer[:]
        self.graph.initializer.extend([*kept, numpy_helper.from_array(np.asarray(value), name)])

    def value(self, name):
        return next(numpy_helper.to_array(tensor) for tensor in self.graph.initializer
                    if tensor.name == name)

    def initializer(self, name):
        return next(tensor for tensor in self.graph.initializer if tensor.name == name)

    def external(self, location, **entries):
        """Move the weights of the first Conv to another file."""
        tensor = self.initializer("conv1_wq")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=str(value))

    def reader(self, name, index=0):
        return [node for node in self.graph.node if name in node.input][index]

    def insert(self, op, inputs, output, **attributes):
        self.graph.node.append(helper.make_node(op, inputs, [output], **attributes))

    def kind(self, code):
        self.graph.input[0].type.tensor_type.elem_type = code

    def remove(self, collection, name):
        index = next(i for i, entry in enumerate(collection) if entry.name == name)
        del collection[index]

    def dims(self, *sizes):
        shape = self.graph.input[0].type.tensor_type.shape
        del shape.dim[:]
        for size in sizes:
            shape.dim.add(**{"dim_param" if isinstance(size, str) else "dim_value": size})
