"""A scheme says in words what it does, and the first one of a variant is portable where that is asked for."""

import pytest

from edgekd.quantize.scheme import FIX, STATIC, Saturation, Scheme, base


def test_a_scheme_is_told_in_one_sentence() -> None:
    assert Scheme().sentence() == "uint8 activations x int8 weights, a scale a channel, minmax ranges"
    everything = Scheme(
        pair="s8s8",
        per_channel=False,
        weights="safe",
        method="mse",
        nodes="matrix",
        exclude=("first", "last"),
        raw_pixels=True,
        equalised=True,
        corrected=True,
    )
    assert everything.sentence() == (
        "int8 activations x int8 weights, a scale a tensor, headroom a channel against saturation on AVX2, mse ranges, "
        "matrix products only, preprocessing folded into the first layer, cross-layer equalisation, bias correction, "
        "fp32: first, last"
    )


@pytest.mark.parametrize("variant", sorted(STATIC))
def test_two_schemes_of_one_variant_never_read_the_same(variant: str) -> None:
    found = {
        base(variant, portable=portable, saturation=saturation) for portable in (True, False) for saturation in FIX
    }
    assert len({scheme.sentence() for scheme in found}) == len(found)
    assert {scheme.pair for scheme in found} == {STATIC[variant][0]}


@pytest.mark.parametrize(
    ("variant", "saturation", "weights"),
    [
        ("int8-u8s8", "safe", "safe"),
        ("int8-s8s8", "7bit", "7bit-there"),
        ("int8-u8s8", "u8u8", "u8u8-there"),
        ("int8-u8s8", "session-key", "full"),
        ("int8-u8s8", "refuse", "full"),
        ("int8-u8s8-7bit", "safe", "7bit"),  # cannot saturate as it is
        ("int8-u8u8", "safe", "full"),  # nor can unsigned weights
    ],
)
def test_a_portable_file_gets_what_keeps_its_layers_from_saturating(
    variant: str, saturation: Saturation, weights: str
) -> None:
    assert base(variant, portable=True, saturation=saturation).weights == weights
    assert base(variant, portable=False, saturation=saturation).weights == STATIC[variant][1]
