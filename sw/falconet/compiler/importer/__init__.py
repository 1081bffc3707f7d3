"""Quantised ONNX (QDQ, QCDQ) to the integer graph; the entry is falconet.compiler.onnx_import.

``model`` reads the file, ``quant``, ``linear``, ``elementwise`` and ``move`` say what each ONNX
operator means as an expression (``expr``), ``build`` turns expressions into nodes.
"""
