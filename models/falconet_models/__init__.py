"""Networks with public weights, photographs, and quantisation: everything up to a QDQ ONNX file."""
