"""Filters by name: what there is, and reading a name such as ``blur:3``."""

from __future__ import annotations

from dataclasses import dataclass

from aliascope.errors import AliascopeError

BOUNDARIES = ("mirror", "circular", "zero")
"""How a map goes on beyond its ends."""

WIDTHS = range(2, 8)
LOBES = (2, 3)


@dataclass(frozen=True)
class FilterName:
    """A filter's name, read.

    Attributes
    ----------
    kind : str
        "blur", "ideal", "hamming", "lanczos" or "box".
    order : int
        K of ``blur:K``, a of ``lanczos:a``; 0 for the others.
    boundary : str
        "mirror", "circular" or "zero".

    Examples
    --------
    >>> FilterName.read("blur:3")
    FilterName(kind='blur', order=3, boundary='mirror')
    >>> FilterName.read("ideal-circular") == FilterName.read("ideal", "circular")
    True
    """

    kind: str
    order: int = 0
    boundary: str = "mirror"

    @classmethod
    def read(cls, name: str, boundary: str = "mirror") -> FilterName:
        """Read a name and a boundary.

        Parameters
        ----------
        name : str
            One of those that :func:`aliascope.filters` lists.
        boundary : {"mirror", "circular", "zero"}
            ``ideal-circular`` is circular whatever is said here.

        Raises
        ------
        AliascopeError
            If there is no such filter or boundary, or the filter has not that boundary.
        """
        if boundary not in BOUNDARIES:
            raise AliascopeError(
                f"boundary is {boundary!r}, but it must be one of {', '.join(BOUNDARIES)}."
            )
        if name not in DESCRIPTIONS:
            raise AliascopeError(
                f"{name!r} names no filter; the filters are {', '.join(DESCRIPTIONS)}."
            )
        if name == "ideal-circular":
            return cls("ideal", 0, "circular")
        kind, _, order = name.partition(":")
        read = cls(kind, int(order or 0), boundary)
        if read.is_spectral and boundary == "zero":
            raise AliascopeError(
                f"{name!r} is defined by a spectrum, of a map that goes on mirrored or circular, "
                "so its boundary cannot be 'zero'; pass 'mirror' or 'circular'."
            )
        return read

    @property
    def is_spectral(self) -> bool:
        """Whether it is defined by what it does to each frequency, not by a kernel."""
        return self.kind in ("ideal", "hamming")


DESCRIPTIONS = {
    **{
        f"blur:{k}": f"binomial of width {k}; at rate r, {k - 1} × the mean of r neighbours"
        for k in WIDTHS
    },
    "ideal": "keeps what is within the new Nyquist rate and nothing else, of the mirrored map",
    "ideal-circular": "the same of the map repeated end to end",
    "hamming": "ideal, times a Hamming window over frequency",
    **{
        f"lanczos:{a}": f"sinc of {a} lobes a side, windowed by the main lobe of a wider one"
        for a in LOBES
    },
    "box": "mean of r neighbours: blur:2, and average pooling",
}
"""Each filter in a line, by its name."""


def filters() -> dict[str, str]:
    """List the filters.

    Returns
    -------
    dict
        What each is, in a line, by its name.

    Examples
    --------
    >>> import aliascope as al
    >>> list(al.filters())[:3], al.filters()["hamming"]
    (['blur:2', 'blur:3', 'blur:4'], 'ideal, times a Hamming window over frequency')
    """
    return dict(DESCRIPTIONS)
