"""Images with ground truth: folders as other tools write them, and digits that need no download.

Batches of tensors are made by :mod:`falconet_models.datasets.loader`, which alone needs torch.
"""

from falconet_models.datasets.coco import open_coco
from falconet_models.datasets.digits import Digits
from falconet_models.datasets.folders import open_dataset
from falconet_models.datasets.sample import Dataset, Files, Found, Sample
from falconet_models.datasets.voc import open_voc
from falconet_models.datasets.write_coco import write_coco
from falconet_models.datasets.yolo import open_yolo

__all__ = [
    "Dataset", "Digits", "Files", "Found", "Sample", "open_coco", "open_dataset", "open_voc",
    "open_yolo", "write_coco",
]
