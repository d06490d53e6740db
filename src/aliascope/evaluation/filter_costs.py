"""What a filter costs at each site: multiply-adds, which no clock and no other job changes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from aliascope.evaluation.advice_costs import count_multiply_adds
from aliascope.filters.antialias import antialias
from aliascope.filters.written import antialias_as_written, read_written
from aliascope.seam.opening import evaluating
from aliascope.sites import ListedSite
from aliascope.tasks.models import LoadedModel


def filter_costs(
    loaded: LoadedModel, written: str | None, sites: Sequence[ListedSite], *, device: str = "cpu"
) -> tuple[dict[str, float], float]:
    """Count what filters add, as shares of the multiply-adds that the plain network has.

    Parameters
    ----------
    loaded : LoadedModel
        The model, without a filter.
    written : str or None
        ``NAME[@SITE,...]``, see :func:`aliascope.filters.written.read_written`; None adds nothing.
    sites : sequence of ListedSite
        Of the model.
    device : str
        Where the model is.

    Returns
    -------
    dict of str to float
        By the name of a site, what the filter adds there alone; 0 where there is none.
    float
        What the filter adds as it is written, at all of its sites.

    Raises
    ------
    AliascopeError
        If there is no such filter or site.

    Examples
    --------
    >>> from aliascope.evaluation.probe import probe
    >>> from aliascope.tasks.models import load_model
    >>> loaded = load_model("torchvision:squeezenet1_1", weights="none", crop=64)
    >>> filter_costs(loaded, None, probe(loaded).sites)[1]
    0.0
    """
    there = [each for each in sites if each.supported]
    if written is None:
        return {each.name: 0.0 for each in there}, 0.0
    name, chosen = read_written(written)
    side = loaded.preprocessing.crop or 224
    image = torch.full((1, len(loaded.preprocessing.mean), side, side), 0.5, device=device)

    def counted() -> int:
        with evaluating(loaded.model), torch.no_grad():
            return count_multiply_adds(lambda: loaded.model(image))

    plain = counted() or 1
    with antialias_as_written(loaded.network, written):
        overall = counted() / plain - 1
    costs = {}
    for each in there:
        costs[each.name] = 0.0
        if chosen is None or any(_holds(module, each.name) for module in chosen):
            with antialias(loaded.network, name, sites=[each.name]):
                costs[each.name] = counted() / plain - 1
    return costs, overall


def _holds(module: str, site: str) -> bool:
    return site == module or site.startswith((f"{module}.", f"{module}#"))
