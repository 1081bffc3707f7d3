"""``falconet data digits``: a COCO folder, and one sentence for each mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falconet.isa import FalconetError
from falconet_app.cli import main
from falconet_models.datasets import Digits, open_dataset


def test_what_is_written_is_the_built_in_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "new" / "digits"
    call = f"data digits {folder} --size 64 --count 9 4 5 --seed 3"
    assert main(call.split()) == 0
    out = capsys.readouterr().out
    for split, count in (("train", 9), ("val", 4), ("test", 5)):
        found, made = open_dataset(folder, split), Digits(split, count, 64, 3)
        assert len(found) == count and found.labels == made.labels
        boxes = 0
        for i in range(count):
            a, b = found.load(i), made.load(i)
            assert np.array_equal(a.image, b.image) and np.array_equal(a.boxes, b.boxes)
            assert np.array_equal(a.classes, b.classes) and not a.ignored.any()
            boxes += len(a.boxes)
        assert f"instances_{split}.json: {count} scenes, {boxes} digits" in out
    assert main(call.split()) == 1
    assert f"{folder}: is there already and not empty; give a new folder" in capsys.readouterr().err


def test_one_that_fails_leaves_nothing_in_the_way_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(self: Digits, i: int) -> Any:
        if self.split == "test":
            raise FalconetError("no more digits")
        return load(self, i)

    load, call = Digits.load, f"data digits {tmp_path}/a --size 64 --count 2 1 1".split()
    with monkeypatch.context() as patched:
        patched.setattr(Digits, "load", failing)
        assert main(call) == 1
    assert list(tmp_path.iterdir()) == []
    assert main(call) == 0


@pytest.mark.parametrize(("options", "words"), [
    ("--size 8", "digits: a scene of 8 pixels is too small; take 32 or more"),
    ("--count 4 0 4", "digits: 0 scenes of seed 0 cannot be made; ask for one or more"),
])
def test_mistakes(
    options: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(f"data digits {tmp_path}/a {options}".split()) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("package", ["cv2", "yaml", "mlxtend"])
def test_a_missing_package_names_the_extra(package: str, tmp_path: Path) -> None:
    hide = (f"import sys, importlib.util as u; find = u.find_spec; sys.modules[{package!r}] = None;"
            f"u.find_spec = lambda n, *a: None if n == {package!r} else find(n, *a);"
            "from falconet_app.cli import main;"
            f"sys.exit(main(['data', 'digits', {str(tmp_path)!r}]))")
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True)
    assert done.returncode == 1 and "pip install 'falconet[train]'" in done.stderr
    assert done.stderr.count("\n") == 1
