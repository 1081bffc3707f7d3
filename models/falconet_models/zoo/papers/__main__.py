"""``python -m falconet_models.zoo.papers NAME FILE.onnx``: a network as PyTorch exports it."""

from __future__ import annotations

import argparse
import sys

import onnx

from falconet.isa import FalconetError
from falconet_models.zoo.papers import NETWORKS
from falconet_models.zoo.papers.to_onnx import onnx_of

parser = argparse.ArgumentParser(prog="python -m falconet_models.zoo.papers", description=__doc__)
parser.add_argument("name", help=", ".join(NETWORKS))
parser.add_argument("file", help="what is written")
parser.add_argument("--narrow", action="store_true", help="the small form of the test-suite")
parser.add_argument("--size", type=int, nargs=2, default=(0, 0), metavar=("HEIGHT", "WIDTH"))

if __name__ == "__main__":
    given = parser.parse_args()
    try:
        onnx.save(onnx_of(given.name, narrow=given.narrow, size=tuple(given.size)), given.file)
    except FalconetError as e:
        sys.exit(str(e))
