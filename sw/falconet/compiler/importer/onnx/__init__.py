"""ONNX with quantisation (QDQ of onnxruntime, QCDQ of Brevitas); the entry is ``convert``.

``model`` reads the file, ``quant``, ``linear``, ``elementwise`` and ``move`` say what each operator
means as an expression.
"""
