"""Random numbers that follow from a seed and a key, whatever was drawn before."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

Bits = np.ndarray[Any, np.dtype[np.uint64]]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def bits_of(seed: int, key: str, count: int) -> Bits:
    """Draw 64-bit numbers that depend on nothing but a seed and a key.

    A hash of both is the state from which SplitMix64 (Steele, Lea and Flood, 2014) counts on; the
    numbers are the same with every version of every library.

    Parameters
    ----------
    seed : int
        Of all keys.
    key : str
        Whose numbers they are, such as an image's name.
    count : int
        How many.

    Returns
    -------
    ndarray of uint64, shape (count,)

    Examples
    --------
    >>> first, again = bits_of(0, "cat.png", 3), bits_of(0, "cat.png", 5)
    >>> bool((first == again[:3]).all()), bool((first == bits_of(1, "cat.png", 3)).any())
    (True, False)
    """
    digest = hashlib.blake2b(f"{seed}\n{key}".encode(errors="surrogatepass"), digest_size=8)
    state = np.frombuffer(digest.digest(), dtype="<u8")[0]
    with np.errstate(over="ignore"):
        z = np.uint64(state) + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def below(bound: int, bits: Bits) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Turn 64-bit numbers into whole ones from 0 to bound - 1, equally likely up to 2^-32.

    Examples
    --------
    >>> below(10, np.array([0, 2**63, 2**64 - 1], dtype=np.uint64)).tolist()
    [0, 5, 9]
    """
    high = bits >> np.uint64(32)
    return ((high * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)
