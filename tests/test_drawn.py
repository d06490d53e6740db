"""Some channels of each sample instead of all: without bias, with intervals that know of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import aliascope as al
from aliascope.commands.main import main
from aliascope.measures.drawn import Drawn
from aliascope.measures.energy import energies, varying
from aliascope.runs.store import Store
from aliascope.seam.handlers import Batch
from aliascope.seam.parts import Part
from aliascope.sites import Site

torch.set_num_threads(1)

CHANNELS = 24
DRAWS = 30


def images(number: int = 16, seed: int = 0) -> Tensor:
    """Maps of channels that alias more or less, in images of more or less contrast."""
    torch.manual_seed(seed)
    x = torch.randn(number, CHANNELS, 16, 16)
    smooth = nn.functional.avg_pool2d(x, 3, 1, 1)
    blend = torch.linspace(0, 1, CHANNELS)[:, None, None]
    contrast = torch.rand(number, CHANNELS, 1, 1).square() * 5 + 0.1
    return (blend * smooth + (1 - blend) * x / 3) * contrast


def measured(x: Tensor, *, size: int = 4, **options: Any) -> al.Measurement:
    model = nn.AvgPool2d(2)
    with al.Scope(model, **options) as scope:
        for batch in torch.split(x, size):
            model(batch)
    return scope.measurement()


def test_where_there_are_no_more_all_are_measured() -> None:
    every, drawn = measured(images()), measured(images(), channels=CHANNELS)
    pd.testing.assert_frame_equal(every.table(), drawn.table())


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_drawing_has_no_bias_and_its_intervals_hold(channels: int) -> None:
    x = images()
    options: dict[str, Any] = {"measures": ["energy", "categories"]}
    whole = measured(x, **options)
    fractions = whole.fractions().iloc[0]
    truth = {
        "aliased_energy": whole.energy().iloc[0]["aliased_energy"],
        **{name: fractions[name] for name in ("non_aliased", "aliased", "tangled")},
    }
    found: dict[str, list[float]] = {name: [] for name in truth}
    held: dict[str, list[bool]] = {name: [] for name in truth}
    for seed in range(DRAWS):
        drawn = measured(x, channels=channels, channels_seed=seed, **options)
        row = pd.concat([drawn.energy().iloc[0], drawn.fractions().iloc[0]])
        for name, value in truth.items():
            found[name].append(row[name])
            held[name].append(row[f"{name}_low"] <= value <= row[f"{name}_high"])
    for name, value in truth.items():
        error = np.mean(found[name]) - value
        assert abs(error) < 4 * np.std(found[name]) / np.sqrt(DRAWS) + 1e-9, name
        assert np.std(found[name]) > 1e-4, name
        assert np.mean(held[name]) >= 0.8, name


def test_edges_and_rates_come_from_the_drawn_channels_too() -> None:
    drawn = measured(images(), channels=6)
    row = drawn.energy().iloc[0]
    assert row["edge_low"] < row["aliased_energy"] < row["edge_high"]
    assert drawn.energy("overall").iloc[0]["aliased_energy"] == pytest.approx(row["aliased_energy"])


def test_what_is_drawn_depends_on_no_batch_and_no_part() -> None:
    x = images(8).contiguous(memory_format=torch.channels_last)
    first = measured(x, channels=5).values
    for other in (
        measured(x, channels=5, size=3),
        measured(x.contiguous(), channels=5, size=8, workspace=1 << 20),
    ):
        pd.testing.assert_frame_equal(first, other.values, rtol=1e-5, atol=1e-7)
    another = measured(x, channels=5, channels_seed=1).values
    assert not first["aliased_energy"].equals(another["aliased_energy"])


def test_a_part_of_the_channels_gives_what_the_whole_gives() -> None:
    dense = torch.randn(3, 10, 4, 5)
    site = Site("pool")
    drawn = Drawn(4)
    batch = Batch((7, 8, 9), dense.device)
    drawn.begin(batch)
    picked = drawn.pick(site, dense, Part.whole(dense))
    assert picked is not None
    channels = drawn.channels(site)
    assert channels is not None and channels.shape == (3, 4)
    assert all(len(set(row)) == 4 and row == sorted(row) for row in channels.tolist())
    for i, row in enumerate(channels):
        assert torch.equal(picked[0][i], dense[i, row])
    for first in (0, 6):
        some = slice(first, min(first + 6, 10))
        part = Part(tuple(dense.shape), slice(1, 3), some)
        again = drawn.pick(site, dense[1:3, some], part)
        assert (again is None) == (first == 0)
    assert again is not None and torch.equal(again[0], picked[0][1:])
    assert again[1] == Part((3, 4, 4, 5), slice(1, 3), slice(0, 4))


def test_channels_are_drawn_alike_often() -> None:
    drawn = Drawn(3)
    dense = torch.zeros(4000, 7, 1)
    drawn.begin(Batch(tuple(range(4000)), dense.device))
    drawn.pick(Site("pool"), dense, Part.whole(dense))
    chosen = drawn.channels(Site("pool"))
    assert chosen is not None
    often = torch.bincount(chosen.flatten(), minlength=7) / 4000
    assert (often - 3 / 7).abs().max() < 4 * (3 / 7 * 4 / 7 / 4000) ** 0.5


def test_windows_of_a_sample_have_the_same_channels() -> None:
    drawn = Drawn(2)
    dense = torch.arange(9.0).view(1, 9, 1).expand(6, 9, 1)
    drawn.begin(Batch((0, 1), dense.device))
    picked = drawn.pick(Site("pool"), dense, Part.whole(dense))
    assert picked is not None
    windows = picked[0].view(2, 3, 2)
    assert (windows == windows[:, :1]).all()


def test_a_value_that_is_not_finite_is_said_with_its_channel() -> None:
    x = images(4)
    x[2] = torch.nan
    for measure in ("energy", "categories"):
        drawn = Drawn(2)
        drawn.begin(Batch((2,), x.device))
        drawn.pick(Site("(root)"), x[:1], Part.whole(x[:1]))
        chosen = drawn.channels(Site("(root)"))
        assert chosen is not None
        with pytest.raises(al.AliascopeError, match=f"sample 2, channel {int(chosen[0, 0])}"):
            measured(x, channels=2, measures=[measure])


def test_a_value_that_is_not_finite_is_said_where_its_channel_was_not_drawn() -> None:
    x = images(8)
    drawn = Drawn(1)
    drawn.begin(Batch((3,), x.device))
    drawn.pick(Site("(root)"), x[:1], Part.whole(x[:1]))
    chosen = drawn.channels(Site("(root)"))
    assert chosen is not None
    channel = (int(chosen[0, 0]) + 1) % CHANNELS
    x[3, channel, 2, 2] = torch.inf
    with pytest.raises(al.AliascopeError, match=f"sample 3, channel {channel}"):
        measured(x, channels=1, measures=["energy"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_in_which_nothing_is_defined_weigh_nothing(dtype: torch.dtype) -> None:
    x = (1 + 2e-2 * images(8)).to(dtype)  # in bfloat16 some vary by their rounding alone
    x[:, :3] = 2.5
    for layout in (torch.contiguous_format, torch.channels_last):
        each = x.contiguous(memory_format=layout)
        defined = energies(each, (2, 2))[..., 0]
        assert bool((defined[:, :3] == 0).all()) and bool((defined > 0).any())
        found = varying(each, (2, 2))
        assert torch.equal(found > 0, defined > 0)
        torch.testing.assert_close(found, defined, rtol=1e-4, atol=0)
    assert bool((varying(x[..., :2, :], (2, 2)) == 0).all())  # one sample is kept


def test_a_single_image_in_which_something_varies_has_no_interval() -> None:
    x = torch.zeros(6, 8, 16, 16)
    x[2, 3] = images(1)[0, 0]
    for seed in range(4):
        row = measured(x, channels=6, channels_seed=seed).energy().iloc[0]
        assert np.isnan(row[["aliased_energy_low", "aliased_energy_high"]].astype(float)).all()


@pytest.mark.filterwarnings("error")
def test_where_nothing_varies_energy_is_not_defined_and_warns_of_nothing() -> None:
    energy = measured(torch.zeros(4, 8, 16, 16), channels=2).energy()
    assert np.isnan(energy["aliased_energy"].iloc[0])


def test_pages_comparisons_and_figures_say_what_was_drawn(tmp_path: Path) -> None:
    model, x = nn.AvgPool2d(2), images(6)
    every = al.measure(model, [x])
    drawn, other = al.measure(model, [x], channels=5), al.measure(model, [x], channels=7)
    page = drawn.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("at most 5 channels of each image and site, drawn") >= 2
    assert "image and site, drawn" not in every.report(tmp_path / "every.html").read_text(
        encoding="utf-8"
    )
    for before, after, words in (
        (every, drawn, "channels drawn: all → 5"),
        (drawn, other, "channels drawn: 5 → 7"),
        (drawn, drawn, "at most 5 channels"),
    ):
        assert any(words in note for note in al.compare(before, after).notes), words


def test_more_than_there_are_is_all_and_each_is_known() -> None:
    assert len(measured(images(), channels=CHANNELS).energy("channel")) == CHANNELS


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": 0}, "channels is 0"),
        ({"channels": -3}, "channels is -3"),
        ({"channels": 4, "detail": "channel"}, "detail 'channel'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(al.AliascopeError, match=words):
        al.Scope(nn.AvgPool2d(2), **options)


def test_a_channel_alone_is_not_known() -> None:
    with pytest.raises(al.AliascopeError, match="8 channels were drawn"):
        measured(images(), channels=8).energy("channel")


def exit_code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_a_run_says_what_was_drawn_and_goes_on_with_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ["evaluate", "-m", "oscillations", "-d", "oscillations", "--max-samples", "6"]
    run += ["-b", "3", "-o", "run", "--channels", "4"]
    assert exit_code(run) == 0
    assert "at most 4 channels of each image and site, drawn" in " ".join(
        capsys.readouterr().out.split()
    )
    content = json.loads(Path("run/run.json").read_text())
    assert content["options"]["channels"] == 4
    measurement = al.Measurement(Store.existing("run"))
    assert measurement.channels == 4
    caption = " ".join(text.get_text() for text in measurement.plot.energy().texts)
    assert "at most 4 channels of each image and site, drawn" in " ".join(caption.split())
    assert exit_code([*run[:-1], "5", "--resume"]) == 2
    assert "channels" in capsys.readouterr().err
    assert exit_code([*run, "--resume"]) == 0
