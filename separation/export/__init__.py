"""Models as ONNX graphs that stand alone: for ONNX Runtime, browsers and programs in other languages."""
