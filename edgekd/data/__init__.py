"""Sources -> train / calibration / validation / test, as raw uint8 pixels. No torch here."""

from edgekd.data.dataset import Dataset, Samples
from edgekd.data.load import BUILTIN, load, load_labelled

__all__ = ["BUILTIN", "Dataset", "Samples", "load", "load_labelled"]
