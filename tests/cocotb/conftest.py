"""Benches import ``bench`` and, in the simulator, themselves: put this directory on the path."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
