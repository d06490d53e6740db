"""Open the sites of many architectures, and write down what was found, how well and how fast.

Run as ``python -m benchmarks.coverage -o docs/coverage.md``. With ``--cache`` each result is kept
as it comes, and a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.architectures import architectures, timm_families
from benchmarks.coverage_page import page

LARGEST = 400e6
"""Parameters above which a model is left out."""

MODEST = 8e6
"""Values of all dense signals together, up to which a model is measured as well."""

MEMORY = 7 * 2**30
"""Bytes that the process which runs the models may take."""

Result = dict[str, Any]


class Worker:
    """A process that runs one architecture after another, and may be killed.

    Parameters
    ----------
    limit : float
        Seconds that one architecture may take.
    timm_models : list of str
        Which models of timm are run.
    """

    def __init__(self, limit: float, timm_models: list[str]) -> None:
        self.limit = limit
        self.timm_models = timm_models
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self.timm_models), daemon=True)
        self._process.start()
        theirs.close()
        self.keys: list[str] = self._connection.recv()

    def run(self, key: str) -> Result:
        """Run one architecture; what goes wrong is the reason it is skipped for."""
        self._connection.send(key)
        reason = f"took longer than {self.limit:.0f} s"
        try:
            if self._connection.poll(self.limit):
                result: Result = self._connection.recv()
                return result
        except EOFError:
            reason = "ended the process that ran it"
        self.stop()
        self._start()
        return {"skipped": reason}

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def _work(connection: Connection, timm_models: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    import gc
    import warnings

    import torch

    from benchmarks.opening import examine

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    known = {architecture.key: architecture for architecture in architectures(timm_models)}
    connection.send(list(known))
    while True:
        try:
            architecture = known[connection.recv()]
        except EOFError:
            return
        try:
            result = examine(architecture, largest=LARGEST, modest=MODEST)
        except Exception as error:
            result = {"skipped": _reason(error)}
        gc.collect()
        connection.send(result)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return f"needs more than {MEMORY / 2**30:.0f} GiB"
    return f"{type(error).__name__}: {text}"[:160].replace(os.path.expanduser("~"), "~")


def _results(only: str, limit: float, cache: Path | None) -> Iterator[Result]:
    """Run what the cache does not have yet, and yield the results in the order of the list."""
    lines = cache.read_text().splitlines() if cache and cache.exists() else []
    timm_models = json.loads(lines[0]) if lines else timm_families()
    cached = {f"{r['source']}/{r['model']}": r for r in map(json.loads, lines[1:])}
    if cache and not lines:
        cache.write_text(json.dumps(timm_models) + "\n")
    worker = Worker(limit, timm_models)
    keys = [key for key in worker.keys if only in key]
    for i, key in enumerate(keys):
        if key not in cached:
            source, model = key.split("/", 1)
            start = time.perf_counter()
            result = {"model": model, "source": source, **worker.run(key)}
            print(f"{i + 1}/{len(keys)} {key}: {time.perf_counter() - start:.1f} s", flush=True)
            if "skipped" in result:
                print(f"    skipped: {result['skipped']}", flush=True)
            if cache:
                with cache.open("a") as file:
                    file.write(json.dumps(result) + "\n")
            cached[key] = result
        yield cached[key]
    worker.stop()


def main() -> None:
    """Read the command line, run, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="page to write (.md)")
    parser.add_argument("--cache", type=Path, help="file that keeps the results (.jsonl)")
    parser.add_argument("--only", default="", help="run those whose source/name contains this")
    parser.add_argument("--limit", type=float, default=200.0, help="seconds for one architecture")
    options = parser.parse_args()
    results = list(_results(options.only, options.limit, options.cache))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page(results, modest=MODEST))
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
