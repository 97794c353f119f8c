"""What a starter recipe says of several labels a sample: whether the source has them, and the limits of [gate]."""

from pathlib import Path

from edgekd.data import BUILTIN, Dataset, text_source
from edgekd.data.label_sets import SEPARATOR, parse
from edgekd.data.manifest import is_manifest, read_rows
from edgekd.data.text_source import TextSettings
from edgekd.errors import BadInputError

TASK = f'task = "multi-label" # a cell names several classes, with {SEPARATOR} between; remove it if that is one name\n'
"""A line of [data]."""


def has_several(source: str) -> bool:
    """Whether a cell of a table of pictures, or of a file of texts, names two classes or more: then all may.

    Other sources say it by their form. What cannot be read is left to whoever reads it in earnest.
    """
    path = Path(source)
    if source in BUILTIN:
        return False
    try:
        if text_source.is_text_source(path):
            labels = text_source.read_pool(path, TextSettings(), classes=None, separator=SEPARATOR)[0].train.labels
            return bool(((labels == 1).sum(axis=1) > 1).any())
        cells = [(row.label, row.where) for row in read_rows(path)] if is_manifest(path) else []
        return any(len(parse(cell, SEPARATOR, where=where) or ()) > 1 for cell, where in cells if cell)
    except BadInputError:
        return False


def limits(dataset: Dataset, what: str) -> str:
    """The lines of [gate] that are about accuracy. what: a test sample, such as `images`."""
    beside = f"against the fp32 file, on the same test {what}"
    if dataset.multi_label:
        return f"""min_micro_f1 = 0.50 # of the label sets, at a probability of 1/2; raise it to what you need
max_micro_f1_drop = 0.03 # {beside}"""
    if dataset.test.known_labels is None:
        return "min_agreement = 0.80 # of the student and the teacher: there are no labels to measure accuracy with"
    chance = max(1 / len(dataset.classes), 0.01)
    least = chance + (1 - chance) * 0.25
    return f"""min_top1 = {least:.2f} # well above chance ({chance:.2f}); raise it to what you need
max_top1_drop = 0.03 # {beside}"""
