"""Files are whole under their final name, or not there."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from falconet.isa import FalconetError
from falconet.isa.files import written, written_folder


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


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "set"
    with pytest.raises(KeyboardInterrupt), written_folder(path) as part:
        (part / "half").write_text("")
        raise KeyboardInterrupt
    assert os.listdir(path.parent) == []
    path.mkdir()
    with written_folder(path) as part:
        (part / "below").mkdir()
        (part / "below" / "a.txt").write_text("x")
        assert not any(path.iterdir())
    assert [p.name for p in path.rglob("*")] == ["below", "a.txt"]
    assert os.listdir(path.parent) == ["set"]
    with pytest.raises(FalconetError, match="is there already and not empty"), written_folder(path):
        pass


def test_one_in_another(tmp_path: Path) -> None:
    with written(tmp_path / "a.txt") as outer:
        with written(outer) as inner:
            inner.write_text("x")
        assert inner == outer and not (tmp_path / "a.txt").exists()
    assert os.listdir(tmp_path) == ["a.txt"]


WRITER = """
import sys
from pathlib import Path
from falconet.isa.files import written, written_folder
with written(Path(sys.argv[1])) as a, written_folder(Path(sys.argv[2])) as b:
    a.write_text("half")
    (b / "half").write_text("half")
    print(a, b, sep="\\n", flush=True)
    sys.stdin.readline()
    a.write_text("whole")
"""


@contextmanager
def writing(folder: Path) -> Iterator[tuple[subprocess.Popen[str], set[str]]]:
    """Another process in the middle of ``folder / "a.txt"`` and ``"b"``, and its parts."""
    with subprocess.Popen([sys.executable, "-c", WRITER, folder / "a.txt", folder / "b"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, {Path(process.stdout.readline().strip()).name for _ in range(2)}


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    mine = {".a-1a2b3c4d.txt", ".falconet-1a2b3c4d", ".a.falconet-1a2b3c4d.tar.gz"}
    for name in mine:
        (tmp_path / name).write_text("no part of ours")
    (tmp_path / "a.txt").write_text("old")
    with writing(tmp_path) as (process, parts):
        process.send_signal(signal.SIGKILL)
    assert set(os.listdir(tmp_path)) == {"a.txt", *mine, *parts} and len(parts) == 2
    assert (tmp_path / "a.txt").read_text() == "old"
    with written(tmp_path / "c.txt") as beside:
        assert set(os.listdir(tmp_path)) == {"a.txt", *mine, beside.name}
        beside.write_text("x")
    assert set(os.listdir(tmp_path)) == {"a.txt", "c.txt", *mine}


def test_what_another_process_is_writing_is_not_swept(tmp_path: Path) -> None:
    with writing(tmp_path) as (process, parts):
        with written(tmp_path / "a.txt") as beside:
            beside.write_text("mine")
        assert set(os.listdir(tmp_path)) == {"a.txt", *parts}
        process.communicate("\n")
    assert process.returncode == 0 and set(os.listdir(tmp_path)) == {"a.txt", "b"}
    assert (tmp_path / "a.txt").read_text() == "whole" and os.listdir(tmp_path / "b") == ["half"]
