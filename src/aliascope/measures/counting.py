"""What counts bins, for all measures that do: one criterion, one engine, one workspace."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from aliascope.measures.engines import check_engine, count_categories
from aliascope.spectrum import Criterion


class Counter:
    """Counts the bins of dense signals.

    Parameters
    ----------
    criterion : Criterion
        Threshold, reference level, grid and fold scale.
    engine, workspace
        See :func:`aliascope.measures.engines.count_categories`; the workspace may be changed.

    Examples
    --------
    >>> import torch
    >>> Counter(Criterion(grid="native"))(torch.ones(1, 1, 4, 4), (2, 2))
    tensor([[[3, 1, 0, 0]]])
    """

    def __init__(
        self, criterion: Criterion, *, engine: str = "auto", workspace: int | None = None
    ) -> None:
        check_engine(engine, workspace)
        self.criterion, self.workspace = criterion, workspace
        self.engine = engine

    def __call__(
        self, dense: Tensor, rate: Sequence[int], levels: Sequence[float] | None = None
    ) -> Tensor:
        """Count: (N, C, *size) to (N, C, 4), or at several levels to (N, C, levels, 4)."""
        return count_categories(
            dense,
            rate,
            self.criterion,
            levels=levels,
            engine=self.engine,
            workspace=self.workspace,
        )
