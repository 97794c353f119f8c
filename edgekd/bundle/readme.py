"""README.txt of a bundle: what it is, and what can be done with it."""

from collections.abc import Mapping
from typing import Any

from edgekd import __version__
from edgekd.bundle.outputs import Outputs
from edgekd.bundle.preprocessing import kind_of
from edgekd.bundle.tolerance import are_scores
from edgekd.session import Facts

CLASSES_TEXT = """\
{variant} classifier of {classes} classes, bundled by edgekd {version}.

python infer.py              run the samples, compare with the outputs expected of them (needs onnxruntime, numpy)
python infer.py image.npy    the three best labels of one image, {dtype} {shape}, saved with numpy.save
"""
PICTURES_TEXT = """\
{variant} classifier of {classes} classes of pictures, bundled by edgekd {version}.

python infer.py              run the samples, compare with the outputs expected of them (needs onnxruntime, numpy)
python infer.py image.png    the three best labels of one PNG or JPEG (needs pillow too: pip install pillow)
python infer.py image.npy    the same of {dtype} {shape}, saved with numpy.save
"""
SOUND_TEXT = """\
{variant} classifier of {classes} classes of sound, bundled by edgekd {version}.

python infer.py              run the samples, compare with the outputs expected of them (needs onnxruntime, numpy)
python infer.py sound.wav    the three best labels of the beginning of a PCM WAV file of {rate} samples a second
python infer.py sound.npy    the same of {dtype} {shape}, saved with numpy.save
"""
SERIES_TEXT = """\
{variant} classifier of {classes} classes of sensor readings, bundled by edgekd {version}.

python infer.py               run the samples, compare with the outputs expected of them (needs onnxruntime, numpy)
python infer.py window.csv    the three best labels of one window, a row a reading, with a header line:
                              {columns}
python infer.py window.npy    the same of {dtype} {shape}, saved with numpy.save
"""
TEXTS_TEXT = """\
{variant} classifier of {classes} classes of texts, bundled by edgekd {version}.

python infer.py              run the samples, compare with the outputs expected of them (needs onnxruntime, numpy)
python infer.py "a text"     the three best labels of one text (needs tokenizers too: pip install tokenizers)
python infer.py text.npy     the same of its token numbers, {dtype} {shape}, padded with 0, saved with numpy.save
"""
VALUES_TEXT = """\
{variant} network, {outputs} output(s), bundled by edgekd {version}.

python infer.py                       run the samples, compare with the outputs expected of them
                                      (needs onnxruntime, numpy)
python infer.py sample.npy            shape, least and greatest number of each output of one sample,
                                      {dtype} {shape}, saved with numpy.save
python infer.py sample.npy out.npz    the same, and the outputs in a file
"""
BY_KIND = {"image": PICTURES_TEXT, "audio": SOUND_TEXT, "series": SERIES_TEXT, "text": TEXTS_TEXT}
"""Kind of data -> the text of a classifier of files."""

README_END = """\
edgekd verify .              hashes, outputs, and what infer.py makes of the sample files, on this machine

manifest.json tells whether a file changed by accident; it is not signed, so it does not tell who wrote it.
"""
TUNED = """
session.json holds options that `edgekd tune` measured as faster; the reports measured the target's own.
"""


def readme(
    variant: str,
    labels: tuple[str, ...],
    known: Facts,
    outputs: Outputs,
    said: Mapping[str, Any] | None,
    *,
    tuned: bool,
) -> str:
    """The whole text. said: the preprocessing of a file; None where nobody said it."""
    shape = ["any" if size is None else size for size in known.shape[1:]]
    kind = kind_of(said)
    of_classes = CLASSES_TEXT if kind is None else BY_KIND[kind]
    text = (of_classes if labels and are_scores(outputs[0]) else VALUES_TEXT) + README_END
    if known.metadata.get("task") == "multi-label":
        text = text.replace("the three best labels of", "the labels with a probability above 1/2 of")
    words = {"variant": variant, "version": __version__, "dtype": known.dtype, "shape": shape}
    facts = {} if said is None or kind is None else said[kind]
    words |= {"rate": facts["sample_rate"]} if kind == "audio" else {}
    words |= {"columns": ", ".join(facts["channels"]) or f"{known.shape[-1]} channels"} if kind == "series" else {}
    return text.format(**words, classes=len(labels), outputs=len(outputs)) + (TUNED if tuned else "")
