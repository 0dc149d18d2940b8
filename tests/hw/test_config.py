"""The configuration: what it refuses and what it derives."""

import dataclasses

import pytest

from hw.config import VECTOR, Config

BAD = {
    "co_lanes": (0, 4, 12, 32),
    "pixels": (0, 3, 8),
    "multiplier": ("", "dsp", "generic "),
    "table_rows": (-1, VECTOR + 1),
    "requantisers": (0, 3, 32, -8),
    "acc_width": (19, 26),
    "act_vectors": (0, 128, 300, 1 << 17, 65_792),
    "weight_vectors": (0, 256, 1000, 1 << 15),
    "line_vectors": (0, 32, 100, 8192),
    "image_width": (0, 8, 100, 2048),
    "image_lines": (0, 8, 24, 128),
    "strip_steps": (0, 16, 33, 128),
    "burst": (0, 3, 512),
    "profile": (2, 0, None),
}
GOOD = {
    "co_lanes": (8, 16), "pixels": (1, 2, 4), "multiplier": ("generic", "dsp48-packed", "mult18"),
    "table_rows": (0, 7, VECTOR), "requantisers": (1, 2, 4, 8, 16), "acc_width": (20, 25),
    "act_vectors": (1024, 8192, 1 << 16), "weight_vectors": (512, 1 << 14),
    "line_vectors": (64, 4096), "image_width": (16, 1024), "image_lines": (16, 64),
    "strip_steps": (32, 64), "burst": (1, 256), "profile": (True, False),
}
FIELDS = [field.name for field in dataclasses.fields(Config)]


def test_every_field_is_covered():
    assert set(BAD) == set(GOOD) == set(FIELDS)


@pytest.mark.parametrize("field", FIELDS)
def test_refused_with_both_numbers(field):
    """The message names the field, what was given and what is supported, on one line."""
    for value in BAD[field]:
        with pytest.raises(ValueError) as caught:
            Config(**{field: value})
        message = str(caught.value)
        assert "\n" not in message
        given, supported = message.split(", supported: ")
        assert given == f"configuration: {field} is {value!r}"
        assert field in ("multiplier", "profile") or any(map(str.isdigit, supported))


@pytest.mark.parametrize("field", FIELDS)
def test_accepted(field):
    for value in GOOD[field]:
        assert getattr(Config(**{field: value}), field) == value


def test_activation_banks_are_equal():
    """The depth is divided among the pixels in whole blocks."""
    Config(pixels=4, act_vectors=1024)
    with pytest.raises(ValueError, match="act_vectors is 768, supported: multiples of 1024"):
        Config(pixels=4, act_vectors=768)


def test_derived_numbers():
    for co_lanes in (8, 16):
        for pixels in (1, 2, 4):
            for requantisers in (1, 4, 16):
                config = Config(co_lanes=co_lanes, pixels=pixels, requantisers=requantisers)
                assert config.lanes == 16 * co_lanes * pixels
                assert config.halves * co_lanes == 16
                assert config.tile_vectors * 16 == 16 * co_lanes
                assert config.phases * requantisers == 16


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().pixels = 2


def test_digest_names_what_programs_depend_on():
    """A program does not see how the multipliers are made or what is counted; all else it does."""
    digests = {Config().digest}
    for field, values in GOOD.items():
        for value in values:
            config = Config(**{field: value})
            unseen = field in ("multiplier", "table_rows", "profile")
            if unseen or value == getattr(Config(), field):
                assert config.digest == Config().digest
            else:
                assert config.digest not in digests
                digests.add(config.digest)
    assert all(0 <= digest < 1 << 32 for digest in digests)
