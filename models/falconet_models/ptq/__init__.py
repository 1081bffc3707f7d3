"""Post-training quantisation: a float ONNX model and photographs to a QDQ model."""
