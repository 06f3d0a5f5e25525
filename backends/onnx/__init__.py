"""ONNX files: made, rewritten, read from their bytes. Files, not a runtime."""
