"""Constants with which the hardware reproduces ONNX Runtime's requantisation bit for bit.

The compiler's side of ``hw.requantise``: a NumPy model of a lane, and searches that end only with
constants proven by enumeration. Scales are float32; zero points and bytes are those of uint8.
"""

import numpy as np

from hw.isa import ADD_POINT, CORRECTIONS, MANTISSA, POINT, SHIFT

from .errors import UserError

__all__ = ["add_array", "add_constants", "add_table", "requantise_array", "rescale_record",
           "rescale_table", "scale_record"]

_LOST = 34
"""A sum shifted beyond so many bits is outside all limits, whatever the normalised mantissa."""
_POWERS = 1 << np.arange(63, dtype=np.int64)


def _drop(value: np.ndarray, places: np.ndarray) -> np.ndarray:
    """``value / 2**places``, half to even; int64 in [0, 2**62)."""
    quotient = value >> places
    rest = value - (quotient << places)
    half = (np.int64(1) << places) >> 1
    return quotient + ((places > 0) & ((rest > half) | ((rest == half) & (quotient & 1 == 1))))


def _round(value: np.ndarray, point: int) -> np.ndarray:
    """``value * 2**-point`` rounded to 24 significant bits, then to an integer."""
    size = np.abs(value)
    places = np.maximum(np.searchsorted(_POWERS, size, side="right") - 24, 0)
    size = _drop(size, places) << places
    return np.sign(value) * _drop(size, np.int64(point))


def requantise_array(x, mantissa, shift, zero=0, low=0) -> np.ndarray:
    """What a lane gives for biased sums ``x`` (|x| < 2**24), element by element; int64 bytes."""
    x = np.asarray(x, np.int64)
    limit = np.int64(1) << (_LOST - np.asarray(shift, np.int64))
    # Any sum of the limit and above saturates.
    lost = (x < -limit) | (x >= limit)
    rounded = _round(np.clip(x, -limit, limit) * (np.int64(1) << np.asarray(shift, np.int64))
                     * np.asarray(mantissa, np.int64), POINT)
    rounded = np.where(lost, np.sign(x) << 10, rounded)
    return np.clip(rounded + zero, low, 255)


def add_array(a, b, add_a, add_b, add_c, corrections=(), low=0) -> np.ndarray:
    """What the bypass add gives for bytes ``a`` and ``b``; ``corrections`` are (a, b, up)."""
    a, b = np.broadcast_arrays(np.asarray(a, np.int64), np.asarray(b, np.int64))
    result = _round(a * add_a + b * add_b + add_c, ADD_POINT)
    for pair_a, pair_b, up in corrections:
        result = result + np.where((a == pair_a) & (b == pair_b), 1 if up else -1, 0)
    return np.clip(result, low, 255)


def scale_record(scale, where: str = "scale") -> tuple[int, int]:
    """(mantissa, shift) of a float32 ``scale`` in [0, 2**7), without any loss.

    Below 2**-25 the mantissa is 0: with sums below 2**24 in magnitude (all that float32 holds, and
    what the compiler admits) the product is below 1/2 or rounds to it, so the result is the zero
    point either way. ``where`` names the scale in the ``UserError`` for any other value.
    """
    value = np.float32(scale)
    if not (np.isfinite(value) and 0 <= value < 2**(2**SHIFT - 1 + MANTISSA - POINT)):
        raise UserError(f"{where}: requantisation scale {float(scale)!r}, supported: "
                        f"0 to below {2**(2**SHIFT - 1 + MANTISSA - POINT)}")
    fraction, exponent = np.frexp(value)
    shift = int(exponent) + POINT - MANTISSA
    if shift < 0 or value == 0:
        return 0, 0
    return int(np.float64(fraction) * 2**MANTISSA), shift


def rescale_table(sx, zx, sy, zy) -> np.ndarray:
    """QLinearConcat of ONNX Runtime for one input: ``table[x]``, 256 bytes as int64."""
    sx, zx, sy, zy = (np.float32(v) for v in (sx, zx, sy, zy))
    real = (np.arange(256, dtype=np.float32) - zx) * sx
    return np.clip(np.rint(real / sy) + zy, 0, 255).astype(np.int64)


def rescale_record(sx, zx, sy, zy, table=None, where: str = "rescale") -> tuple[int, int, int]:
    """(bias, mantissa, shift) that requantise each byte x to ``table[x]`` with zero point ``zy``.

    ``table`` has 256 bytes (default: ``rescale_table``); ``sx``, ``zx`` and ``sy`` are the scales
    and the zero point it was made from. Tries float32(sx / sy), then its neighbours; UserError if
    no scale does it: that of a ratio like 5/2, of whose many ties float32 takes each its own way.
    """
    table = rescale_table(sx, zx, sy, zy) if table is None else table
    table = np.asarray(table, np.int64)
    x = np.arange(256) - int(zx)
    start = np.float32(sx) / np.float32(sy)
    mantissa, shift = scale_record(start, where)

    # Each step of the table bounds the scale; an end may itself be right (a tie).
    inner = (x != 0) & (table > 0) & (table < 255)
    point = np.float64(2.0) ** (POINT - shift)
    bounds = [(table[inner] - int(zy) + side * np.sign(x[inner]) / 2) / x[inner] * point
              for side in (-1, 1)]
    near = [mantissa]
    if inner.any():
        lowest, highest = bounds[0].max(), bounds[1].min()
        near += [round((lowest + highest) / 2), round(lowest), round(highest)]
    for distance in range(65):
        for centre in near:
            for candidate in {centre - distance, centre + distance}:
                if not 0 <= candidate < 1 << MANTISSA or (shift > 1
                                                          and candidate < 1 << MANTISSA - 1):
                    continue
                if np.array_equal(requantise_array(x, candidate, shift, int(zy)), table):
                    return -int(zx), int(candidate), shift
    raise UserError(f"{where}: no single factor near {float(start)!r} (scale {float(sx)!r} to "
                    f"{float(sy)!r}) gives the 256 bytes of ONNX Runtime; supported: ratios "
                    "without exact ties")


def fused_multiply_add(x, y, z) -> np.ndarray:
    """float32(x * y + z) with one rounding; x * y of float32 is exact in float64."""
    product, z = np.float64(x) * np.float64(y), np.float64(z)
    total = product + z
    back = total - product
    error = (product - (total - back)) + (z - back)
    # Rounded to odd in float64, so that the second rounding is the only one that counts.
    even = total.view(np.int64) & 1 == 0
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where((error != 0) & even, odd, total).astype(np.float32)


def add_table(sa, za, sb, zb, sc, zc) -> np.ndarray:
    """QLinearAdd of ONNX Runtime (MLAS with FMA) for every pair: ``table[a, b]``, int64."""
    sa, sb, sc, za, zb, zc = (np.float32(v) for v in (sa, sb, sc, za, zb, zc))
    ratio_a, ratio_b = sa / sc, sb / sc
    fixed = zc - fused_multiply_add(ratio_a, za, ratio_b * zb)
    a, b = np.arange(256, dtype=np.float32)[:, None], np.arange(256, dtype=np.float32)[None]
    value = fused_multiply_add(a, ratio_a, fused_multiply_add(b, ratio_b, fixed))
    return np.clip(np.rint(value), 0, 255).astype(np.int64)


def _thresholds() -> np.ndarray:
    """``t[q]``: the least sum, in units of the binary point, that the add rounds to q or more.

    ``t[0]`` and ``t[256]`` are out of reach: there the clamp decides.
    """
    q = np.arange(1, 256)
    leading = np.floor(np.log2(np.maximum(q - 1, 0.5))).astype(int)
    tie = np.floor(2.0 ** (leading - 24 + ADD_POINT)).astype(np.int64)
    middle = (2 * q - 1) << (ADD_POINT - 1)
    far = np.int64(1) << 50
    return np.concatenate(([-far], np.where(q % 2 == 0, middle - tie, middle + tie + 1), [far]))


_REACHES = (1, 4, 16)
"""How far from the nearest the factors of the add are searched, in last places."""


def add_constants(sa, za, sb, zb, sc, zc, table=None, where: str = "add"):
    """(add_a, add_b, add_c, corrections) with which the bypass add equals QLinearAdd everywhere.

    ``table[a, b]`` is the wanted sum (default: ``add_table`` of the same scales and zero points).
    ``corrections`` are at most ``CORRECTIONS`` triples (a, b, up), as few as the search finds. For
    given factors every pair bounds ``add_c`` from both sides, so the best one is where the bounds
    of the fewest pairs are violated. UserError if ratios or pairs are out of reach: those like 5/6
    have thousands of exact ties, of which float32 takes each its own way.
    """
    table = add_table(sa, za, sb, zb, sc, zc) if table is None else np.asarray(table, np.int64)
    ratios = [np.float64(np.float32(s) / np.float32(sc)) for s in (sa, sb)]
    offset = int(zc) - ratios[0] * int(za) - ratios[1] * int(zb)
    for ratio in ratios:
        if not 0 <= ratio < 2**(MANTISSA - ADD_POINT) - 2**-16:
            raise UserError(f"{where}: ratio {float(ratio)!r} of an input's scale to the output's, "
                            f"supported: 0 to below {2**(MANTISSA - ADD_POINT)}")
    add_a, add_b = (round(ratio * 2**ADD_POINT) for ratio in ratios)
    thresholds = _thresholds()
    a, b = np.indices((256, 256))
    best = None
    for reach in _REACHES:
        lowest, highest = (limit - a * add_a - b * add_b - round(offset * 2**ADD_POINT)
                           for limit in (thresholds[table], thresholds[table + 1] - 1))
        slack = np.minimum(-lowest, highest)
        near = slack <= max(2 * 2 * 255 * reach, np.partition(slack, 99, axis=None)[99])
        steps = np.arange(-reach, reach + 1)
        step_a, step_b = (s.ravel()[:, None] for s in np.meshgrid(steps, steps))
        moved = step_a * a[near] + step_b * b[near]
        lows, highs = lowest[near] - moved, highest[near] - moved
        # The best add_c is one of the ends of the tightest bounds, or anything between them; no
        # pair beyond ``near`` has a say within the window.
        window = 2 * 255 * reach
        ends = np.concatenate((np.sort(lows, 1)[:, -12:], np.sort(highs, 1)[:, :12]), axis=1)
        ends = np.clip(ends, -window, window)
        wrong = np.stack([(lows > end).sum(1) + (highs < end).sum(1)
                          for end in ends.T[:, :, None]], axis=1)
        at = np.unravel_index(wrong.argmin(), wrong.shape)
        found = (add_a + int(step_a[at[0], 0]), add_b + int(step_b[at[0], 0]),
                 round(offset * 2**ADD_POINT) + int(ends[at]))
        difference = table - add_array(a, b, *found)
        pairs = np.argwhere(difference)
        fits = min(found[:2]) >= 0 and abs(found[2]) < 1 << 35
        if fits and np.abs(difference).max() <= 1 and (best is None or len(pairs) < len(best[3])):
            best = (*found, [(int(p), int(q), bool(difference[p, q] > 0)) for p, q in pairs])
        if best is not None and not best[3]:
            break
    if best is None or len(best[3]) > CORRECTIONS:
        raise UserError(f"{where}: scales {float(sa)!r} + {float(sb)!r} to {float(sc)!r}: of 65536 "
                        f"sums more than {CORRECTIONS} differ from ONNX Runtime's; supported: "
                        "ratios without exact ties")
    return best
