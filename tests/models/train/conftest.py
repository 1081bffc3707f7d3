"""Brevitas warns of itself when it is imported; ``make check`` takes warnings for errors."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import brevitas.export
    import brevitas.nn
    import brevitas.quant  # noqa: F401
