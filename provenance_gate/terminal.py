"""What the command line knows about its streams: color, width, progress on stderr."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any


class Terminal:
    """Progress shows on a terminal only, and only for work over a second."""

    def __init__(self, *, quiet: bool, no_color: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._what = ""
        self.color = not no_color and _wants_color()
        self.width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 120)) if sys.stdout.isatty() else 100

    def progress(self, what: str, done: int, of: int) -> None:
        """Show how far a piece of work is. Two pieces that run at once take turns; the last word stands."""
        if self._quiet or not sys.stderr.isatty():
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=of, delay=1.0, leave=False, unit_scale=True, dynamic_ncols=True, file=sys.stderr)
        if self._what != what:
            if what.startswith("reading") and self._what.startswith("hashing"):
                return
            self._what = what
            self._bar.set_description(what, refresh=False)
        self._bar.total = of
        self._bar.n = done
        self._bar.update(0)
        if done % 64 == 0 or done == of:
            self._bar.refresh()

    def note(self, text: str) -> None:
        """A line on stderr, unless quiet."""
        if not self._quiet:
            self.close()
            sys.stderr.write(f"{text}\n")

    def close(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _wants_color() -> bool:
    """NO_COLOR (no-color.org), FORCE_COLOR and TERM=dumb obeyed; else color on a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
