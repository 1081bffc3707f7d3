"""Files are whole under their final name, or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from falconet.commands.files import written
from falconet.isa import FalconetError


def test_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    with written(path) as beside:
        assert beside.parent == path.parent and beside.suffix == ".txt"
        beside.write_text("first")
        assert not path.exists()
        file = beside.stat().st_ino
    assert path.stat().st_ino == file  # moved, not copied
    assert path.read_text() == "first" and os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no"), FalconetError("no")])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), written(path) as beside:
        beside.write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "to" / "real.txt")
    with written(link) as beside:
        beside.write_text("x")
    assert link.is_symlink() and (tmp_path / "to" / "real.txt").read_text() == "x"


def test_a_device_is_written_to(tmp_path: Path) -> None:
    with written(Path(os.devnull)) as given:
        assert given == Path(os.devnull)
        given.write_text("x")


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(FalconetError, match="is a folder; give the name"), written(tmp_path):
        pass
    (tmp_path / "file").write_text("")
    for path, reason in ((tmp_path / "file" / "a.txt", "File exists|Not a directory"),
                         (Path("/proc/falconet/a.txt"), "No such file")):
        with pytest.raises(FalconetError, match=rf"^{path}: cannot be written \(({reason})"):
            with written(path) as beside:
                beside.write_text("x")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FalconetError, match=r"a.txt: cannot be written \(No space left"):
        with written(tmp_path / "a.txt") as beside:
            beside.write_text("half")
            raise full
    assert os.listdir(tmp_path) == ["file"]


def test_another_file_is_not_blamed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"input\.txt"), written(tmp_path / "a.txt"):
        (tmp_path / "input.txt").read_text()
