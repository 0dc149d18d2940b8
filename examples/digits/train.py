"""Trains the demo network on scikit-learn's digits and writes it as a quantized ONNX model.

A SqueezeNet in small: a strided first convolution, three Fire modules of which one has a simple
bypass, and a convolution with a global mean as the classifier. 35 thousand weights, 0.8 million
multiply-accumulates a digit.

Steps: train in PyTorch with batch normalisation, fold that into the convolutions, write the float
graph, quantize it with ONNX Runtime's own quantizer, measure both on the test digits. Test digits
take no part in training or calibration. Needs torch (the extra ``train``); the demo does not.

Example: ``python examples/digits/train.py -o /tmp/digits.onnx``
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import digits
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    create_calibrator,
    quantize_static,
)

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    print("error: training needs PyTorch, the extra 'train': pip install torch", file=sys.stderr)
    sys.exit(2)

DEFAULT_OUTPUT = Path(__file__).with_name("digits.onnx")
CLASSES = 10
CALIBRATION_COUNT = 256
INPUT, OUTPUT = "image", "scores"


class Conv(nn.Module):
    """Convolution, batch normalisation, Relu."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.norm(self.conv(x)))

    def folded(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights ``[co, ci, k, k]`` and biases ``[co]``, float32, with the normalisation in."""
        norm = self.norm
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weights = self.conv.weight.double() * scale[:, None, None, None]
        biases = norm.bias.double() - norm.running_mean.double() * scale
        return weights.detach().float().numpy(), biases.detach().float().numpy()


class Fire(nn.Module):
    """Squeeze to a few channels, expand by 1x1 and 3x3 filters, concatenate."""

    def __init__(self, inputs: int, squeeze: int, expand: int):
        super().__init__()
        self.squeeze1x1 = Conv(inputs, squeeze, 1)
        self.expand1x1 = Conv(squeeze, expand, 1)
        self.expand3x3 = Conv(squeeze, expand, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squeeze1x1(x)
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1)


class DigitNet(nn.Module):
    """Grey images ``[n, 1, 32, 32]`` with values 0..255 to scores ``[n, 10]``."""

    def __init__(self):
        super().__init__()
        self.conv1 = Conv(1, 16, 3, stride=2)
        self.fire2 = Fire(16, 16, 32)
        self.fire3 = Fire(64, 16, 32)
        self.fire4 = Fire(64, 32, 64)
        self.conv10 = Conv(128, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(self.conv1(x), 3, 2)
        x = self.fire2(x)
        x = x + self.fire3(x)
        x = self.fire4(functional.max_pool2d(x, 3, 2))
        return self.conv10(functional.dropout(x, 0.3, self.training)).mean(dim=(2, 3))


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image turned, scaled, sheared, shifted a little and drawn lighter or darker."""

    def uniform(limit: float, *shape: int) -> torch.Tensor:
        return (torch.rand(*shape, generator=generator) * 2 - 1) * limit

    n = len(images)
    angle, shear = uniform(0.26, n), uniform(0.2, n)
    scale_x, scale_y = 1 + uniform(0.15, n), 1 + uniform(0.15, n)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = torch.stack([scale_x * cos, shear - sin, sin, scale_y * cos], dim=1).view(n, 2, 2)
    shift = uniform(0.15, n, 2, 1)
    grid = functional.affine_grid(torch.cat([rows, shift], 2), list(images.shape), False)
    images = functional.grid_sample(images, grid, align_corners=False)
    return (images * (1 + uniform(0.15, n, 1, 1, 1))).clamp(0, 255)


def train(images: np.ndarray, labels: np.ndarray, epochs: int, seed: int) -> DigitNet:
    """The network after ``epochs`` passes over the images. The same seed gives the same network
    on the same machine and version of PyTorch."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # sums in one order
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    net, batch = DigitNet(), 64
    steps = -(-len(x) // batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=epochs * steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    net.train()
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(x), generator=generator).split(batch):
            loss = loss_of(net(augment(x[chosen], generator)), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:3}: loss {total / len(x):.4f}", flush=True)
    return net.eval()


class Graph:
    """Collects the nodes of an ONNX graph; each method returns the name of its result."""

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, kind: str, name: str, inputs: list[str], output: str = "", **attributes) -> str:
        output = output or name
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def conv(self, name: str, x: str, conv: Conv) -> str:
        weights, biases = conv.folded()
        self.weights += [
            numpy_helper.from_array(weights, f"{name}.weight"),
            numpy_helper.from_array(biases, f"{name}.bias"),
        ]
        kernel, stride, pad = (
            list(conv.conv.kernel_size), list(conv.conv.stride), list(conv.conv.padding),
        )  # fmt: skip
        x = self.node(
            "Conv", name, [x, f"{name}.weight", f"{name}.bias"],
            kernel_shape=kernel, strides=stride, pads=pad * 2,
        )  # fmt: skip
        return self.node("Relu", f"{name}.relu", [x])

    def fire(self, name: str, x: str, fire: Fire) -> str:
        x = self.conv(f"{name}.squeeze1x1", x, fire.squeeze1x1)
        branches = [
            self.conv(f"{name}.expand1x1", x, fire.expand1x1),
            self.conv(f"{name}.expand3x3", x, fire.expand3x3),
        ]
        return self.node("Concat", f"{name}.concat", branches, axis=1)

    def pool(self, name: str, x: str) -> str:
        return self.node("MaxPool", name, [x], kernel_shape=[3, 3], strides=[2, 2])


def float_model(net: DigitNet) -> onnx.ModelProto:
    """The trained network as ONNX, opset 13: float ``[1, 1, 32, 32]`` with values 0..255 to
    ``[1, 10, 1, 1]``."""
    graph = Graph()
    x = graph.pool("pool1", graph.conv("conv1", INPUT, net.conv1))
    x = graph.fire("fire2", x, net.fire2)
    x = graph.node("Add", "fire3.bypass", [x, graph.fire("fire3", x, net.fire3)])
    x = graph.fire("fire4", graph.pool("pool3", x), net.fire4)
    x = graph.conv("conv10", x, net.conv10)
    graph.node("GlobalAveragePool", "mean", [x], OUTPUT)
    shape_in, shape_out = [1, 1, digits.SIDE, digits.SIDE], [1, CLASSES, 1, 1]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "digits",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape_in)],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape_out)],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=7,
        producer_name="firecore examples/digits/train.py",
    )
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


class Batches(CalibrationDataReader):
    """Calibration images, one at a time."""

    def __init__(self, images: np.ndarray):
        self.images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.images, None)
        return None if image is None else {INPUT: image[np.newaxis]}


def overrides(path: Path, images: np.ndarray) -> dict[str, list[dict]]:
    """What the quantizer shall not choose alone: the input's scale is 1 (uint8 grey as it is), and
    the branches of a Concat share its scale, so that concatenation copies."""
    calibrator = create_calibrator(
        path, augmented_model_path=str(path.with_suffix(".augmented.onnx")),
        calibrate_method=CalibrationMethod.MinMax,
    )  # fmt: skip
    calibrator.collect_data(Batches(images))
    ranges = calibrator.compute_data()
    chosen = {INPUT: [{"scale": np.array(1, np.float32), "zero_point": np.array(0, np.uint8)}]}
    for node in onnx.load(path).graph.node:
        if node.op_type == "Concat":
            low, high = (np.float32(value) for value in ranges[node.output[0]].range_value)
            for name in [*node.input, *node.output]:
                chosen[name] = [{"rmin": low, "rmax": high}]
    return chosen


def quantize(model: onnx.ModelProto, images: np.ndarray) -> onnx.ModelProto:
    """The model in QDQ form: uint8 activations, int8 weights with a scale per output channel. The
    last mean stays in float, so that scores do not tie."""
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "float.onnx"), Path(directory, "int8.onnx")
        onnx.save(model, source)
        quantize_static(
            source, target, Batches(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=["mean"],
            extra_options={"TensorQuantOverrides": overrides(source, images)},
        )  # fmt: skip
        quantized = onnx.load(target)
    labels = ",".join(map(str, range(CLASSES)))
    helper.set_model_props(quantized, {"firecore.preprocess": "grey", "firecore.labels": labels})
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def right(model: onnx.ModelProto, images: np.ndarray, labels: np.ndarray) -> int:
    """How many images ONNX Runtime classifies right."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    scores = [session.run(None, {INPUT: image[np.newaxis]})[0] for image in images]
    return int((np.reshape(scores, (-1, CLASSES)).argmax(axis=1) == labels).sum())


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Train the digits network, quantize it and write it as ONNX.",
        epilog="example: python examples/digits/train.py -o /tmp/digits.onnx",
    )
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT_OUTPUT, metavar="PATH")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--held-out", type=int, default=0, metavar="N",
        help="measure on the last N training digits, kept from training, not on the test set",
    )  # fmt: skip
    args = parser.parse_args()
    images, labels = digits.training_set()
    if args.epochs < 1:
        parser.error(f"--epochs {args.epochs}: at least 1")
    if not 0 <= args.held_out <= len(images) - CALIBRATION_COUNT:
        parser.error(f"--held-out {args.held_out}: 0..{len(images) - CALIBRATION_COUNT}")
    if not args.output.resolve().parent.is_dir():
        parser.error(f"--output {args.output}: no such directory")
    # The quantizer recommends a pre-processing of graphs that have shapes already.
    logging.getLogger().setLevel(logging.ERROR)
    if args.held_out:
        test_images, test_labels = images[-args.held_out :], labels[-args.held_out :]
        images, labels = images[: -args.held_out], labels[: -args.held_out]
    else:
        test_images, test_labels = digits.test_set()
    model = float_model(train(images, labels, args.epochs, args.seed))
    quantized = quantize(model, images[:CALIBRATION_COUNT])
    print(f"trained on {len(images)} digits, calibrated on {CALIBRATION_COUNT} of them")
    for name, candidate in (("float", model), ("int8", quantized)):
        count, of = right(candidate, test_images, test_labels), len(test_labels)
        print(f"{name:5} {count} of {of} held-out digits right: {100 * count / of:.2f} %")
    onnx.save(quantized, args.output)
    print(f"{args.output}: {args.output.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
