"""Networks and states of runs in files, written so that a kill at any time leaves a whole one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from falconet.isa import FalconetError
from falconet_models.networks.detector import Detector, DetectorConfig

__all__ = [
    "BEST", "CALIBRATED", "FLOAT", "LAST", "QUANTISED", "load", "load_detector", "save",
    "save_detector",
]

LAST, FLOAT, QUANTISED = "last.pt", "float.pt", "quantised.pt"
"""In a run's folder: all that is needed to go on, the best float network, the best int8 one."""
CALIBRATED = "calibrated.pt"
"""What quantised training begins with."""
BEST = {"float": FLOAT, "quantised": QUANTISED}
_FORM = 1


def save(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` beside ``path``, then move it there."""
    partial = path.with_suffix(".tmp")
    with partial.open("wb") as f:
        torch.save({"form": _FORM, **content}, f)
        f.flush()
        os.fsync(f.fileno())
    partial.replace(path)


def load(path: Path) -> dict[str, Any]:
    """What :func:`save` wrote; nothing in the file is executed."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FalconetError(f"{path}: no such file; train first, or name another run") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as e:
        raise FalconetError(f"{path}: not a checkpoint ({str(e).splitlines()[0][:80]}); "
                            "name one that 'falconet train' wrote") from None
    if not isinstance(content, dict) or content.get("form") != _FORM:
        raise FalconetError(f"{path}: not a checkpoint of this version; train again")
    return content


def save_detector(path: Path, detector: Detector, about: dict[str, Any]) -> None:
    """A detector with its definition, and what is known ``about`` it."""
    save(path, {"config": detector.config.to_dict(), "style": detector.style, "about": about,
                "state": detector.state_dict()})


def load_detector(path: str | Path, style: str = "float") -> tuple[Detector, dict[str, Any]]:
    """A detector, ready to be used, and what is known about it.

    ``path`` is a checkpoint, or the folder of a run, whose best network in ``style`` it is then.
    """
    file = Path(path)
    if file.is_dir():
        file = file / BEST[style]
    content = load(file)
    if "config" not in content:
        raise FalconetError(f"{file}: the state of a run, not a network; name {FLOAT} or "
                            f"{QUANTISED} beside it")
    detector = Detector(DetectorConfig.from_dict(content["config"]), content["style"])
    detector.load_state_dict(content["state"])
    return detector.to(memory_format=torch.channels_last).eval(), content["about"]
