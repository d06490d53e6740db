"""Dense signals measured part by part: the same counts and outputs, in bounded memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import aliascope as al
from aliascope.seam import parts
from aliascope.seam.parts import Cut, plan_parts
from aliascope.sites import Split
from sites_shared import On

MEGABYTE = 1 << 20


class Net(nn.Module):
    """Every kind of operation whose dense signal can be cut."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.groups = nn.Conv2d(8, 16, 3, 2, 1, groups=4)
        self.mean = nn.AvgPool2d(2, 2)
        self.depth = nn.Conv2d(16, 16, 3, 2, groups=16, bias=False)
        self.norm = nn.LPPool2d(2, 2)

    def forward(self, x):
        x = self.mean(self.groups(self.pool(self.conv(x))))
        pooled, _ = F.max_pool2d(x, 2, return_indices=True)
        smaller = F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True)
        adapted = F.adaptive_max_pool2d(x, (x.shape[2], 2))
        return self.depth(x), self.norm(x), pooled, smaller, adapted


def measured(model, images, **options):
    with torch.no_grad(), al.Scope(model, **options) as scope:
        outputs = model(images)
    return scope.measurement(), outputs


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("part_bytes", [1, 100_000])
@pytest.mark.parametrize("detail", ["site", "channel"])
def test_measured_in_parts_everything_is_the_same(layout, part_bytes, detail, monkeypatch):
    torch.manual_seed(0)
    net = Net().eval().to(memory_format=layout)
    images = torch.randn(5, 3, 72, 64).contiguous(memory_format=layout)
    whole, expected = measured(net, images, detail=detail, engine="torch")
    monkeypatch.setitem(parts.PART_BYTES, "cpu", part_bytes)
    cut, outputs = measured(net, images, detail=detail, engine="torch", workspace=MEGABYTE)
    assert cut.counts.equals(whole.counts)
    assert len(cut.sites) == 9 and cut.sites["supported"].all()
    assert (cut.sites["recomposition_error"] < 1e-6).all()
    for output, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, wanted, rtol=1e-5, atol=1e-6)
        assert output.stride() == wanted.stride()


def test_in_parts_no_dense_signal_is_larger_than_half_the_workspace(monkeypatch):
    from aliascope.measures import counting as recorder

    seen = []
    count = recorder.count_categories

    def spying(dense, *arguments, **options):
        seen.append(dense.numel() * 4)
        return count(dense, *arguments, **options)

    monkeypatch.setattr(recorder, "count_categories", spying)
    net = nn.Conv2d(3, 64, 3, stride=2, padding=1)
    with torch.no_grad(), al.Scope(net, workspace=MEGABYTE, floor_samples=0) as scope:
        net(torch.randn(3, 3, 128, 128))
    assert scope.sites[0].dense_shape == (64, 128, 128)
    assert max(seen) <= MEGABYTE // 2
    assert sum(seen) == 3 * 64 * 128 * 128 * 4


@settings(max_examples=200)
@given(
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 4),
    st.integers(1, 300),
    st.integers(1, 1 << 22),
)
def test_parts_cover_the_whole_once_and_fit(samples, steps, step, size, workspace):
    channels = steps * step
    split = Split("conv", (2,), torch.Tensor, samples=samples, channels=channels, channel_step=step)
    one = torch.empty(1, step, size)
    plan = plan_parts(split, one, workspace)
    if plan is None:
        return
    assert plan.shape == (samples, channels, size)
    covered = torch.zeros(samples, channels, dtype=torch.int64)
    for rows, columns in (part.index for part in plan):
        covered[rows, columns] += 1
        assert columns.start % step == 0 and columns.stop % step == 0
        part = (rows.stop - rows.start) * (columns.stop - columns.start) * size * 4
        assert part <= max(workspace // 2, step * size * 4)
    assert (covered == 1).all()


def test_what_fits_is_not_cut():
    split = Split("conv", (2, 2), torch.Tensor, samples=16, channels=3)
    assert plan_parts(split, torch.empty(1, 1, 10, 10), 256 * MEGABYTE) is None


def test_ones_own_handlers_see_whole_signals(monkeypatch):
    monkeypatch.setitem(parts.PART_BYTES, "cpu", 1)
    shapes = []
    net = nn.Conv2d(3, 4, 3, stride=2)

    def handler(site, dense):
        shapes.append(tuple(dense.shape))

    with torch.no_grad(), al.Scope(net, handlers=[On(handler)]):
        net(torch.randn(5, 3, 20, 20))
    assert shapes == [(5, 4, 18, 18)]


def test_gradients_flow_as_before(monkeypatch):
    monkeypatch.setitem(parts.PART_BYTES, "cpu", 1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2))
    images = torch.randn(2, 3, 21, 21, requires_grad=True)
    (expected,) = torch.autograd.grad(net(images).square().sum(), images)
    with al.Scope(net):
        output = net(images)
    (gradient,) = torch.autograd.grad(output.square().sum(), images)
    torch.testing.assert_close(gradient, expected)


def test_a_split_that_is_wrong_is_found_in_parts_too(monkeypatch):
    monkeypatch.setitem(parts.PART_BYTES, "cpu", 1)

    def wrong(function, args, kwargs):
        return Split.by_channel("max_pool", (2, 2), args[0], lambda x: F.max_pool2d(x, 3, 1) + 1)

    from aliascope.sites import registry

    monkeypatch.setitem(registry._rules, F.max_pool2d, wrong)
    net = nn.MaxPool2d(3, 2)
    images = torch.randn(3, 2, 20, 20)
    with torch.no_grad(), al.Scope(net, detail=None) as scope:
        output = net(images)
    assert torch.equal(output, net(images))
    assert not scope.sites[0].supported and "differs from it" in scope.sites[0].reason


def test_the_order_of_parts_is_samples_then_channels():
    order = [
        (rows.start, columns.stop)
        for rows, columns in (part.index for part in Cut((2, 5, 8), 1, 4))
    ]
    assert order == [(0, 4), (0, 5), (1, 4), (1, 5)]


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [2, 3, (3, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_the_maximum_by_axes_is_that_of_the_window(kernel, dilation, dtype):
    net = nn.MaxPool2d(kernel, 2, 1, dilation)
    images = (10 * torch.randn(2, 3, 17, 20)).to(dtype)
    images.view(-1)[7] = 0
    with torch.no_grad(), al.Scope(net, detail=None) as scope:
        assert torch.equal(net(images), F.max_pool2d(images, kernel, 2, 1, dilation))
    assert scope.sites[0].recomposition_error == 0


def test_the_maximum_by_axes_keeps_nan_where_torch_does():
    images = torch.randn(1, 1, 12, 12)
    images[0, 0, 5, 6] = float("nan")
    net = nn.MaxPool2d(3, 2, 1)
    with torch.no_grad(), al.Scope(net, detail=None):
        output = net(images)
    assert torch.equal(output.isnan(), net(images).isnan()) and output.isnan().any()
