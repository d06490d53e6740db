"""The help of a command: its options by group, an example at the end."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

GROUPS = {
    "Model": ("model", "weights", "filter", "intervene"),
    "Images": (
        *("data", "start", "max_samples", "max_bad"),
        *("resize", "crop", "interpolation", "mean", "std"),
    ),
    "What is measured": (
        *("measures", "floor_samples", "threshold_db", "reference", "grid", "fold_scale"),
        *("accounting", "detail", "channels", "save_features"),
    ),
    "What is changed": ("interventions", "sites", "dose", "recalibrate"),
    "Shifts": ("protocol", "mode", "max_shift", "shifts", "fraction"),
    "Attack": (
        *("attack", "eps", "attack_steps", "attack_step_size", "attack_argument"),
        *("compile_attack", "save_adversarial"),
    ),
    "How it is run": (
        *("device", "batch_size", "workers", "precision", "engine", "workspace", "seed", "shard"),
    ),
    "Result": ("output", "resume", "as_json", "as_csv"),
}
"""Names of parameters, by the head under which help lists them."""

EXAMPLES = {
    "evaluate": "aliascope evaluate -m torchvision:resnet34 -d samples -o runs/resnet34",
    "ablate": "aliascope ablate -m torchvision:resnet34 -d imagenet/val --max-samples 1000",
    "shift": "aliascope shift -m torchvision:resnet34 -d imagenet/val --max-samples 1000",
}

ORDER = (
    *("sites", "evaluate", "show", "plot", "report", "compare"),
    *("ablate", "shift", "filters", "advise", "check"),
    *("selftest", "imagenet", "oscillations"),
)
"""Commands in the order in which one comes to need them."""


class InOrderOfUse(TyperGroup):
    """The commands, listed in :data:`ORDER`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Give the names of the commands."""
        known = {name: place for place, name in enumerate(ORDER)}
        return sorted(self.commands, key=lambda name: known.get(name, len(known)))


class Grouped(TyperCommand):
    """A command with many options, listed in :data:`GROUPS`, and one of the :data:`EXAMPLES`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, group by group."""
        records = {
            str(parameter.name): record
            for parameter in self.get_params(ctx)
            if (record := parameter.get_help_record(ctx)) is not None
        }
        for head, names in GROUPS.items():
            there = [records.pop(name) for name in names if name in records]
            if there:
                with formatter.section(head):
                    formatter.write_dl(there)
        if records:
            with formatter.section("Other"):
                formatter.write_dl(list(records.values()))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the example, on one line however narrow the terminal is."""
        if self.name in EXAMPLES:
            formatter.write_paragraph()
            formatter.write(f"Example:\n  {EXAMPLES[self.name]}\n")
