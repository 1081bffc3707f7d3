"""Networks to train: MobileNets with detection heads and as classifiers, float and quantised."""

import warnings

with warnings.catch_warnings():  # what Brevitas says of itself whenever it is imported
    warnings.filterwarnings("ignore", "fast_hadamard_transform package not found", UserWarning)
    warnings.filterwarnings("ignore", "brevitas.fx is deprecated", DeprecationWarning)
    import brevitas.graph.equalize  # noqa: F401
