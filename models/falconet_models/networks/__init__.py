"""Networks to train: MobileNets with detection heads and as classifiers, float and quantised."""

import warnings

# Brevitas says so whenever it is imported; nothing here uses it.
warnings.filterwarnings("ignore", "fast_hadamard_transform", UserWarning)
