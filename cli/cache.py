"""`cache`: what is kept for later runs: teachers' logits, what endpoints answered, samples decoded into files."""

from dataclasses import asdict
from datetime import datetime
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
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove logits and samples, which are computed again; what is in use stays.")
    ] = False,
    clear_answers: Annotated[
        bool, typer.Option("--clear-answers", help="Remove what endpoints answered, which then is asked for again.")
    ] = False,
    json_: JsonOption = False,
) -> int:
    """List what is kept on disk, teachers' logits, what endpoints answered and decoded samples, or clear it."""
    from edgekd import decoded, teacher_logits
    from edgekd.store import cache_home
    from edgekd.teachers import answers

    home = cache_home(str(folder) if folder else None)
    place, told = home / "teacher-logits", home / "endpoint-answers"
    listing = not (clear or clear_answers)
    logits = teacher_logits.clear(place) if clear else teacher_logits.entries(place) if listing else ()
    if clear:  # what was measured of those teachers: a small file each
        for stage in (home / "teachers").glob("*/stages/teacher.json"):
            stage.unlink(missing_ok=True)
    place_of_samples = home / "decoded"
    samples = decoded.clear(place_of_samples) if clear else decoded.entries(place_of_samples) if listing else ()
    kept = answers.clear(told) if clear_answers else answers.kept(told) if listing else ()
    if json_:
        document = {"folder": str(place), "cleared": clear, "entries": [asdict(entry) for entry in logits]}
        more = {"answers_cleared": clear_answers, "answers": [asdict(one) for one in kept]}
        more["decoded"] = [asdict(entry) for entry in samples]
        console.print_json(document | more)
        return 0
    cleared = "" if listing else "cleared from "
    _logits_table(logits, title=f"{cleared}{place}")
    _answers_table(kept, title=f"{cleared}{told}")
    _samples_table(samples, title=f"{cleared}{place_of_samples}")
    if not (logits or kept or samples):
        console.say(f"{home} holds nothing" if listing else f"{home}: there was nothing to clear")
    return 0


def _logits_table(entries, *, title: str) -> None:  # type: ignore[no-untyped-def]
    rows = []
    for entry in entries:
        state = "whole" if entry.complete else "unfinished"
        rows.append([entry.key[:16], f"{entry.size_bytes / 1e6:,.1f} MB", state, _when(entry.last_used)])
    if rows:
        console.table(["key", "size", "state", "last used, UTC"], rows, title=title)


def _samples_table(entries, *, title: str) -> None:  # type: ignore[no-untyped-def]
    rows = []
    for entry in entries:
        state = "whole" if entry.complete else "unfinished"
        size = f"{entry.size_bytes / 1e6:,.1f} MB"
        rows.append([entry.key[:16], size, state, _when(entry.last_used), entry.source])
    if rows:
        console.table(["key", "size", "state", "last used, UTC", "source"], rows, title=title)


def _answers_table(kept, *, title: str) -> None:  # type: ignore[no-untyped-def]
    rows = []
    for one in kept:
        size = f"{one.size_bytes / 1e6:,.1f} MB"
        rows.append([one.endpoint or one.folder.name[:16], f"{one.samples:,}", size, _when(one.last_answer)])
    if rows:
        console.table(["endpoint", "samples", "size", "last answer, UTC"], rows, title=title)


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
