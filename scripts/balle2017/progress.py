"""How far a long job is: a bar in a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

#: Seconds between lines in a log.
LOG_INTERVAL = 10.0


class ByteProgress:
    """Progress through a known number of bytes, with a count of images."""

    def __init__(self, total: int, log: Callable[[str], object] = print):
        """Show progress towards `total` bytes; `log` takes lines where there is no terminal."""
        self._total, self._log = total, log
        self._start = self._last = time.monotonic()
        self._bytes = self._images = 0
        self._bar = tqdm(
            total=total, unit="B", unit_scale=True, disable=not sys.stderr.isatty(), leave=False
        )

    def advance(self, count: int) -> None:
        """Count bytes that were read or passed over."""
        self._bytes += count
        self._bar.update(count)
        now = time.monotonic()
        if self._bar.disable and now - self._last >= LOG_INTERVAL:
            self._last = now
            self._log(self.line(now - self._start))

    def count_image(self) -> None:
        """Count an image that is done."""
        self._images += 1
        if not self._bar.disable:
            self._bar.set_postfix(images=self._images, refresh=False)

    def line(self, seconds: float) -> str:
        """Return the state after `seconds` in one line."""
        rate = self._bytes / seconds
        share = self._bytes / self._total if self._total else 1.0
        left = max(0.0, self._total - self._bytes) / rate if rate else float("inf")
        return (
            f"{self._images} images done, {share:.0%} of the source read, "
            f"{rate / 1e6:.1f} MB/s, {left / 60:.1f} min left"
        )

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
