"""The vector engine: depthwise, pooling, element-wise, tables."""
