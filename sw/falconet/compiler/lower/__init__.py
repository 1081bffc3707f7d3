"""Graph to operations: an engine for every node and a place for every tensor.

An operator is one file in :mod:`falconet.compiler.lower.ops` and a line in its registry.
"""
