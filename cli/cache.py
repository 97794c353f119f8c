"""`cache`: the teachers' logits that are kept for the next student."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli import console
from edgekd.cli.options import JsonOption

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        help="A recipe's distill.cache_folder. Default: $EDGEKD_CACHE, else ~/.cache/edgekd.",
        show_default=False,
    ),
]


def cache(
    folder: FolderOption = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove them all; what is in use stays.")] = False,
    json_: JsonOption = False,
) -> int:
    """List the teachers' logits that are kept on disk, or clear them."""
    from edgekd import teacher_logits
    from edgekd.store import cache_home

    home = cache_home(str(folder) if folder else None)
    place = home / "teacher-logits"
    found = teacher_logits.clear(place) if clear else teacher_logits.entries(place)
    if clear:  # what was measured of those teachers: a small file each
        for stage in (home / "teachers").glob("*/stages/teacher.json"):
            stage.unlink(missing_ok=True)
    if json_:
        console.print_json({"folder": str(place), "cleared": clear, "entries": [asdict(entry) for entry in found]})
        return 0
    rows = []
    for entry in found:
        state = "whole" if entry.complete else "unfinished"
        rows.append([entry.key[:16], f"{entry.size_bytes / 1e6:,.1f} MB", state, f"{entry.last_used:%Y-%m-%d %H:%M}"])
    if rows:
        console.table(["key", "size", "state", "last used, UTC"], rows, title=f"{'cleared from ' * clear}{place}")
    else:
        console.say(f"{place} holds nothing")
    return 0
