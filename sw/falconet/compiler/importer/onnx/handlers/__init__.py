"""Handlers of ONNX operators; they fill ``HANDLERS`` (falconet.compiler.importer.onnx.context)."""

from __future__ import annotations

from falconet.isa.modules import import_modules

__all__: list[str] = []

import_modules(__name__, __path__)
