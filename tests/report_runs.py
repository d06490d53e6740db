"""Tiny runs for the tests of the page, one of them with names that try to run as code."""

from __future__ import annotations

import os
import sys

import numpy as np
import pandas as pd

from aliascope.evaluation.loop import evaluate
from aliascope.evaluation.options import Options
from aliascope.tasks.images import open_data
from aliascope.tasks.models import load_model
from tests_shared import tiny_photos


def small_runs(folder):
    """Make a run with folds, and one with maps attacked at three epsilons, once for all tests."""
    runs = {name: folder / name for name in ("folds", "attacked")}
    if folder.exists():
        return runs
    folder.mkdir()
    tiny_photos(folder)
    before = os.getcwd()
    os.chdir(folder)
    sys.modules.pop("factories", None)
    try:
        loaded = load_model("factories:net", resize=26, crop=24)
    finally:
        os.chdir(before)
        sys.modules.pop("factories", None)
    images = open_data(str(folder / "photos"), loaded.preprocessing)
    attack = {"attack": "fgsm", "eps": (0.0, 0.00012345, 0.3), "save_adversarial": 2}
    evaluate(loaded, images, runs["folds"], Options(batch_size=6, detail="folds"))
    evaluate(loaded, images, runs["attacked"], Options(detail="pixel", **attack))
    return runs


SCRIPT = "</script><script>window.hacked = 1</script>"
IMAGE = '<img src=x onerror="window.hacked = 1">'


def hostile_run(store):
    """Write a run whose every string is markup: names of model, data, sites, images, reasons."""
    axes = {"op": SCRIPT, "grid": IMAGE, "number": 0, "recomposition_error": 0.0}
    sites = [
        {**axes, "path": path, "rate": (2, 2), "dense_shape": (1, 8, 8)}
        | {"supported": True, "reason": ""}
        for path in (SCRIPT, "]]>--><!--<script>" + IMAGE + "&amp;%%data%%")
    ]
    broken = {**sites[0], "path": "x" + IMAGE, "supported": False, "reason": SCRIPT}
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 4, (2, 3, 1, 8, 8)).astype(np.uint8)
    counts = np.stack([(maps == c).sum(axis=(2, 3, 4)) for c in range(4)], axis=-1)
    table = pd.DataFrame(
        counts.reshape(6, 4), columns=["no_pass", "non_aliased", "aliased", "tangled"]
    )
    table.insert(0, "site", np.repeat([0, 1], 3))
    table.insert(0, "sample", [0, 1, 2] * 2)
    writer = store.begin(0)
    for position in range(2):
        writer.write("category", position, maps[position])
        writer.write("channel", position, counts[position][:, None])
    names = ["<b>" + SCRIPT, IMAGE, "\u2028'\"`${window.hacked = 1}"]
    samples = pd.DataFrame({"sample": range(3), "name": names, "label": [0, 1, 2]})
    samples["prediction"], samples["top1"] = [0, 0, 2], [True, False, True]
    writer.commit(samples, table, [*sites, broken], [(3, IMAGE, SCRIPT)])
    store.write_run(
        {
            "status": "complete",
            "model": {"name": IMAGE, "weights": SCRIPT, "weights_sha256": IMAGE},
            "data": {"name": SCRIPT},
            "options": {
                "threshold_db": 20.0,
                "reference": "max",
                "grid": IMAGE,
                "fold_scale": IMAGE,
            },
            "detail": "pixel",
            "device": IMAGE,
            "versions": {IMAGE: SCRIPT},
        }
    )
