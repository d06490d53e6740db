"""Filter every architecture of the coverage list: outputs keep their shapes, and come back.

``python -m benchmarks.antialias [-o FILE] [--only WORD] [--largest MILLIONS]`` installs ``blur:3``
at all sites of each, runs it, takes it off again and runs it once more. One line each: sites
filtered, whether shapes and keys stayed, whether the output changed, and whether it is bit for bit
as before when the filter is off.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import torch

import aliascope as al
from benchmarks.architectures import Architecture, architectures, parameters, timm_families
from benchmarks.opening import _tensors, enliven, settle


@torch.no_grad()
def examine(architecture: Architecture, name: str) -> dict[str, object]:
    """Run one architecture plain, filtered and plain again."""
    torch.manual_seed(0)
    model = architecture.build().eval()
    enliven(model)
    inputs = architecture.inputs(model)
    settle(model, inputs)

    def run() -> list[torch.Tensor]:
        torch.manual_seed(1)
        return _tensors(model(*inputs))

    plain, repeated, keys = run(), run(), list(model.state_dict())
    with al.antialias(model, name) as handle:
        filtered = run()
        sites, same_keys = len(handle.sites), list(model.state_dict()) == keys
    after = run()
    shapes = [x.shape for x in plain] == [x.shape for x in filtered]
    repeats = all(map(torch.equal, plain, repeated))
    back = len(plain) == len(after) and all(map(torch.equal, plain, after))
    changed = not all(map(torch.equal, plain, filtered))
    return {
        "sites": sites,
        "shapes": shapes,
        "keys": same_keys,
        "changed": changed,
        "back": "yes" if back else ("no" if repeats else "does not repeat unfiltered either"),
    }


def main() -> None:
    """Go through the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--largest", type=float, default=30)
    parser.add_argument("--filter", default="blur:3")
    parser.add_argument("--no-timm", action="store_true")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    head = "| architecture | sites | shapes | keys | output changes | back bit for bit |"
    lines = [head, "|---|---:|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    try:
        for each in architectures([] if chosen.no_timm else timm_families()):
            if chosen.only not in each.key:
                continue
            count = parameters(each.build)
            if count > 1e6 * chosen.largest:
                continue
            try:
                found = examine(each, chosen.filter)
                cells = [
                    "yes" if v is True else "no" if v is False else str(v) for v in found.values()
                ]
            except Exception as error:
                cells = [f"{type(error).__name__}: {str(error).splitlines()[0][:120]}", *[""] * 4]
            lines.append(f"| {each.key} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    except ImportError as error:
        print(f"The list ends here: {error}.", file=sys.stderr)
    if chosen.output:
        chosen.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
