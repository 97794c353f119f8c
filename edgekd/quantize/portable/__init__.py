"""Which int8 layers can saturate on CPUs without VNNI, and the weight ranges with which none does."""

from edgekd.quantize.portable.pairs import safe_ranges, weight_pair_sum
from edgekd.quantize.portable.saturation import Layer, layers, observed, saturating

__all__ = ["Layer", "layers", "observed", "safe_ranges", "saturating", "weight_pair_sum"]
