"""firecore's compiler: QDQ ONNX models in, accelerator programs out."""
