"""Samples decoded into a file: once, whole or not at all, and again where the source is another one."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekd.decoded import Storage, clear, entries
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.progress import Progress
from edgekd.rows import Rows

SAMPLES = np.random.default_rng(0).integers(0, 255, (1000, 4, 3), dtype=np.uint8)


class Source:
    """A file whose decoding is counted. read: from which sample each decoding began."""

    def __init__(self, folder: Path, samples: npt.NDArray[Any] = SAMPLES) -> None:
        self.path = folder / "source.bin"
        self.path.write_bytes(b"as it was")
        self.samples, self.read = samples, list[int]()

    def pieces(self, start: int) -> Iterator[npt.NDArray[Any]]:
        self.read.append(start)
        for at in range(start, len(self.samples), 100):
            yield self.samples[at : at + 100]

    def kept(self, storage: Storage, read: Callable[[int], Iterator[npt.NDArray[Any]]] | None = None) -> Rows:
        return storage.keep(
            source=self.path,
            files=[("source.bin", self.path)],
            settings={"kind": "test"},
            row=self.samples.shape[1:],
            dtype=self.samples.dtype,
            count=len(self.samples),
            read=read or self.pieces,
        )


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def disk(tmp_path: Path, **more: Any) -> Storage:
    return Storage(mode="disk", folder=tmp_path / "cache", **more)


def test_a_source_is_decoded_once_and_again_when_it_changed(source: Source, tmp_path: Path) -> None:
    for _ in range(2):
        np.testing.assert_array_equal(source.kept(disk(tmp_path))[:], SAMPLES)
    assert source.read == [0]
    stat = source.path.stat()
    time.sleep(0.02)  # a tick of the file system's clock
    source.path.write_bytes(b"as it is ")  # of the same length
    os.utime(source.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the time of change cannot be set back
    source.samples = SAMPLES[::-1].copy()
    np.testing.assert_array_equal(source.kept(disk(tmp_path))[:], SAMPLES[::-1])
    assert source.read == [0, 0]
    assert len(entries(tmp_path / "cache")) == 1, "what was kept of the older state is gone"


def test_progress_says_how_far_it_is_and_where_it_goes(source: Source, tmp_path: Path) -> None:
    said = list[Progress]()
    source.kept(disk(tmp_path, listener=said.append))
    assert {one.stage for one in said} == {"decode"} and (said[-1].done, said[-1].total) == (1000, 1000)
    assert str(source.path) in said[0].note and str(tmp_path / "cache") in said[0].note


def test_auto_keeps_in_memory_what_is_below_its_limit(tmp_path: Path) -> None:
    limited = Storage(limit_bytes=100)
    assert [limited.on_disk(size) for size in (0, 100, 101)] == [False, False, True]
    assert not Storage(mode="memory").on_disk(1e18) and Storage(mode="disk").on_disk(0)
    assert not Storage().on_disk(1 << 20) and Storage().on_disk(1e15), "a quarter of the memory is between"


def test_a_decoder_that_failed_goes_on_where_its_samples_were_safe(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekd.decoded.storage.SAFE_BYTES", 3000)  # 250 samples: after every third piece

    def fails(start: int) -> Iterator[npt.NDArray[Any]]:
        for number, piece in enumerate(source.pieces(start)):
            if number == 5:
                raise BadInputError("picture 500 is broken")
            yield piece

    with pytest.raises(BadInputError, match="picture 500"):
        source.kept(disk(tmp_path), fails)
    (entry,) = entries(tmp_path / "cache")
    assert not entry.complete
    np.testing.assert_array_equal(source.kept(disk(tmp_path))[:], SAMPLES)
    assert source.read == [0, 300]


def test_a_source_that_changes_while_it_is_read_is_named_and_nothing_of_it_is_kept(
    source: Source, tmp_path: Path
) -> None:
    def changes(start: int) -> Iterator[npt.NDArray[Any]]:
        yield from source.pieces(start)
        source.path.write_bytes(b"longer than it was")

    with pytest.raises(BadInputError, match=r"source.bin: its files changed while they were decoded"):
        source.kept(disk(tmp_path), changes)
    assert not entries(tmp_path / "cache")


@pytest.mark.parametrize("damage", ["short", "gone", "garbled"])
def test_a_damaged_entry_is_made_again(damage: str, source: Source, tmp_path: Path) -> None:
    source.kept(disk(tmp_path))
    (entry,) = entries(tmp_path / "cache")
    if damage == "short":
        os.truncate(entry.folder / "rows.bin", 100)
    elif damage == "gone":
        (entry.folder / "rows.bin").unlink()
    else:
        (entry.folder / "about.json").write_text('{"format": 1, "key": 7}')
    np.testing.assert_array_equal(source.kept(disk(tmp_path))[:], SAMPLES)
    assert source.read == [0, 0]


def test_what_is_in_use_is_not_cleared(source: Source, tmp_path: Path) -> None:
    rows = source.kept(disk(tmp_path))
    part = rows.take(np.array([1, 2]))
    del rows
    with pytest.raises(BadInputError, match="in use by another edgekd process and kept"):
        clear(tmp_path / "cache")
    np.testing.assert_array_equal(part[:], SAMPLES[1:3])
    del part
    assert [entry.complete for entry in clear(tmp_path / "cache")] == [True]
    assert not list((tmp_path / "cache").iterdir())


def test_two_processes_decode_a_source_once(source: Source, tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_decoded import SAMPLES, Source, disk
        class Same(Source):
            def __init__(self): self.path, self.samples, self.read = Path({str(source.path)!r}), SAMPLES, []
            def pieces(self, start):
                for piece in super().pieces(start):
                    time.sleep(0.05)
                    yield piece
        made = Same()
        assert (made.kept(disk(Path({str(tmp_path)!r})))[:] == SAMPLES).all()
        print(made.read)
    """)
    both = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate()[0].strip() for process in both)
    assert said == ["[0]", "[]"] and not any(process.returncode for process in both)


def test_a_killed_decoder_leaves_nothing_wrong(source: Source, tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from edgekd.decoded import storage
        from test_decoded import SAMPLES, Source, disk
        storage.SAFE_BYTES = 1000
        class Slow(Source):
            def __init__(self): self.path, self.samples, self.read = Path({str(source.path)!r}), SAMPLES, []
            def pieces(self, start):
                for number, piece in enumerate(super().pieces(start)):
                    if number == 4:
                        print("now", flush=True)
                        time.sleep(60)
                    yield piece
        Slow().kept(disk(Path({str(tmp_path)!r})))
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGKILL)
    np.testing.assert_array_equal(source.kept(disk(tmp_path))[:], SAMPLES)
    assert source.read == [400]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, mounted read-write; its content goes with it."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mounted, capture_output=True).returncode:  # noqa: PLW1510
        pytest.skip("may not mount a tmpfs here")
    yield place
    subprocess.run(["umount", str(place)], check=False)


def test_a_full_disk_is_told_before_anything_is_decoded_and_what_to_do(small: Path, tmp_path: Path) -> None:
    source = Source(tmp_path, np.zeros((1000, 100), dtype=np.uint8))
    with pytest.raises(
        EnvironmentFault, match=r"the disk is full: decoded samples need 0.1 MB, and .*small/.* has room"
    ):
        source.kept(Storage(mode="disk", folder=small))
    assert source.read == [] and not entries(small)


def test_a_disk_that_fills_while_it_is_decoded_keeps_nothing(small: Path, tmp_path: Path) -> None:
    source = Source(tmp_path, np.zeros((500, 100), dtype=np.uint8))  # 50 kB, which fit

    def others_write(start: int) -> Iterator[npt.NDArray[Any]]:
        for piece in source.pieces(start):
            yield piece
            (small / f"{len(list(small.iterdir()))}").write_bytes(bytes(4096))

    with pytest.raises(EnvironmentFault, match=r"disk is full: .*EDGEKD_CACHE to a folder on a larger disk"):
        source.kept(Storage(mode="disk", folder=small), others_write)
    assert not entries(small)


def test_a_folder_that_cannot_be_written_is_named(small: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    with pytest.raises(EnvironmentFault, match=r"cannot write decoded samples to .*small: Read-only file system; set"):
        Source(tmp_path).kept(Storage(mode="disk", folder=small))
