"""Word vectors in 4-bit blocks, where that loses nothing: half the size of INT8, and nearer to the source.

A source in Q4_0 holds 32 values as one scale and 4-bit integers from -8 to 7. Its word vectors are looked up, never
multiplied by integers, so they can stay in that form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIZE = 32


@dataclass
class Blocks:
    packed: np.ndarray
    """uint8 [rows, columns / 2]: two values in a byte, the first in the low half."""

    scales: np.ndarray
    """float32 [rows, columns / SIZE]."""


def exact(table: np.ndarray) -> Blocks | None:
    """The table in blocks; None when one of its values would change."""
    if table.shape[1] % SIZE:
        return None
    values = table.reshape(-1, SIZE)
    # The value furthest from zero is the one that was stored as -8.
    furthest = np.take_along_axis(values, np.abs(values).argmax(axis=1, keepdims=True), axis=1)
    scales = furthest / -8
    integers = np.rint(np.divide(values, scales, out=np.zeros_like(values), where=scales != 0))
    integers = np.clip(integers, -8, 7)
    if not np.array_equal(integers * scales, values):
        return None
    nibbles = integers.astype(np.int8).reshape(table.shape).view(np.uint8) & 15
    return Blocks(nibbles[:, 0::2] | nibbles[:, 1::2] << 4, scales.reshape(len(table), -1))
