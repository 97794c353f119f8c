"""Sources -> train / calibration / validation / test, as raw samples of one kind. No torch here."""

from edgekd.data.dataset import Dataset, Kind, Samples
from edgekd.data.load import BUILTIN, load, load_labelled

__all__ = ["BUILTIN", "Dataset", "Kind", "Samples", "load", "load_labelled"]
