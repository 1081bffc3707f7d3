"""Quantised ONNX (QDQ, QCDQ) to the integer graph; the entry is ``onnx.convert``.

A file's node becomes an expression (``expr``) in the room of its format; ``build`` turns
expressions into nodes, ``requant`` real scales into integers.
"""
