"""The explorer's pictures: image, dense signal, spectrum and category map of chosen channels."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from aliascope.categories import COLUMNS
from aliascope.palette import palette
from aliascope.report import pictures
from aliascope.report.numbers import Block
from aliascope.report.words import under
from aliascope.runs.arrays import Array
from aliascope.runs.maps import percentages
from aliascope.runs.measurement import Measurement

MOST_CHANNELS = 6
"""Channels shown of each site where all would take more than :data:`LIGHT`."""

SPREAD = (0.5, 1.0, 0.0, 0.75, 0.25, 0.9)
"""Which channels: places in their order by tangled fraction, the most wanted first."""

BUDGET = 14_000_000
"""Bytes of the page that pictures may take, so that all of it stays below 15 MB."""

LIGHT = 3_000_000
"""Bytes up to which every channel is shown unless another number is asked for."""


def explorer(
    measurement: Measurement,
    *,
    colours: str,
    max_samples: int,
    channels: int | None = None,
    budget: int = BUDGET,
) -> Block:
    """Draw what the explorer shows.

    Parameters
    ----------
    measurement : Measurement
        Of a run with detail "folds", or "pixel" (then without signals and spectra).
    colours : {"paper", "colour-blind"}
        Palette of the maps.
    max_samples : int
        How many samples at most, from the first.
    channels : int, optional
        How many channels of a site at most; all by default where they are light, else a few.
    budget : int
        Bytes that all pictures may take; channels are left out until they do, then samples. Where
        ``channels`` is given, samples are left out first.

    Returns
    -------
    dict
        ``notes``: what is shown and what was left out, in sentences; ``samples``: sample, name,
        label, prediction, correct, image; ``sites``: name, rate, box (place and size of the new
        Nyquist band, as parts of the spectrum's picture), ticks (of :func:`frequency_ticks`),
        channels (those shown) and of (how many it has); ``pictures[site][sample]
        [channel]``: percentages, map, dense and spectrum. Without the detail only ``notes``.
    """
    detail = measurement.run.get("detail")
    if detail not in ("pixel", "folds"):
        return {
            "notes": [
                f"This run kept counts only (detail {detail}), so there are no signals, spectra "
                "or maps to show. Evaluate again with --detail folds for all three, or with "
                "--detail pixel for the maps alone, and with a --max-samples of about 20."
            ]
        }
    shown, flat = _drawable(measurement)
    if shown.empty:
        return {"notes": ["No site of this run has two spatial axes, which the explorer draws."]}
    samples = measurement.samples.head(max_samples)
    by_channel = measurement.fractions(by="channel")["tangled"]
    tangled = {name: by_channel.xs(name, level="site") for name in shown["name"]}
    images = [_image(measurement, int(sample)) for sample in samples["sample"]]
    left = budget - sum(len(image["url"]) for image in images if image)
    draw = partial(_draw, measurement, shown, colours=colours)
    most = max(len(each) for each in tangled.values())
    wanted = min(most, channels or MOST_CHANNELS)
    chosen = {name: chosen_channels(each, MOST_CHANNELS) for name, each in tangled.items()}
    each = _bytes_of_all(draw(samples.head(1), chosen)[0], chosen, tangled)
    if channels is None and each * len(samples) <= min(LIGHT, left):
        wanted = most
    looked_at = samples
    if channels is not None:
        looked_at = samples.head(max(1, int(1.5 * left / max(1.0, each * wanted / most))))
    chosen = {name: chosen_channels(each, wanted) for name, each in tangled.items()}
    drawn, spent = draw(looked_at, chosen)
    kept, whole = _within(spent, left, channels_first=channels is None)
    blocks = _sample_blocks(samples, images)[:whole]
    sites, maps = [], []
    for row in shown.to_dict("records"):
        name = row["name"]
        order = np.argsort([value for _, value in chosen[name][:kept]])
        sites.append(
            {
                "name": name,
                "rate": list(row["rate"]),
                "dense_shape": list(row["dense_shape"]),
                **drawn[name]["place"],
                "channels": [
                    {"channel": chosen[name][k][0], "tangled": chosen[name][k][1]} for k in order
                ],
                "of": len(tangled[name]),
            }
        )
        maps.append([[drawn[name]["pictures"][i][k] for k in order] for i in range(whole)])
    notes = _notes(measurement, whole, len(samples), kept, wanted, most, flat, images[:whole])
    return {"notes": notes, "samples": blocks, "sites": sites, "pictures": maps}


def _bytes_of_all(
    drawn: dict[str, Block],
    chosen: dict[str, list[tuple[int, float]]],
    tangled: dict[str, pd.Series[float]],
) -> float:
    """Tell from one sample's pictures of a few channels how many bytes all channels would take."""
    total = 0.0
    for name, found in drawn.items():
        of_site = sum(_size(picture) for picture in found["pictures"][0])
        total += of_site / len(chosen[name]) * len(tangled[name])
    return total


def chosen_channels(
    tangled: pd.Series[float], most: int = MOST_CHANNELS
) -> list[tuple[int, float]]:
    """Choose channels of a site, spread over the range of their mean tangled fractions.

    Parameters
    ----------
    tangled : Series
        Mean tangled fraction by channel.
    most : int
        How many.

    Returns
    -------
    list of (int, float)
        Channel and its mean tangled fraction; the most wanted first.

    Examples
    --------
    >>> chosen_channels(pd.Series([0.3, 0.1, 0.2]))
    [(2, 0.2), (0, 0.3), (1, 0.1)]
    """
    tangled = tangled.sort_values(kind="stable")
    n = len(tangled)
    # After the first, the order of van der Corput: wherever it is cut, the places are spread.
    digits = max(1, (n - 1).bit_length())
    rest = sorted(range(n), key=lambda place: f"{place:0{digits}b}"[::-1])
    places = dict.fromkeys([*(round(place * (n - 1)) for place in SPREAD), *rest])
    return [(int(tangled.index[at]), float(tangled.iloc[at])) for at in list(places)[:most]]


def dense_signal(folds: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """Put folds side by side and transform them back.

    Parameters
    ----------
    folds : ndarray of complex, shape (r_h, r_w, M_h, M_w)
        As :func:`aliascope.spectrum.folds` gives them.
    size : (int, int)
        Height and width of the dense signal, without the zeros it was padded with.

    Returns
    -------
    signal : ndarray of float, shape (H, W)
    spectrum : ndarray of complex, shape (r_h * M_h, r_w * M_w)
        Zero frequency first.

    Examples
    --------
    >>> signal = np.arange(6.0).reshape(2, 3)
    >>> whole = np.fft.fft2(signal, s=(4, 4))
    >>> folds = whole.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3)
    >>> np.allclose(dense_signal(folds, (2, 3))[0], signal)
    True
    """
    r_h, r_w, m_h, m_w = folds.shape
    spectrum = folds.transpose(0, 2, 1, 3).reshape(r_h * m_h, r_w * m_w)
    return np.fft.ifft2(spectrum).real[: size[0], : size[1]], spectrum


def nyquist_box(rate: tuple[int, int], bins: tuple[int, int]) -> dict[str, float]:
    """Place the new Nyquist band in a centred spectrum of ``rate * bins`` frequencies.

    Returns
    -------
    dict
        x, y, width, height, as parts of the picture.

    Examples
    --------
    >>> nyquist_box((2, 2), (4, 4))
    {'x': 0.25, 'y': 0.25, 'width': 0.5, 'height': 0.5}
    """
    box: dict[str, float] = {}
    for start, extent, r, m in zip("xy", ("width", "height"), rate[::-1], bins[::-1], strict=True):
        length = r * m
        factor = pictures.shrinking(
            [n * k for n, k in zip(rate, bins, strict=True)], pictures.LARGEST_SIDE
        )
        whole = -(-length // factor) * factor  # the last drawn pixel may stand for fewer
        box[start] = (length // 2 - m // 2) / whole
        box[extent] = m / whole
    return dict(sorted(box.items(), key=lambda item: "xywh".index(item[0][0])))


def frequency_ticks(
    rate: tuple[int, int], bins: tuple[int, int]
) -> dict[str, list[tuple[float, float]]]:
    """Place frequencies along a centred spectrum of ``rate * bins`` of them, and along its map.

    Returns
    -------
    dict
        x and y: of the dense signal's spectrum, in cycles a sample, with the ends of the new
        Nyquist band; map_x and map_y: of the decimated one, in cycles a kept sample. Lists of
        (frequency, place as part of the picture).

    Examples
    --------
    >>> frequency_ticks((2, 1), (4, 8))["y"]
    [(-0.5, 0.0625), (-0.25, 0.3125), (0.0, 0.5625), (0.25, 0.8125), (0.5, 1.0)]
    >>> [frequency for frequency, _ in frequency_ticks((2, 1), (4, 8))["x"]]
    [-0.5, 0.0, 0.5]
    """
    ticks: dict[str, list[tuple[float, float]]] = {}
    for prefix, rates, largest in (
        ("", rate, pictures.LARGEST_SIDE),
        ("map_", (1, 1), pictures.LARGEST_MAP),
    ):
        lengths = [r * m for r, m in zip(rates, bins, strict=True)]
        factor = pictures.shrinking(lengths, largest)
        for axis, r, length in zip("yx", rates, lengths, strict=True):
            whole = -(-length // factor) * factor
            wanted = sorted({-0.5, -0.5 / r, 0.0, 0.5 / r, 0.5})
            places = [(f * length + length // 2 + 0.5) / whole for f in wanted]
            ticks[prefix + axis] = [
                (f, min(1.0, max(0.0, place))) for f, place in zip(wanted, places, strict=True)
            ]
    return ticks


def _drawable(measurement: Measurement) -> tuple[pd.DataFrame, int]:
    """Give the sites with two spatial axes, and how many have another number."""
    measured = measurement.sites[measurement.sites["supported"].astype(bool)]
    two = measured["rate"].map(len) == 2
    return measured[two], int((~two).sum())


def _draw(
    measurement: Measurement,
    shown: pd.DataFrame,
    samples: pd.DataFrame,
    channels: dict[str, list[tuple[int, float]]],
    *,
    colours: str,
) -> tuple[dict[str, Block], Array]:
    """Draw every picture wanted, and count the bytes by (sample, channel's place)."""
    has_folds = measurement.run.get("detail") == "folds"
    most = max(len(each) for each in channels.values())
    spent = np.zeros((len(samples), most), dtype=np.int64)
    drawn: dict[str, Block] = {}
    for row in shown.to_dict("records"):
        name, rate, size = row["name"], tuple(row["rate"]), tuple(row["dense_shape"][-2:])
        drawn[name] = {"pictures": [], "place": {}}
        for i, sample in enumerate(samples["sample"]):
            maps = measurement.category_map(name, int(sample))
            folds = measurement.folds(name, int(sample)) if has_folds else None
            drawn[name]["place"] = {
                "box": nyquist_box(rate, maps.shape[-2:]),
                "ticks": frequency_ticks(rate, maps.shape[-2:]),
                "windows": len(maps) // int(row["dense_shape"][0]),
            }
            drawn[name]["pictures"].append([])
            for k, (channel, _) in enumerate(channels[name]):
                fold = None if folds is None else folds[channel]
                picture = _pictures(maps[channel], fold, size, colours)
                drawn[name]["pictures"][-1].append(picture)
                spent[i, k] += _size(picture)
    return drawn, spent


_URLS = ("map", "dense", "spectrum")


def _size(picture: Block) -> int:
    return sum(len(picture[key]) for key in _URLS if key in picture)


def _pictures(category: Array, folds: Array | None, size: tuple[int, int], colours: str) -> Block:
    block: Block = {
        "fractions": percentages(category).tolist(),
        "map": pictures.category_picture(category, [palette(colours)[c] for c in COLUMNS]),
        "bins": list(category.shape),
    }
    if folds is not None:
        signal, spectrum = dense_signal(folds, size)
        block["dense"] = pictures.signal_picture(signal)
        block["spectrum"] = pictures.spectrum_picture(spectrum)
        block["range"] = _range(signal)
    return block


def _range(signal: Array) -> list[float]:
    """Smallest and largest value; what is but the rounding of the transform counts as 0."""
    ends = (float(signal.min()), float(signal.max()))
    rounding = 1e-6 * max(abs(end) for end in ends)
    return [end if abs(end) > rounding else 0.0 for end in ends]


def _within(spent: Array, budget: int, *, channels_first: bool = True) -> tuple[int, int]:
    """Choose how many channels a site, and how many samples, fit into the budget.

    Examples
    --------
    >>> spent = np.full((4, 3), 10)
    >>> _within(spent, 120), _within(spent, 90), _within(spent, 25), _within(spent, 0)
    ((3, 4), (2, 4), (1, 2), (1, 1))
    >>> _within(spent, 90, channels_first=False), _within(spent, 25, channels_first=False)
    ((3, 3), (2, 1))
    """
    if not channels_first:
        fitting = int((np.cumsum(spent.sum(axis=1)) <= budget).sum())
        if fitting:
            return spent.shape[1], fitting
        return max(1, int((np.cumsum(spent[0]) <= budget).sum())), 1
    for channels in range(spent.shape[1], 0, -1):
        if spent[:, :channels].sum() <= budget:
            return channels, len(spent)
    fitting = int((np.cumsum(spent[:, 0]) <= budget).sum())
    return 1, max(1, fitting)


def _sample_blocks(samples: pd.DataFrame, images: list[Block | None]) -> list[Block]:
    blocks = []
    for row, image in zip(samples.to_dict("records"), images, strict=True):
        block: Block = {"sample": int(row["sample"]), "name": row.get("name"), "image": image}
        for key in ("label", "prediction"):
            value = row.get(key)
            block[key] = None if value is None or pd.isna(value) else int(value)
        correct = row.get("top1")
        block["correct"] = None if correct is None or pd.isna(correct) else bool(correct)
        blocks.append(block)
    return blocks


def _image(measurement: Measurement, sample: int) -> Block | None:
    """Draw the pixels that the run kept, or nothing."""
    kept = measurement.pixels(sample)
    if kept is None:
        return None
    picture = pictures.pixels_picture(kept)
    width, height = picture.size
    caption = f"as the network saw it{under(measurement)}"
    return {"url": pictures.photograph(picture), "size": [width, height], "caption": caption}


def _chosen(shown: int, most: int) -> str:
    if shown >= most:
        return "every channel" if most > 1 else "its one channel"
    if shown == 1:
        return "1 channel: the one in the middle of the range of mean tangled fractions"
    spread = "spread over the range of mean tangled fractions"
    return f"up to {shown} of up to {most} channels, {spread}"


def _notes(
    measurement: Measurement,
    shown: int,
    wanted_samples: int,
    channels: int,
    wanted_channels: int,
    most_channels: int,
    flat: int,
    images: list[Block | None],
) -> list[str]:
    total = len(measurement.samples)
    of = f"the first {shown} of {total} images" if shown < total else f"all {total} images"
    if total == 1:
        of = "the one image"
    up_to = min(channels, wanted_channels)
    notes = [f"Shown are {of} and, at each site, {_chosen(up_to, most_channels)}."]
    if up_to < most_channels:
        notes.append(
            "Every other channel can be reached on a page written with --channels all, of fewer "
            "images where it would exceed 15 MB (--max-samples 1 leaves most room)."
        )
    if up_to < wanted_channels or shown < wanted_samples:
        missing = [f"{wanted_channels} channels"] if up_to < wanted_channels else []
        missing += [f"{wanted_samples} images"] if shown < wanted_samples else []
        notes.append(f"To keep the page below 15 MB, fewer than {' and '.join(missing)} are shown.")
    if len(measurement.conditions) > 1:
        notes.append(f"They are those{under(measurement)}.")
    if measurement.run.get("detail") == "pixel":
        notes.append(
            "This run kept maps but no folds, so there are no dense signals or spectra; "
            "evaluate with --detail folds for these."
        )
    if flat:
        notes.append(f"{flat} sites without two spatial axes are left out.")
    lacking = sum(image is None for image in images)
    if lacking:
        of_which = "any image" if lacking == shown else f"{lacking} of the images"
        notes.append(
            f"The run did not keep the pixels of {of_which}, so only the signals made of them are "
            "shown."
        )
    return notes
