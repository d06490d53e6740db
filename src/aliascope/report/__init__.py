"""One self-contained web page of a run, which needs no network and no torch."""

from __future__ import annotations

from aliascope.report.page import write_page

__all__ = ["write_page"]
