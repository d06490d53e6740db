"""Dense signals kept for interventions at one site: given again only to the very same call."""

import pytest
import torch
import torch.nn.functional as F

import aliascope as al
from aliascope.interventions import intervention
from aliascope.seam.replay import Replay
from aliascope.seam.signals import Signals


class Counted:
    """Computes something, and counts how often."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return torch.full((4,), float(self.times))


def given(signals, make, x, stride=2, path="conv", part=None):
    return signals.of(path, F.avg_pool1d, (x, stride), {"padding": 0}, part, make)


def test_the_same_call_is_computed_once_and_its_parts_apart():
    signals, make, x = Signals(1 << 10), Counted(), torch.ones(1, 1, 8)
    one = given(signals, make, x)
    assert given(signals, make, x) is one and make.times == 1
    assert given(signals, make, x, part=(0, 1)) is not one
    assert (signals.bytes, signals.given) == (32, 1)


@pytest.mark.parametrize("how", ["written to", "another tensor", "another stride"])
def test_another_call_of_the_module_is_computed_and_nothing_of_it_kept_again(how):
    signals, make, x = Signals(1 << 10), Counted(), torch.ones(1, 1, 8)
    given(signals, make, x)
    y, stride = x, 2
    if how == "written to":
        x[..., 0] = 2  # by way of a view, which counts as well
    elif how == "another tensor":
        y = x.clone()
    else:
        stride = 4
    for n in (2, 3):
        given(signals, make, y, stride)
        assert make.times == n
    assert signals.bytes == 0


def test_a_signal_that_was_written_to_is_computed_again():
    signals, make, x = Signals(1 << 10), Counted(), torch.ones(1, 1, 8)
    given(signals, make, x).zero_()
    assert float(given(signals, make, x)[0]) == 2


def test_no_more_is_kept_than_allowed():
    signals, make, x = Signals(40), Counted(), torch.ones(1, 1, 8)
    for part in (0, 1):
        given(signals, make, x, part=part)
    assert signals.bytes == 16 + 16
    given(signals, make, x, part=2)
    assert signals.bytes == 32


def test_what_is_worked_out_is_so_once_and_of_kept_signals_alone():
    signals, make, work, x = Signals(1 << 10), Counted(), Counted(), torch.ones(1, 1, 8)
    signal = given(signals, make, x)
    assert signals.worked_out(signal, work) is signals.worked_out(signal, work)
    signals.worked_out(torch.ones(4), work)
    signals.worked_out(torch.ones(4), work)
    assert work.times == 3
    signals.about("another target")
    signals.worked_out(signal, work)
    assert work.times == 4


@pytest.mark.parametrize("workspace", [None, 1 << 20])  # at once, and part by part
def test_interventions_change_what_they_change_without(workspace):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU(inplace=True), torch.nn.MaxPool2d(3, 2, 1)
    ).eval()
    images, signals = torch.rand(4, 3, 64, 64), Signals(1 << 30)

    class Now:
        whole, now = False, intervention("remove", ())
        sites = property(lambda self: self.now.sites)
        begin = property(lambda self: self.now.begin)
        take = property(lambda self: self.now.take)
        end = property(lambda self: self.now.end)
        describe = property(lambda self: self.now.describe)

    handler, asked = Now(), 0
    with torch.no_grad(), al.Opening(model, [handler], workspace=workspace) as opening:
        replay = Replay(opening)
        with replay.recording():
            model(images)
        for listed in opening.sites:
            signals.about(listed.site)
            for name in ("remove", "restore", "gain", "low"):
                handler.now = intervention(name, [listed.site])
                plain, energies = model(images), handler.now.end()
                handler.now = intervention(name, [listed.site])
                handler.now.signals = signals
                with opening.keeping_signals(signals):
                    changed = replay.run(lambda: model(images))
                asked += 1
                assert torch.equal(changed, plain)
                for column, by_site in handler.now.end().items():
                    for site, values in by_site.items():
                        assert torch.equal(values, energies[column][site])
    assert replay.replayed == asked
    assert signals.given >= 3 * 2  # all but the first intervention at each site
