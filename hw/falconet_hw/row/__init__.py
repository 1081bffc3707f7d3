"""ROW: softmax and norms over a pixel's channels, beside the vector engine's lanes."""
