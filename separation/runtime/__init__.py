"""Running trained networks quickly: rewritten for inference, by PyTorch, OpenVINO or ONNX Runtime."""
