"""The SqueezeNet family (arXiv 1602.07360) as ONNX models: `python -m sw.models NAME -o FILE`.

`Architecture` says what a network is, `FAMILY` names the published ones, `float_model` writes the
float graph, `quantized` a QDQ model with scales from a run on random images.
"""

from .architecture import FAMILY, Architecture, Layer
from .float_model import float_model
from .parameters import load_parameters, parameter_shapes, random_parameters
from .synthetic import constant_ranges, measured_ranges, quantized

__all__ = ["FAMILY", "Architecture", "Layer", "constant_ranges", "float_model",
           "load_parameters", "measured_ranges", "parameter_shapes", "quantized",
           "random_parameters"]
