"""Every implementation of resampling against Pillow, and how the C kernel comes to be."""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from falconet.isa import FalconetError
from falconet.runtime import kernel, resample
from falconet.runtime.resample import Scaling

IMPLEMENTATIONS = ("c", "c without vectors", "pillow", "numpy")


@pytest.fixture(params=IMPLEMENTATIONS)
def using(request, monkeypatch):
    name = request.param
    if name.startswith("c"):
        try:
            kernel.library()
        except FalconetError as e:
            pytest.skip(str(e))
    if name == "c without vectors":
        monkeypatch.setattr(kernel, "scale", functools.partial(kernel.scale, plain=True))
    return name.split()[0]


def by_pillow(image, height, width):
    """[height, width, channels]; each channel is a grey picture of its own."""
    def one(channel):
        wide = Image.fromarray(channel).resize((width, len(channel)), Image.Resampling.BILINEAR)
        return np.asarray(wide.resize((width, height), Image.Resampling.BILINEAR))

    return np.stack([one(np.ascontiguousarray(c)) for c in np.moveaxis(image, 2, 0)], axis=2)


def luma(image):
    """Pillow's own, of R, G, B."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(image[..., :3])).convert("L"))[..., None]


def spread(rng, image):
    """The same values with other strides: every second row, a part of a row, columns backwards."""
    h, w, channels = image.shape
    room = np.zeros((2 * h, w + 3, channels), np.uint8)
    view = [room[::2, 2:-1], room[:h, 3:][::-1], room[h:, 2 : w + 2][:, ::-1]][rng.integers(3)]
    view[...] = image
    return view


def sizes(rng):
    """Of the photograph and of the picture: from 1 pixel, greater, smaller, half, equal."""
    h, w = np.exp(rng.uniform(0, 4.6, 2)).astype(int)
    height, width = np.exp(rng.uniform(0, 4.2, 2)).astype(int)
    kind = rng.integers(5)
    if kind == 0:
        h, w = 2 * height, 2 * width
    elif kind == 1:
        h = 2 * height
    elif kind == 2:
        h, w = (height, w) if rng.integers(2) else (h, width)
    return (int(h), int(w)), (int(height), int(width))


def drawn(seed):
    """A Scaling, a photograph for it, and what is right."""
    rng = np.random.default_rng(seed)
    (h, w), size = sizes(rng)
    channels = int(rng.choice([1, 3, 3, 4]))
    image = rng.integers(0, 256, (h, w, channels), dtype=np.uint8)
    if rng.integers(3) == 0:  # extremes
        image = np.where(image > 127, 255, 0).astype(np.uint8)
    high, wide = (int(rng.integers(1, n + 1)) for n in size)
    top, left = int(rng.integers(size[0] - high + 1)), int(rng.integers(size[1] - wide + 1))
    window = None if rng.integers(2) else (top, left, high, wide)
    grey = channels > 1 and rng.integers(4) == 0
    results = 1 if grey else int(rng.choice([1, 3])) if channels == 1 else 3
    order = [0] * results if grey or channels == 1 else [int(v) for v in rng.permutation(3)]
    table = [rng.integers(0, 256, (results, 256), dtype=np.uint8), None,
             np.tile(np.arange(256, dtype=np.uint8) ^ 128, (results, 1))][rng.integers(3)]
    if table is None and results != (1 if grey or channels == 1 else 3):
        table = np.tile(np.arange(256, dtype=np.uint8), (results, 1))
    scaling = Scaling(image.shape, size, window, grey=grey, table=table, order=order)
    right = by_pillow(luma(image) if grey else image[..., :3], *size)
    if window:
        right = right[top : top + high, left : left + wide]
    right = right[..., order]
    if table is not None:
        right = np.stack([table[c][right[..., c]] for c in range(results)], axis=2)
    return scaling, spread(rng, image) if rng.integers(3) == 0 else image, right


@pytest.mark.parametrize("block", range(10))
def test_thousand_cases_equal_pillow(block, using):
    for seed in range(100 * block, 100 * block + 100):
        scaling, image, right = drawn(seed)
        around = np.full((right.shape[0] + 2, right.shape[1] + 2, right.shape[2]), 77, np.uint8)
        scaling(image, around[1:-1, 1:-1], using)
        np.testing.assert_array_equal(around[1:-1, 1:-1], right, err_msg=f"seed {seed}")
        around[1:-1, 1:-1] = 77
        assert (around == 77).all(), f"seed {seed} writes beside its result"


@pytest.mark.parametrize("source, target", [
    ((480, 640), (240, 320)), ((480, 640), (256, 341)), ((317, 1500), (64, 303)),
    ((1200, 9), (5, 300)), ((3, 2), (700, 500)),
])
def test_large(source, target, using):
    image = np.random.default_rng(0).integers(0, 256, (*source, 3), dtype=np.uint8)
    out = np.empty((*target, 3), np.uint8)
    Scaling(image.shape, target)(image, out, using)
    np.testing.assert_array_equal(out, by_pillow(image, *target))


def test_result_of_any_strides(using):
    image = np.random.default_rng(2).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    planes = np.zeros((3, 20, 17), np.uint8)
    Scaling(image.shape, (20, 17))(image, planes.transpose(1, 2, 0), using)
    np.testing.assert_array_equal(planes.transpose(1, 2, 0), by_pillow(image, 20, 17))


def test_narrow_window_of_a_huge_picture(using):
    """The whole of it would be 10 GB."""
    image = np.random.default_rng(3).integers(0, 256, (20_000, 1, 3), dtype=np.uint8)
    s = Scaling(image.shape, (2_000_000, 1_600), (999_990, 0, 7, 1_600))
    out = np.empty((7, 1600, 3), np.uint8)
    s(image, out, using)
    around = by_pillow(image[9_900:10_100], 20_000, 1600)
    np.testing.assert_array_equal(out, around[9_990:9_997])


# ------------------------------------------------------------------ which one is used


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Nothing is known or kept yet."""
    def forget():
        kernel.library.cache_clear()
        resample._chosen.cache_clear()

    monkeypatch.setenv("FALCONET_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FALCONET_RESAMPLE", raising=False)
    forget()
    yield tmp_path
    forget()


def compiler(folder, monkeypatch, text):
    """The only compiler there is: a script of the shell."""
    (folder / "bin").mkdir()
    (folder / "bin/cc").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "bin/cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder / "bin"))


def need_compiler():
    if not any(map(kernel.shutil.which, kernel._COMPILERS)):
        pytest.skip("no C compiler is installed; on Debian: apt-get install gcc")


def test_one_can_be_asked_for(fresh, monkeypatch):
    for name in ("numpy", "pillow"):
        monkeypatch.setenv("FALCONET_RESAMPLE", name)
        assert resample.implementation() == name
    monkeypatch.setenv("FALCONET_RESAMPLE", "opencv")
    with pytest.raises(FalconetError, match="FALCONET_RESAMPLE=opencv is unknown; use c, pillow"):
        resample.implementation()


def test_the_kernel_is_built_once(fresh):
    need_compiler()
    assert resample.implementation() == "c"
    [built] = (fresh / "cache").iterdir()
    before = built.stat().st_mtime_ns
    kernel.library.cache_clear()
    kernel.library()
    assert [p.stat().st_mtime_ns for p in (fresh / "cache").iterdir()] == [before]


def test_a_broken_kernel_is_built_again(fresh, monkeypatch):
    need_compiler()
    kernel.library()
    [built] = (fresh / "cache").iterdir()
    other = fresh / "other" / built.name  # what is loaded is known to the system by its path
    other.parent.mkdir()
    other.write_bytes(b"not a library")
    monkeypatch.setenv("FALCONET_CACHE", str(other.parent))
    kernel.library.cache_clear()
    assert resample.implementation() == "c"
    assert other.stat().st_size > 1000


@pytest.mark.parametrize("script, why", [
    ("exit 1", r"/cc cannot compile resample\.c"),
    ("echo no header >&2; exit 1", r"cannot compile resample\.c \(no header\)"),
    ('while [ "$1" != -o ]; do shift; done; echo nothing > $2', "the kernel cannot be built"),
])
def test_without_a_working_compiler(script, why, fresh, monkeypatch, capfd):
    compiler(fresh, monkeypatch, script)
    assert resample.implementation() == "pillow"
    assert capfd.readouterr() == ("", "")
    assert not list((fresh / "cache").glob("tmp*"))
    monkeypatch.setenv("FALCONET_RESAMPLE", "c")
    with pytest.raises(FalconetError, match=f"FALCONET_RESAMPLE=c: .*{why}.*; use another"):
        resample.implementation()


def test_without_a_compiler_and_pillow(fresh, monkeypatch):
    monkeypatch.setenv("PATH", str(fresh))
    find = resample.importlib.util.find_spec
    monkeypatch.setattr(resample.importlib.util, "find_spec",
                        lambda name: None if name == "PIL" else find(name))
    assert resample.implementation() == "numpy"
    for name, why in (("c", "no C compiler is installed"), ("pillow", "Pillow is not installed")):
        monkeypatch.setenv("FALCONET_RESAMPLE", name)
        with pytest.raises(FalconetError, match=f"FALCONET_RESAMPLE={name}: {why}; use another"):
            resample.implementation()


def test_a_folder_that_cannot_be_made(fresh, monkeypatch):
    (fresh / "file").touch()
    monkeypatch.setenv("FALCONET_CACHE", str(fresh / "file/cache"))
    assert resample.implementation() == "pillow"


def test_other_bytes_are_refused(fresh, monkeypatch):
    """Such as those of Pillow-SIMD, which rounds its coefficients."""
    def off_by_one(s, image, out):
        resample._with_numpy(s, image, out)
        out[-1, -1, -1] ^= 1

    for name in ("c", "pillow"):
        monkeypatch.setitem(resample._RUNS, name, off_by_one)
    assert resample.implementation() == "numpy"


def test_two_processes_build_at_once(fresh):
    need_compiler()
    command = [sys.executable, "-c", "from falconet.runtime.resample import implementation as i; "
               "assert i() == 'c'"]
    started = [subprocess.Popen(command, env=os.environ.copy()) for _ in range(2)]
    assert [p.wait(60) for p in started] == [0, 0]
    assert len(list((fresh / "cache").iterdir())) == 1
