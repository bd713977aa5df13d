"""A real browser for tests of pages: Chromium or Chrome without a window, if there is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
WRITES = ("--screenshot", "--print-to-pdf")  # options whose answer is a file
QUIET = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def shown(address: str, folder: Path, *options: str, patience_ms: int = 5000) -> str:
    """A page's HTML after its scripts ran.

    Args:
        folder: gets the browser's profile, which keeps local storage from one call to the next.
        options: more flags of the browser, e.g. --screenshot=FILE (then nothing comes back).
    """
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += [*QUIET, f"--virtual-time-budget={patience_ms}", *options]
    command += [] if any(option.startswith(WRITES) for option in options) else ["--dump-dom"]
    done = subprocess.run([*command, address], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
