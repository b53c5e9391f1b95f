"""Values as the streams carry them: bfloat16 or float32 bit patterns, and packets of them."""

import numpy as np

from .config import IO_FORMATS
from .numbers import FLOAT_EXPONENT_BITS

__all__ = ["mantissa_bits", "to_bits", "from_bits", "bfloat16_to_bits", "bfloat16_from_bits", "to_beats", "from_beats"]


def mantissa_bits(io_format):
    """Bits of a value's mantissa in a format of the streams, without the leading one."""
    return IO_FORMATS[io_format] - 1 - FLOAT_EXPONENT_BITS


def bfloat16_to_bits(x):
    """Bit patterns (uint16) of the bfloat16 numbers nearest to ``x`` (float32 or float64), ties to even.

    Overflow gives infinity, NaN gives a quiet NaN; subnormal numbers are kept.
    """
    exact = np.asarray(x, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        single = exact.astype(np.float32)
    bits = single.view(np.uint32)
    # float32 in between, rounded to odd so that rounding twice equals rounding once: one step back towards
    # zero where the conversion went away from zero, then the last bit set where anything was cut off.
    bits = bits - (np.abs(single) > np.abs(exact))
    bits = bits | (single != exact)
    # Nearest even on the upper half; a carry out of the mantissa increments the exponent, up to infinity.
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet_nan = (single.view(np.uint32) >> 16) | 0x0040
    return np.where(np.isnan(exact), quiet_nan, rounded).astype(np.uint16)


def bfloat16_from_bits(bits):
    """The values, exact in float64, of bfloat16 bit patterns (unsigned 16-bit)."""
    single = (np.asarray(bits, dtype=np.uint16).astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return single.astype(np.float64)


def to_bits(values, io_format):
    """Values (any shape, float) to the nearest bit patterns of the streams' format (unsigned integers)."""
    if io_format == "bfloat16":
        return bfloat16_to_bits(values)
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float32).view(np.uint32)


def from_bits(bits, io_format):
    """Bit patterns of the streams' format to float64."""
    if io_format == "bfloat16":
        return bfloat16_from_bits(bits)
    return np.asarray(bits, dtype=np.uint32).view(np.float32).astype(np.float64)


def to_beats(bits, config, beats=None):
    """Bytes of a packet of bit patterns (n,), padded with zeros to whole beats, or to ``beats`` of them."""
    values = (beats or -(-len(bits) // config.beat_values)) * config.beat_values
    padded = np.zeros(values, dtype=f"<u{config.io_bits // 8}")
    count = min(len(bits), values)
    padded[:count] = bits[:count]
    return padded.tobytes()


def from_beats(data, config):
    """Bit patterns (n,) of a packet's bytes."""
    return np.frombuffer(bytes(data), dtype=f"<u{config.io_bits // 8}")
