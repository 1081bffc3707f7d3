"""``python tests/diagrams``: the timing diagrams in docs/images, simulated and drawn again."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from diagram_benches import DIAGRAMS

IMAGES = Path(__file__).parents[2] / "docs/images"

if __name__ == "__main__":
    for name, diagram in DIAGRAMS.items():
        picture = IMAGES / f"timing-{name}.svg"
        with tempfile.TemporaryDirectory() as folder:
            diagram.draw(Path(folder), picture)
        print(picture.relative_to(IMAGES.parents[1]))
