"""Models behind a stream, one route a file; torch, ONNX Runtime and the native library load only when one is opened."""
