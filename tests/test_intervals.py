"""Intervals without scipy.stats are those of scipy.stats."""

import math

import pytest
from scipy import stats

from aliascope.runs.intervals import student, wilson


@pytest.mark.parametrize("n", [1, 2, 7, 20, 1000])
def test_wilsons_interval(n):
    for hits in {0, 1, n // 2, n - 1, n}:
        want = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
        assert wilson(hits, n) == pytest.approx((want.low, want.high), abs=1e-12)


def test_nothing_has_none():
    assert all(map(math.isnan, wilson(0, 0)))


@pytest.mark.parametrize("n", [2, 3, 30, 5000])
def test_students_quantile(n):
    assert student(n) == pytest.approx(stats.t.ppf(0.975, n - 1), rel=1e-10)
