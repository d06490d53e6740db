"""What the page says in words: no more than the numbers beside it support."""

from __future__ import annotations

import math

from aliascope.categories import COLUMNS, LABELS
from aliascope.report.numbers import Block
from aliascope.runs.comparisons import FEWEST_TESTED
from aliascope.runs.conditions import CLEAN
from aliascope.runs.energy import FEWEST_KEPT
from aliascope.runs.measurement import Measurement

NO_BREAK = "\u00a0"
"""Space that keeps a number and its unit on one line."""

SIGNIFICANT = 0.05
"""Below this p-value a difference is mentioned, with the caution that four were tested."""


def percent(value: float) -> str:
    """Write a fraction as percent.

    Examples
    --------
    >>> percent(0.3749).replace(NO_BREAK, " ")
    '37.5 %'
    """
    return f"{100 * value:.1f}{NO_BREAK}%"


def signed(change: float) -> str:
    """Write a change of a fraction in points, with its sign.

    Examples
    --------
    >>> signed(-0.1234), signed(0.05), signed(-0.0001)
    ('−12.3', '+5.0', '0.0')
    """
    rounded = round(100 * change, 1)
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def interval(low: float, high: float) -> str:
    """Write an interval of fractions; one image has none.

    Examples
    --------
    >>> interval(0.1, 0.25).replace(NO_BREAK, " ")
    '95 % interval 10.0 to 25.0 %'
    >>> interval(float("nan"), float("nan"))
    'no interval from one image'
    """
    if math.isnan(low):
        return "no interval from one image"
    return f"95{NO_BREAK}% interval {100 * low:.1f} to {percent(high)}"


def summary(measurement: Measurement, blocks: Block) -> list[str]:
    """Say what was measured and what came out, one sentence or two for each finding.

    Parameters
    ----------
    measurement : Measurement
        The run.
    blocks : dict
        energy, overall, sites, floor, thresholds, accuracy and attack, as
        :mod:`aliascope.report.numbers` gives them.

    Returns
    -------
    list of str
        Paragraphs; none where nothing was measured.
    """
    if not measurement.measures:
        return []
    n_sites = int(measurement.sites["supported"].astype(bool).sum())
    return [
        _measured(measurement, n_sites),
        *amount(blocks["energy"]),
        *_accuracy(measurement, blocks["accuracy"]),
        *_categories(measurement, blocks),
        *(sentence for sentence in [attacked(blocks["attack"])] if sentence),
    ]


def _categories(measurement: Measurement, blocks: Block) -> list[str]:
    if blocks["overall"] is None:
        return []
    return [
        _overall(measurement, blocks["overall"], len(blocks["sites"])),
        *leaking(blocks["overall"], blocks["floor"]),
        *over_thresholds(blocks["thresholds"]),
        *(leading(blocks["sites"], key) for key in ("tangled", "aliased")),
    ]


def _measured(measurement: Measurement, n_sites: int) -> str:
    run = measurement.run
    model = run.get("model") or {}
    data = run.get("data") or {}
    name = model.get("name", "The network")
    weights = f" (weights {model['weights']})" if model.get("weights") else ""
    where = f" from {data['name']}" if data.get("name") else ""
    n = len(measurement.samples)
    images = f"{n} image{'s' if n != 1 else ''}{where}"
    places = f"{n_sites} site{'s' if n_sites != 1 else ''}"
    words = f"{name}{weights} was measured at {places} on {images}."
    if len(measurement.conditions) > 1:
        those = under(measurement) or " of the clean images"
        words += f" Numbers are those{those}, unless another condition is named."
    return words


def under(measurement: Measurement) -> str:
    """Say under which condition numbers hold, in words that may follow any; none where clean.

    Parameters
    ----------
    measurement : Measurement
        Under that condition.

    Returns
    -------
    str
        Such as " at ε = 0.001".
    """
    condition = measurement.condition
    if condition == CLEAN:
        return ""
    return f" {'at' if condition.get('eps') is not None else 'under'} {condition.label}"


def threshold(measurement: Measurement) -> str:
    """Say when a fold counts, in one sentence."""
    criterion = measurement.criterion
    if criterion is None:
        return ""
    level = {"max": "largest", "mean": "mean"}.get(criterion.reference, "reference")
    return (
        f"A fold of the spectrum counts where its power is above a threshold "
        f"{criterion.threshold_db:g} dB below the {level} power of the decimated signal."
    )


def state(measurement: Measurement) -> list[str]:
    """Say what a run lacks: that it is not finished, images or places that were left out."""
    sentences = []
    if measurement.run.get("status") == "running":
        sentences.append("This run is not finished: what follows is what it has so far.")
    left_out = len(measurement.unreadable)
    if left_out:
        were = (
            "image could not be read and was"
            if left_out == 1
            else "images could not be read and were"
        )
        sentences.append(f"{left_out} {were} left out; see the end of the page.")
    not_measured = int((~measurement.sites["supported"].astype(bool)).sum())
    if not_measured:
        place = (
            "1 place that resamples"
            if not_measured == 1
            else f"{not_measured} places that resample"
        )
        sentences.append(f"{place} could not be measured; see the end of the page for the reason.")
    return sentences


def _accuracy(measurement: Measurement, accuracy: Block) -> list[str]:
    at = under(measurement)
    parts = [
        f"{key.replace('top', 'top-')} accuracy{at} was {percent(row['accuracy'])} "
        f"({row['correct']:.0f} of {row['n']:.0f}, {interval(row['low'], row['high'])})"
        for key, row in accuracy.items()
    ]
    if not parts:
        return ["The images have no labels, so accuracy is not known."]
    words = "; ".join(parts) + "."
    return [words[0].upper() + words[1:]]


def amount(energy: Block | None) -> list[str]:
    """Say how much aliases: by rate, with its interval, and at which site most.

    Parameters
    ----------
    energy : dict or None
        As :func:`aliascope.report.numbers.energy` gives it.

    Returns
    -------
    list of str
        Paragraphs; none where it was not measured.
    """
    if energy is None:
        return []
    words = [_of_rate(rate) for rate in energy["rates"]]
    defined = [site for site in energy["sites"] if not math.isnan(site["value"])]
    if len(defined) > 1 and len(energy["rates"]) == 1:
        words.append(most_energy(defined))
    rough = [site["name"] for site in defined if site["rough"]]
    if rough:
        at = rough[0] if len(rough) == 1 else f"{len(rough)} sites"
        words.append(
            f"At {at} an axis keeps fewer than {FEWEST_KEPT} samples: there the energy is known "
            "only roughly."
        )
    if undefined := len(energy["sites"]) - len(defined):
        places = "1 site" if undefined == 1 else f"{undefined} sites"
        words.append(f"At {places} it is not defined, since nothing varies there, and left out.")
    return words


def _of_rate(rate: Block) -> str:
    n, size = rate["sites"], rate["rate"]
    if not n:
        return f"At sites of rate {size} no signal varies, so aliased energy is not defined there."
    at = (
        f"At the one site of rate {size}"
        if n == 1
        else f"Averaged over the {n} sites of rate {size}"
    )
    return (
        f"{at}, {percent(rate['value'])} of the energy that varies lies beyond the new Nyquist "
        f"rate and aliases ({interval(rate['low'], rate['high'])}; "
        f"{100 * rate['edge_low']:.1f} to {percent(rate['edge_high'])} with the cut moved by one "
        f"coefficient). White noise of those sizes would have {percent(rate['white'])}."
    )


def most_energy(sites: list[Block]) -> str:
    """Say which site has most aliased energy, and whether others may have as much.

    Parameters
    ----------
    sites : list of dict
        As :func:`aliascope.report.numbers.energy` gives them; two or more, of one rate.

    Returns
    -------
    str
    """
    first, *others = sorted(sites, key=lambda site: -site["value"])
    words = f"The largest share is that of {first['name']}: {percent(first['value'])}"
    if any(math.isnan(site["low"]) for site in sites):
        return f"{words}. With a single image at a site, the order may change with others."
    words += f" ({interval(first['low'], first['high'])})."
    return f"{words} {_reaching([s['name'] for s in others if s['high'] >= first['low']])}"


def leaking(overall: Block, floor: Block | None) -> list[str]:
    """Say how much of aliased + tangled may be leakage of the measure; nothing if not measured."""
    if floor is None:
        return []
    both = overall["mean"]["aliased"] + overall["mean"]["tangled"]
    images = "1 image" if floor["n"] == 1 else f"{floor['n']} images"
    words = (
        f"Together aliased + tangled are {percent(both)}. Of the low part alone, in which nothing "
        f"aliases, {percent(floor['overall'])} are called so too ({images}): that floor is leakage "
        "of the measure, which grows as maps become small."
    )
    if floor["overall"] >= both:
        return [f"{words} The measured bins do not stand above it."]
    return [f"{words} It saturates, so it cannot be subtracted: read it beside the bins."]


def over_thresholds(thresholds: Block | None) -> list[str]:
    """Say how far the threshold decides about the categories; nothing if not measured."""
    if thresholds is None:
        return []
    low, high = min(thresholds["overall"]), max(thresholds["overall"])
    levels = thresholds["levels"]
    return [
        f"The categories depend on the threshold: from {levels[0]} to {levels[-1]}{NO_BREAK}dB "
        f"aliased + tangled range from {100 * low:.1f} to {percent(high)}. Aliased energy depends "
        "on none."
    ]


def _reaching(near: list[str]) -> str:
    """Say whether the intervals of other sites, by name, reach that of the first."""
    if not near:
        return "No other site's interval reaches that one."
    if len(near) == 1:
        return f"The interval of {near[0]} overlaps it, so their order is not settled."
    return (
        f"The intervals of {len(near)} other sites overlap it ({near[0]} comes next), "
        "so their order is not settled."
    )


def _overall(measurement: Measurement, fractions: Block, n_sites: int) -> str:
    order = sorted(COLUMNS, key=lambda key: -fractions["mean"][key])
    parts = [
        f"{percent(fractions['mean'][key])} {LABELS[key]} "
        f"({interval(fractions['low'][key], fractions['high'][key])})"
        for key in order
    ]
    over = "At its one site" if n_sites == 1 else f"Averaged over the {n_sites} sites"
    bins = (
        f"{over}, the bins of the decimated spectrum are {', '.join(parts[:-1])} and {parts[-1]}."
    )
    return f"{bins} {threshold(measurement)}".rstrip()


def leading(sites: list[Block], category: str) -> str:
    """Say which site has the largest fraction, and whether others may have as much.

    Parameters
    ----------
    sites : list of dict
        As :func:`aliascope.report.numbers.sites` gives them; one or more.
    category : str
        Column of the category.

    Returns
    -------
    str
    """
    label = LABELS[category]
    first, *others = sorted(sites, key=lambda site: -site["mean"][category])
    value = f"{percent(first['mean'][category])} of its bins"
    if not others:
        return f"At {first['name']}, {value} are {label}."
    if first["mean"][category] == 0:
        return f"No site has {label} bins."
    low, high = first["low"][category], first["high"][category]
    words = f"The site with the largest fraction of {label} bins is {first['name']}: {value}"
    if any(math.isnan(site["low"][category]) for site in sites):
        return f"{words}. With a single image at a site, the order may change with others."
    near = [site["name"] for site in others if site["high"][category] >= low]
    words += f" ({interval(low, high)})."
    return f"{words} {_reaching(near)}"


def attacked(points: list[Block]) -> str:
    """Say what happened from the smallest to the largest epsilon; nothing without an attack."""
    if len(points) < 2:
        return ""
    first, last = points[0], points[-1]
    parts = []
    for key in ("top1", "top5"):
        if key in first["accuracy"] and key in last["accuracy"]:
            before, after = (point["accuracy"][key]["accuracy"] for point in (first, last))
            parts.append(f"{key.replace('top', 'top-')} accuracy went {_from_to(before, after)}")
    if not first["harmed"] or not last["harmed"]:
        return (
            f"From ε = {first['eps']:g} to ε = {last['eps']:g}, {' and '.join(parts)}."
            if parts
            else ""
        )
    before, after = (point["harmed"]["aliasing"] for point in (first, last))
    parts.append(f"the median over images of aliased + tangled bins went {_from_to(before, after)}")
    words = f"From ε = {first['eps']:g} to ε = {last['eps']:g}, {', '.join(parts[:-1])}"
    words += (" and " if len(parts) > 1 else "") + parts[-1] + "."
    one, other = first["harmed"], last["harmed"]
    if one["low"] <= other["high"] and other["low"] <= one["high"]:
        return f"{words} The 1 to 99 % bands of the images at the two ε overlap."
    return f"{words} The 1 to 99 % bands of the images at the two ε do not overlap."


def _from_to(before: float, after: float) -> str:
    return f"from {100 * before:.1f} to {percent(after)}"


def why_not_compared(accuracy: Block) -> str:
    """Say why there are no correct and incorrect images to compare.

    Parameters
    ----------
    accuracy : dict
        As :func:`aliascope.report.numbers.accuracy` gives it.

    Returns
    -------
    str
    """
    top1 = accuracy.get("top1")
    if top1 is None:
        return "The images have no labels, so there are no correct and incorrect ones to compare."
    if top1["correct"]:
        return (
            f"All {top1['n']:.0f} labelled images were classified correctly, "
            "so there are no incorrect ones to compare with."
        )
    return (
        f"None of the {top1['n']:.0f} labelled images was classified correctly, "
        "so there are no correct ones to compare with."
    )


def compared(groups: Block) -> str:
    """Say how correct and incorrect images compare, with care.

    Parameters
    ----------
    groups : dict
        As :func:`aliascope.report.numbers.groups` gives it.

    Returns
    -------
    str
    """
    right, wrong = groups["correct"], groups["incorrect"]
    medians = [side["categories"]["tangled"]["quantiles"][2] for side in (right, wrong)]
    n = f"{right['n']} correctly and {wrong['n']} incorrectly classified images"
    words = (
        f"{n}: the median tangled fraction is {percent(medians[0])} of the correct "
        f"and {percent(medians[1])} of the incorrect ones."
    )
    if groups["test"] is None:
        return f"{words} With fewer than {FEWEST_TESTED} on one side, no test is made."
    different = [key for key in COLUMNS if groups["test"][key]["p"] < SIGNIFICANT]
    if not different:
        return (
            f"{words} In no category do these images show a difference "
            f"(Mann–Whitney, every p ≥ {SIGNIFICANT:g}); that is no proof that there is none."
        )
    named = ", ".join(f"{LABELS[key]} (p = {groups['test'][key]['p']:.2g})" for key in different)
    return (
        f"{words} The Mann–Whitney test finds a difference in {named}; four categories were "
        "tested, so a p near 0.05 is weak evidence, and a difference says nothing of its cause."
    )
