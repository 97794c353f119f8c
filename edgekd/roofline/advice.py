"""The nodes worth changing: where the most time could go away at best, and in plain words what to try."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekd.roofline.judge import Placed, is_removable, least_us
from edgekd.roofline.peaks import Peaks
from edgekd.roofline.work import is_depthwise

MOST = 5
NEAR = 0.5
"""From half of its roof up a kernel is called good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One node worth a try. at_most_ms: of an inference, what would be saved if it reached the bound; never promised.

    share: of the time of all kernels.
    """

    name: str
    op_type: str
    at_most_ms: float
    share: float
    why: str


def worth_changing(
    placed: Sequence[Placed], peaks: Peaks | None, *, before_us: Mapping[str, float] | None = None
) -> tuple[Advice, ...]:
    """The five nodes with the most to gain, most first; none without peaks.

    before_us: name -> microseconds of an inference in the base file, where a node could be traced.
    """
    if peaks is None:
        return ()
    known, quantized = before_us or {}, any(one.node.kind in ("int8", "quantize") for one in placed)
    total = sum(one.node.total_us for one in placed) or 1.0
    found = []
    for one in placed:
        before = known.get(one.node.name)
        saved = _saved_us(one, peaks)
        if saved > 0:
            why = _why(one, peaks, quantized=quantized, before_us=before)
            found.append(
                Advice(
                    name=one.node.name,
                    op_type=one.node.op_type,
                    at_most_ms=saved / 1e3,
                    share=saved / total,
                    why=why,
                )
            )
    return tuple(sorted(found, key=lambda advice: -advice.at_most_ms)[:MOST])


def _saved_us(one: Placed, peaks: Peaks) -> float:
    least = least_us(one, peaks)
    return 0.0 if least is None else max(0.0, one.node.calls * (one.node.median_us - least))


def _why(one: Placed, peaks: Peaks, *, quantized: bool, before_us: float | None) -> str:
    node = one.node
    if node.kind == "int8" and before_us is not None and before_us < node.total_us:
        return (
            f"slower than in the base file ({_ms(node.total_us)} against {_ms(before_us)}): leave it in float, which "
            f"saves {_ms(node.total_us - before_us)} less the conversions around it, or give it a shape with a better "
            "int8 kernel"
        )
    if is_removable(node):
        return _removable(one)
    if one.work is not None and one.work.macs:
        return _product(one, peaks, quantized=quantized)
    if one.verdict == "memory":
        return (
            f"moves {_bytes(one)} and computes little: its time goes if it is fused with a neighbour (ONNX Runtime "
            "fuses Relu and Clip with Conv), or left out"
        )
    if one.verdict == "overhead":
        what = "mostly a launch" if node.median_us <= 2 * peaks.profiled_us else "a slow kernel for what it does"
        return f"takes {_times(one)} what its shapes explain, {what}: try to do without it, or to fuse it"
    return f"at {_percent(one)} of what this machine does with such values: a cheaper function, or fewer of them"


def _removable(one: Placed) -> str:
    node = one.node
    if node.kind == "quantize":
        if node.edge == "input":
            return "quantizes the network's input: gone where the file takes integers itself"
        if node.edge == "output":
            return "turns the output into floats: gone where the caller reads integers"
        return "converts between float and int8 by itself: gone if its neighbours compute in the same type"
    if node.kind == "copy":
        return "copies between devices: gone if its neighbours run on the same one"
    if node.op_type == "Cast":
        return "changes the type and computes nothing: gone if its neighbours use the same type"
    where = " of the input" if node.edge == "input" else " of the output" if node.edge == "output" else ""
    return f"changes the layout{where} and computes nothing: gone if the file keeps one layout"


def _product(one: Placed, peaks: Peaks, *, quantized: bool) -> str:
    node, done = one.node, one.work
    assert done is not None
    reached = f"{_percent(one)} of its {done.rate} roof"
    if is_depthwise(node):
        other = "compare it in float" if done.rate == "int8" else "a plain convolution of fewer channels may be as fast"
        return f"depthwise, at {reached}: few multiply-adds for what it moves; {other}"
    if node.kind == "float":
        return _float_product(reached, peaks, quantized=quantized)
    if node.kind == "weight-only":
        return f"weights of few bits that become floats first, at {reached}: int8 products may be faster"
    if one.verdict == "memory":
        return f"bound by reading {_bytes(one)}, at {reached}: fewer or smaller weights, or larger batches"
    if (one.attained or 0) >= NEAR:
        return f"already at {reached}: less work (fewer channels, a smaller input) is what is left"
    groups = node.attributes.get("group", 1)
    shape = f"a convolution in {groups} groups" if groups > 1 else "this shape"
    return f"at {reached}: the kernel is poor at {shape}; try another shape, or compare it in float"


def _float_product(reached: str, peaks: Peaks, *, quantized: bool) -> str:
    state = f"{'a float island in a quantized file' if quantized else 'computes in float'}, at {reached}"
    gain = peaks.int8.best / peaks.fp32.best
    if gain <= 1:
        return f"{state}; int8 has no higher peak on this machine"
    return f"{state}; int8 products have {gain:.1f} times the peak here: quantize it if accuracy allows"


def _percent(one: Placed) -> str:
    share = 100 * (one.attained or 0.0)
    return f"{share:.0f} %" if share >= 1 else "less than 1 %"


def _times(one: Placed) -> str:
    attained = one.attained or 0.0
    return f"{1 / attained:.0f} times" if attained > 0.001 else "far more than"


def _bytes(one: Placed) -> str:
    size = one.work.bytes_moved if one.work else 0
    return f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB"


def _ms(microseconds: float) -> str:
    return f"{microseconds / 1e3:.3g} ms"
