"""How each kind of expression is stored, a file a kind: nodes of the integer graph.

They fill :data:`falconet.compiler.importer.build.STORES`.
"""

from __future__ import annotations

from falconet.isa.modules import import_modules

__all__: list[str] = []

import_modules(__name__, __path__)
