"""The catalogue of resampling operations, and how each splits into dense operation and decimation.

One short rule per kind of operation, under :func:`register`, which names the functions it serves.
A rule looks at one call and answers with a :class:`Split`, with :class:`Unsupported` and the
reason, or with None where nothing is decimated. Adding an operation is adding a rule.
"""

from aliascope.sites import convolution, interpolation, pooling, slicing, unsupported
from aliascope.sites.listing import ListedSite, SiteList
from aliascope.sites.registry import Rule, register, rule_for, unregister
from aliascope.sites.split import Site, Split, Stepped, Unsupported

__all__ = [
    "ListedSite",
    "Rule",
    "Site",
    "SiteList",
    "Split",
    "Stepped",
    "Unsupported",
    "convolution",
    "interpolation",
    "pooling",
    "register",
    "rule_for",
    "slicing",
    "unregister",
    "unsupported",
]
