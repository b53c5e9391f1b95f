"""Rounding of weights by error feedback: what one column's rounding does to a row's sums, later columns take back.

With second moments H of a matrix's inputs, a row's mean squared error is d H d for errors d of its weights. Columns are
rounded one after the other, the ones with the largest inputs first; each time the weights that are not yet rounded move
to where the error is least, which the Cholesky factor of H's inverse says.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["fed_back", "row_errors"]

#: What is added to the moments, as a share of their mean: calibration inputs are fewer than would fix all directions.
_DAMPING = 0.01
#: Columns whose feedback to the others is kept back and added at once.
_BATCH = 64


def fed_back(values: NDArray, moments: NDArray, top: int) -> NDArray[np.float64]:
    """Round rows of weights.

    Parameters
    ----------
    values : float64 (rows, columns)
        In units of what they are rounded to.
    moments : float64 (columns, columns)
        Mean products of the inputs.
    top : int
        Largest magnitude of a rounded weight.

    Returns
    -------
    float64 (rows, columns), whole numbers
    """
    mean = np.diagonal(moments).mean()
    # Products of inputs smaller than that have lost their bits.
    if mean < np.finfo(np.float64).tiny:
        return np.clip(np.rint(values), -top, top)
    # Near 1, so that the inverse is a number; by a power of four, which changes nothing else.
    moments = np.ldexp(moments, -(np.frexp(mean)[1] & ~1))
    power = np.diagonal(moments)
    order = np.argsort(-power, kind="stable")
    damped = moments[np.ix_(order, order)] + _DAMPING * power.mean() * np.eye(len(order))
    # Upper triangular factor of the inverse: row j says how the error of column j goes to those behind it.
    inverse = np.linalg.inv(damped)
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left = values[:, order].copy()
    rounded = np.empty_like(left)
    for first in range(0, len(order), _BATCH):
        last = min(first + _BATCH, len(order))
        errors = np.empty((len(left), last - first))
        for j in range(first, last):
            rounded[:, j] = np.clip(np.rint(left[:, j]), -top, top)
            errors[:, j - first] = (left[:, j] - rounded[:, j]) / upper[j, j]
            left[:, j + 1 : last] -= errors[:, j - first, None] * upper[j, j + 1 : last]
        left[:, last:] -= errors @ upper[first:last, last:]
    result = np.empty_like(rounded)
    result[:, order] = rounded
    return result


def row_errors(errors: NDArray, moments: NDArray) -> NDArray[np.float64]:
    """Mean squared error (rows,) of the sums of rows whose weights are off by ``errors`` (rows, columns)."""
    return np.einsum("rc,rc->r", errors @ moments, errors)
