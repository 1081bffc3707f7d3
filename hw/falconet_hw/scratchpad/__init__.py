"""The on-chip memory of activations."""
