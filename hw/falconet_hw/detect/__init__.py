"""The detect engine: heads to boxes to the boxes that stay."""
