"""A bundle takes the place of the old one whole, or not at all, whenever the process is killed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd.bundle.manifest import BY_KIND, LABELS, MANIFEST, OWN, REPORTS, SAMPLE_NAME
from edgekd.errors import BadInputError


def recover(folder: Path) -> None:
    """Put back the bundle that `write`, killed between its two renames, left beside `folder`."""
    place, _, old = _places(folder)
    if (old / MANIFEST).is_file() and not place.exists():
        old.rename(place)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new empty folder, which takes the place of `folder` when the block ends, and is deleted when it fails.

    Raises:
        BadInputError: `folder` holds something else than a bundle.
        OSError: the disk is full or the folder is read-only; what was at `folder` is still there.
    """
    place, new, old = _places(folder)
    recover(folder)
    _refuse_strangers(place)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    try:
        new.mkdir(parents=True)
        yield new
        _swap(new, place, old)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _places(folder: Path) -> tuple[Path, Path, Path]:
    """Where the bundle belongs; beside it, where the new one is made and where the old one waits."""
    place = folder.resolve()
    return place, place.with_name(f".{place.name}.edgekd-new"), place.with_name(f".{place.name}.edgekd-old")


def _refuse_strangers(place: Path) -> None:
    """Refuse to delete what is no bundle."""
    if not place.exists():
        return
    found = {path.name for path in place.iterdir()} if place.is_dir() else {"a file"}
    found = {name for name in found if not SAMPLE_NAME.fullmatch(name)} if MANIFEST in found else found
    strangers = sorted(found - {MANIFEST, LABELS, *OWN, *BY_KIND, *REPORTS}) if MANIFEST in found else sorted(found)
    if strangers:
        raise BadInputError(
            f"{place} is there and holds what is no bundle's ({', '.join(strangers[:3])}); it would be deleted: "
            "choose another folder, or move that away"
        )


def _swap(new: Path, place: Path, old: Path) -> None:
    """`new` becomes `place`. No portable call exchanges two folders, so for a moment there is none."""
    if not place.exists():
        new.rename(place)
        return
    place.rename(old)
    try:
        new.rename(place)
    except OSError:
        old.rename(place)
        raise
    shutil.rmtree(old)
