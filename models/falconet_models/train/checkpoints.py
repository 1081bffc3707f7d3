"""Networks and states of runs in files, written so that a kill at any time leaves a whole one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from falconet.isa import FalconetError
from falconet.isa.errors import shown
from falconet.isa.files import store
from falconet_models.architecture import DetectorConfig
from falconet_models.checkpoint import check_archive
from falconet_models.networks.detector import Detector
from falconet_models.networks.layers import STYLES, Style, laid_out

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
    """Write ``content``, whole or not at all."""
    file = io.BytesIO()  # of a full disk PyTorch makes an error that does not say so
    torch.save({"form": _FORM, **content}, file)
    store(path, file.getvalue())


def load(path: Path) -> dict[str, Any]:
    """What :func:`save` wrote; nothing in the file is executed.

    Memory is in proportion to the file, whatever it says of itself.
    """
    advice = "name one that 'falconet train' wrote"
    try:
        check_archive(path)  # PyTorch looks at neither checksums nor sizes
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FalconetError(f"{path}: no such file; train first, or name another run") from None
    except OSError as e:
        raise FalconetError(f"{path}: {e.strerror or e}; {advice}") from None
    except Exception as e:  # a pickle may be wrong in any way
        reason = shown(str(e).partition("\n")[0])[1:-1]
        raise FalconetError(f"{path}: not a checkpoint ({reason}); {advice}") from None
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
    made, about, state = (content.get(key) for key in ("style", "about", "state"))
    if made not in STYLES or not isinstance(about, dict) or not isinstance(state, dict):
        raise FalconetError(f"{file}: style, about or state is missing or of another kind; train "
                            "again")
    config = DetectorConfig.from_dict(content["config"], f"{file}: config")
    _check_state(state, config, made, file)
    detector = Detector(config, made)
    detector.load_state_dict(dict(state))  # without the notes on versions, which may be anything
    return laid_out(detector, torch.channels_last).eval(), about


def _check_state(state: dict[Any, Any], config: DetectorConfig, style: Style, file: Path) -> None:
    """Refuse weights that are not this network's, before it takes memory, or are no numbers."""
    with torch.device("meta"):
        shell = Detector(config, style)
    # a scale that nothing has been observed for is a parameter, but not in the state
    own: dict[str, torch.Tensor] = {**dict(shell.named_parameters()), **shell.state_dict()}
    if set(state) != set(own):
        name = sorted(map(str, set(state) ^ set(own)))[0]
        raise FalconetError(f"{file}: state.{shown(name)[1:-1]} is missing or not of this network; "
                            "train again")
    for name, wanted in own.items():
        given = state[name]
        if not isinstance(given, torch.Tensor) or given.shape != wanted.shape or (
                given.dtype != wanted.dtype):
            raise FalconetError(f"{file}: state.{name} is no {wanted.dtype} of "
                                f"{list(wanted.shape)}; train again")
        if not torch.isfinite(given).all():
            raise FalconetError(f"{file}: state.{name} has values that are no numbers (nan or "
                                "inf): the training diverged; train again with a lower rate")
