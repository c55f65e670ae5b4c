import numpy as np
import pytest

from deepsal.rf.mapping.noise_fields import interpolate_to_pixels, stored_noise_fields
from tests.rf.mapping.support import small


def test_beyond_the_size_limit_only_watched_units_are_stored() -> None:
    fields, entry = small(pairs=16)["conv1"], "conv1/natural"
    size = 4 * fields.field.size
    for limit, units in ((size, [0, 1, 2, 3]), (size - 1, [2, 0])):
        stored = stored_noise_fields({entry: fields}, {entry: [2, 0]}, limit)[entry]
        assert stored.units.tolist() == units
        assert np.array_equal(stored.field, fields.field[units])
        assert np.array_equal(stored.stderr, fields.stderr[units].astype(np.float32))
        assert np.array_equal(stored.reliability, fields.reliability[units], equal_nan=True)
    with pytest.raises(ValueError, match=r"units \[9\] are stored"):
        stored_noise_fields({entry: fields}, {entry: [9]}, 0)


def test_blocks_are_interpolated_like_their_mean() -> None:
    blocks = np.random.default_rng(0).normal(size=(8, 2, 3, 5, 4)).astype(np.float32)
    at_pixels = interpolate_to_pixels(blocks, 3)
    assert at_pixels.shape == (8, 2, 3, 13, 10)
    assert np.array_equal(at_pixels[..., ::3, ::3], blocks)
    assert np.allclose(at_pixels.mean(0), interpolate_to_pixels(blocks.mean(0), 3), atol=1e-6)
