"""The samples of the notebook: made, found, copied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from falconet import samples
from falconet.isa import BOARDS, FalconetError, Program
from falconet_app.cli import main
from falconet_app.commands.samples import PHOTOGRAPHS
from falconet_models.data import photograph


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    assert main(["samples", str(folder)]) == 0
    return folder


def test_there_is_a_program_for_every_board_that_runs_linux(made: Path) -> None:
    for board in BOARDS.values():
        if board.linux:
            program = Program.load(made / f"retinaface-{board.preset}.flc")
            assert program.arch.hash == board.arch.hash
            assert program.header["detect"]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_are_kept_to_the_bit(name: str, made: Path) -> None:
    with Image.open(made / f"{name}.png") as picture:
        assert np.array_equal(np.asarray(picture), photograph(name))


def test_this_folder_goes_before_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home, here):
        folder.mkdir()
        (folder / "a.png").write_text(folder.name)
    (home / "b.png").write_text("home")
    monkeypatch.setattr(samples, "HOME", home)
    monkeypatch.chdir(here)
    assert samples.sample("a.png").read_text() == "here"
    assert samples.sample("b.png").read_text() == "home"
    with pytest.raises(FalconetError, match=r"c\.png: not in this folder"):
        samples.sample("c.png")


def test_copies_keep_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    home, to = tmp_path / "home", tmp_path / "new" / "folder"
    home.mkdir()
    monkeypatch.setattr(samples, "HOME", home)
    assert samples.main([str(to)]) == 1
    assert "there are no samples" in capsys.readouterr().err
    for name in ("a.flc", "b.png", "falconet.ipynb", "__init__.py"):
        (home / name).write_text(name)
    to.mkdir(parents=True)
    (to / "b.png").write_text("mine")
    assert samples.main([str(to)]) == 0
    assert {p.name: p.read_text() for p in to.iterdir()} == {
        "a.flc": "a.flc", "b.png": "mine", "falconet.ipynb": "falconet.ipynb",
    }
    assert samples.main([]) == 2
