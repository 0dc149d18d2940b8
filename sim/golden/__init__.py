"""The golden model: integers equal to onnxruntime's, in NumPy."""
