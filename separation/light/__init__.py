"""Separating without PyTorch: checkpoints that carry a graph, by ONNX Runtime and NumPy."""
