"""The verdict on top of the page: what was found, in plain words, and what was not measured."""

from __future__ import annotations

import math
import shlex
from itertools import zip_longest

from aliascope.report.numbers import Block
from aliascope.report.words import interval, percent, signed, state, under
from aliascope.runs.changed import ALL
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import drawing
from aliascope.runs.words import listed

KEPT = ("--model", "--data", "--weights", "--batch-size", "--max-samples", "--start", "--filter")
"""Options of the command that measured a run that one measuring the rest needs as well."""

ALSO = {"ablate": " --measures energy,categories,floor"}
"""With which an ablation's own run holds all that the page shows."""

SHORT = {
    **{"-m": "--model", "-w": "--weights", "-d": "--data", "-b": "--batch-size"},
    "-o": "--output",
}


def verdict(measurement: Measurement, blocks: Block) -> Block:
    """Say what was found, each finding with its number.

    Parameters
    ----------
    measurement : Measurement
        The run.
    blocks : dict
        folder, energy, overall, sites, floor, ablation, consistency, accuracy and comparisons of
        the page.

    Returns
    -------
    dict
        said: findings, each with head (a word) and words; missing: what was not measured, each with
        what and command.
    """
    found = [
        ("Measured", _measured(measurement, blocks)),
        ("Aliasing", " ".join([*_aliasing(blocks), *_bins(blocks)])),
        ("Use", " ".join(_used(blocks["ablation"]))),
        ("Shifts", " ".join(_consistent(blocks["consistency"]))),
        *(("Compared", _compared(each)) for each in blocks["comparisons"]),
        ("Beware", " ".join(state(measurement))),
    ]
    return {
        "said": [{"head": head, "words": words} for head, words in found if words],
        "missing": missing(measurement, blocks),
    }


# -- what was found ------------------------------------------------------------------------------


def _measured(measurement: Measurement, blocks: Block) -> str:
    run = measurement.run
    model, data = run.get("model") or {}, run.get("data") or {}
    name = model.get("name", "The network")
    weights = f" (weights {model['weights']})" if model.get("weights") else ""
    where = f" from {data['name']}" if data.get("name") else ""
    sites = int(measurement.sites["supported"].astype(bool).sum())
    consistency = blocks["consistency"]
    if not sites and consistency:
        images = max(kind["images"] for kind in consistency["kinds"])
        return f"Of {name}{weights}, shift consistency was counted on {_images(images)}{where}."
    top1 = blocks["accuracy"].get("top1")
    right = (
        f" It is right about {percent(top1['accuracy'])} of them "
        f"({interval(top1['low'], top1['high'])})."
        if top1
        else ""
    )
    n = _images(len(measurement.samples))
    places = "1 site" if sites == 1 else f"{sites} sites"
    some = f", {drawing(measurement)}" if drawing(measurement) else ""
    how = f"{places} on {n}{where}{under(measurement)}{some}"
    return f"{name}{weights} was measured at {how}.{right}"


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"


def _aliasing(blocks: Block) -> list[str]:
    """Where most aliases: of the rate that most sites have, and of each other one."""
    energy = blocks["energy"]
    if energy is None:
        return []
    words: list[str] = []
    for rate in energy["rates"]:
        of_rate = [
            site
            for site in energy["sites"]
            if "×".join(map(str, site["rate"])) == rate["rate"] and not math.isnan(site["value"])
        ]
        if of_rate:
            several = len(energy["rates"]) > 1
            words.append(_most(of_rate, blocks, f" of rate {rate['rate']}" if several else ""))
    return words


def _most(sites: list[Block], blocks: Block, of_rate: str) -> str:
    first, *others = sorted(sites, key=lambda site: -site["value"])
    share = f"{percent(first['value'])} of the energy that varies"
    if others:
        words = f"Most aliases at {first['name']}{of_rate and f', of the sites{of_rate}'}: {share}"
    else:
        words = f"At {first['name']}{of_rate and f', the one site{of_rate}'}, {share}"
    words += f" lies beyond the new Nyquist rate ({interval(first['low'], first['high'])}"
    if not math.isnan(first["white"]):
        words += f"; white noise would have {percent(first['white'])}"
    words += ")" + _floor(first["name"], blocks) + "."
    near = [site["name"] for site in others if site["high"] >= first["low"]]
    if near:
        whose = f"{len(near)} other sites ({near[0]} comes next)" if len(near) > 2 else listed(near)
        words += f" Its interval overlaps with that of {whose}, so their order is open."
    return words


def _floor(name: str, blocks: Block) -> str:
    """Aliased + tangled bins at a site, beside their floor."""
    (site,) = [each for each in blocks["sites"] if each["name"] == name] or [None]
    floor = (blocks["floor"] or {"sites": {}})["sites"].get(name)
    if site is None or floor is None:
        return ""
    both = site["mean"]["aliased"] + site["mean"]["tangled"]
    return (
        f"; {percent(both)} of its bins are aliased or tangled, where {percent(floor)} would be "
        "with nothing there to alias (the floor)"
    )


def _bins(blocks: Block) -> list[str]:
    """Where categories alone were measured: aliased + tangled over the sites, and the floor."""
    if blocks["energy"] is not None or blocks["overall"] is None:
        return []
    mean = blocks["overall"]["mean"]
    words = f"Over its sites, {percent(mean['aliased'] + mean['tangled'])} of bins are aliased or "
    words += "tangled"
    most = max(blocks["sites"], key=lambda site: site["mean"]["aliased"] + site["mean"]["tangled"])
    if len(blocks["sites"]) > 1:
        share = percent(most["mean"]["aliased"] + most["mean"]["tangled"])
        words += f", most at {most['name']} ({share})"
    if blocks["floor"]:
        words += (
            f"; the floor, with nothing there to alias, is {percent(blocks['floor']['overall'])}"
        )
    return [f"{words}."]


def _used(ablation: Block | None) -> list[str]:
    """Say what an ablation found, and what removing costs where it costs most."""
    if ablation is None:
        return []
    words = [ablation["said"]]
    stages = [each for each in ablation["stages"] if each["name"] != ALL] or ablation["stages"]
    with_effect = [
        (stage, stage["effects"]["remove"]) for stage in stages if "remove" in stage["effects"]
    ]
    with_effect = [each for each in with_effect if not math.isnan(each[1]["change"])]
    if with_effect:
        stage, effect = min(with_effect, key=lambda each: each[1]["change"] * _sign(ablation))
        words.append(_cost(ablation, stage, effect))
    return words


def _sign(ablation: Block) -> int:
    return 1 if ablation["signed"] else -1


def _cost(ablation: Block, stage: Block, effect: Block) -> str:
    change, low, high = effect["change"], effect["low"], effect["high"]
    what = f"Taking it away at {stage['title']} changes {ablation['quantity']} by"
    if not ablation["signed"]:
        return f"{what} {percent(change)} ({interval(low, high)})."
    words = f"{what} {signed(change)} points"
    if not math.isnan(low):
        words += f" (95\u00a0% interval {signed(low)} to {signed(high)})"
    control = stage["effects"].get("gain")
    if control is not None and not math.isnan(control["change"]):
        words += f", and taking as much energy from everything by {signed(control['change'])}"
    return f"{words}."


def _compared(comparison: Block) -> str:
    return f"With {comparison['names'][1]}: {' '.join(comparison['said'])}"


def _consistent(consistency: Block | None) -> list[str]:
    if consistency is None:
        return []
    parts = []
    for kind in consistency["kinds"]:
        mean, worst = percent(kind["consistency"]), percent(kind["worst"])
        ends = interval(kind["consistency_low"], kind["consistency_high"])
        if consistency["what"] == "pixels":
            parts.append(f"{mean} of pixels keep their class under {kind['kind']} shifts ({ends})")
        else:
            parts.append(
                f"{mean} of {kind['kind']} shifts leave an image's class as it was ({ends}), and "
                f"{worst} of images keep it under all of theirs"
            )
    words = "; ".join(parts)
    return [f"{words}."]


# -- what was not --------------------------------------------------------------------------------


def missing(measurement: Measurement, blocks: Block) -> list[Block]:
    """List what was not measured, and the command that measures it.

    Parameters
    ----------
    measurement : Measurement
        The run.
    blocks : dict
        Of the page.

    Returns
    -------
    list of dict
        what and command, each of one.
    """
    command = list(measurement.run.get("command") or [])
    folder = blocks["folder"] or _options(command).get("--output", "RUN")
    there: list[Block] = []
    measured = [name for name in ("energy", "categories", "floor") if name not in _there(blocks)]
    if measured:
        there.append(
            {
                "what": f"How much aliases ({', '.join(measured)})",
                "command": _command("evaluate", command, measurement, f"{folder}-measured")
                or "al.measure(model, batches)",
            }
        )
    if blocks["ablation"] is None:
        there.append(
            {
                "what": "Whether what aliases is used",
                "command": _command("ablate", command, measurement, f"{folder}-ablated")
                or "al.ablate(model, batches)",
            }
        )
    if blocks["consistency"] is None:
        there.append(
            {
                "what": "How consistent it is under shifts",
                "command": _command("shift", command, measurement, folder)
                or "al.shift_consistency(model, images)",
            }
        )
    return there


def _there(blocks: Block) -> set[str]:
    names = {"energy": "energy", "overall": "categories", "floor": "floor"}
    return {name for key, name in names.items() if blocks[key] is not None}


def _command(name: str, recorded: list[str], measurement: Measurement, folder: str) -> str | None:
    """Write a command of the same model and images; None where there is no name for them."""
    given = _options(recorded)
    for option, section in (("--model", "model"), ("--data", "data")):
        known = (measurement.run.get(section) or {}).get("name")
        if option not in given and known:
            given[option] = str(known)
    if "--model" not in given or "--data" not in given:
        return None
    words = [f"{option} {shlex.quote(given[option])}" for option in KEPT if option in given]
    return f"aliascope {name} {' '.join(words)}{ALSO.get(name, '')} -o {shlex.quote(folder)}"


def _options(recorded: list[str]) -> dict[str, str]:
    """Read the options to keep out of a command as it was given.

    Examples
    --------
    >>> _options(["aliascope", "evaluate", "-m", "resnet18", "--data=photos", "--seed", "3"])
    {'--model': 'resnet18', '--data': 'photos'}
    """
    found: dict[str, str] = {}
    for word, following in zip_longest(recorded, recorded[1:], fillvalue=""):
        option, equals, value = word.partition("=")
        option = SHORT.get(option, option)
        if option in (*KEPT, "--output"):
            found[option] = value if equals else following
    return found
