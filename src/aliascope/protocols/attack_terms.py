"""What each class of torchattacks calls its bound, its steps and a step's size, if any."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import dataclass
from typing import Any

from aliascope.errors import AliascopeError

STEP_FACTOR = 2.5
"""Published step size: this times epsilon over the number of steps."""


@dataclass(frozen=True)
class Terms:
    """The names under which an attack takes what is asked of every one; None where it has none.

    Examples
    --------
    >>> terms_of("spsa").steps, terms_of("pifgsm").eps, terms_of("cw").eps
    ('nb_iter', 'max_epsilon', None)
    """

    eps: str | None = "eps"
    """Its bound. Without one it makes the same images at every epsilon."""
    steps: str | None = "steps"
    """Its number of steps."""
    step_size: str | None = "alpha"
    """The size of a step, on pixels in [0, 1]."""
    norm: str = "Linf"
    """What its bound bounds, unless its argument ``norm`` says otherwise: the largest disturbance
    of a pixel, or the Euclidean length of an image's ("L2")."""
    step_factor: float = STEP_FACTOR
    """Default step size: this times epsilon over the number of steps."""
    fewest_classes: int = 2
    """How many classes its loss compares."""
    own_steps: str = ""
    """What to give in place of steps, where it has a number that is none."""


TERMS = {
    **dict.fromkeys(
        ("bim", "difgsm", "eotpgd", "jitter", "mifgsm", "nifgsm", "pgd", "pgdrs", "rfgsm"), Terms()
    ),
    **dict.fromkeys(("sinifgsm", "tifgsm", "tpgd", "upgd", "vmifgsm", "vnifgsm"), Terms()),
    **dict.fromkeys(("pgdl2", "pgdrsl2"), Terms(norm="L2")),
    # One step. That of "Fast is better than free" (Wong et al. 2020) is 1.25 epsilon.
    "fgsm": Terms(steps=None, step_size=None),
    "ffgsm": Terms(steps=None, step_factor=1.25),
    # The size of their steps adapts.
    **dict.fromkeys(("apgd", "fab"), Terms(step_size=None)),
    "apgdt": Terms(step_size=None, fewest_classes=4),
    "autoattack": Terms(steps=None, step_size=None, fewest_classes=4),
    "square": Terms(steps=None, step_size=None, own_steps="n_queries"),
    # A step of Adam moves a pixel by about its learning rate.
    "spsa": Terms(steps="nb_iter", step_size="lr"),
    **dict.fromkeys(
        ("pifgsm", "pifgsmpp"), Terms("max_epsilon", steps="num_iter_set", step_size=None)
    ),
    **dict.fromkeys(("cw", "deepfool", "onepixel", "sparsefool"), Terms(None, step_size=None)),
    **dict.fromkeys(("eaden", "eadl1"), Terms(None, "max_iterations", step_size=None)),
    **dict.fromkeys(("gn", "jsma", "vanila"), Terms(None, None, None)),
    "pixle": Terms(None, None, None, own_steps="max_iterations"),
}
"""By the class's name in lower case."""

WRAPPERS = {
    "multiattack": "a list of attacks",
    "lgv": "a loader of training images",
}
"""What is no attack by itself, and what it is made of."""


def attack_class(name: str) -> Any:
    """Find a class of torchattacks by its name, in any case of letters.

    Parameters
    ----------
    name : str
        Such as "pgd".

    Returns
    -------
    type

    Raises
    ------
    AliascopeError
        If torchattacks is not installed, has no such class, or has it for other uses.

    Examples
    --------
    >>> attack_class("pgd").__name__
    'PGD'
    """
    try:
        import torchattacks
    except ImportError:
        raise AliascopeError(
            f"The attack {name!r} needs torchattacks, which is not installed: "
            "pip install 'aliascope[attacks]'."
        ) from None

    classes = {
        key.lower(): value
        for key, value in vars(torchattacks).items()
        if isinstance(value, type) and issubclass(value, torchattacks.attack.Attack)
    }
    if name.lower() in WRAPPERS:
        raise AliascopeError(
            f"The attack {name!r} is made of {WRAPPERS[name.lower()]}, which cannot be named here: "
            "name an attack such as pgd or autoattack."
        )
    if name.lower() not in classes:
        near = difflib.get_close_matches(name.lower(), classes, n=3, cutoff=0.4)
        names = ", ".join(classes[key].__name__ for key in near or ("pgd", "fgsm"))
        raise AliascopeError(
            f"There is no attack {name!r} in torchattacks; the nearest are {names}."
        )
    return classes[name.lower()]


def arguments_of(name: str) -> list[str]:
    """List the arguments that an attack takes, in their order.

    Examples
    --------
    >>> arguments_of("pgd")
    ['eps', 'alpha', 'steps', 'random_start']
    """
    names = list(inspect.signature(attack_class(name).__init__).parameters)
    return [each for each in names if each not in ("self", "model")]


def terms_of(name: str) -> Terms:
    """Give the terms of an attack; those of a class not listed are the usual ones that it takes."""
    if name.lower() in TERMS:
        return TERMS[name.lower()]
    taken = arguments_of(name)
    eps, steps, step_size = (each if each in taken else None for each in ("eps", "steps", "alpha"))
    return Terms(eps, steps, step_size)
