"""One variant's file: where it is, or why it is not there."""

from dataclasses import dataclass
from pathlib import Path

from edgekd.files import sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One variant. path: the file's name in its folder, None where there is none, with the reason.

    description: how it was quantized, in words. saturates: layers whose 16-bit pair sums can saturate on AVX2.
    pair_sums: (layer, the largest sum that its weights allow, the largest on some samples where it can saturate).
    """

    name: str
    path: str | None
    size_bytes: int | None
    sha256: str | None
    reason: str = ""
    description: str = ""
    saturates: tuple[str, ...] = ()
    pair_sums: tuple[tuple[str, int, int | None], ...] = ()


def describe_file(
    name: str,
    path: Path,
    *,
    description: str = "",
    saturates: tuple[str, ...] = (),
    pair_sums: tuple[tuple[str, int, int | None], ...] = (),
) -> Built:
    """The facts of a file that is there, such as fp32 itself."""
    return Built(
        name=name,
        path=path.name,
        size_bytes=path.stat().st_size,
        sha256=sha256(path),
        description=description,
        saturates=saturates,
        pair_sums=pair_sums,
    )


def lost(name: str, reason: str) -> Built:
    """A variant without a file."""
    return Built(name=name, path=None, size_bytes=None, sha256=None, reason=reason)
