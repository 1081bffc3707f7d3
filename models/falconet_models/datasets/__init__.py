"""Images with ground truth: folders as other tools write them, and digits that need no download."""

from falconet_models.datasets.digits import Digits
from falconet_models.datasets.sample import Dataset, Found, Sample

__all__ = ["Dataset", "Digits", "Found", "Sample"]
