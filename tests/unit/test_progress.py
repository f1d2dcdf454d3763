import io
import re
import sys
import time

from balle2017 import progress
from balle2017.model.loss import RateDistortion
from balle2017.progress import ByteProgress
from balle2017.training.monitor import Monitor


def test_a_line_tells_count_share_rate_and_time_left():
    state = ByteProgress(total=40_000_000)
    state.advance(10_000_000)
    state.count_image()
    state.count_image()
    assert state.line(seconds=5.0) == (
        "2 images done, 25% of the source read, 2.0 MB/s, 0.2 min left"
    )
    state.close()


def test_a_log_gets_a_line_now_and_then(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    lines = []
    state = ByteProgress(total=1000, log=lines.append)
    for _ in range(60):
        now[0] += 1
        state.advance(10)
    assert len(lines) == 6
    assert lines[-1].startswith("0 images done, 60% of the source read")
    state.close()


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_and_the_log_a_line(monkeypatch, tmp_path, tensorflow):
    terminal, lines = Terminal(), []
    monkeypatch.setattr(sys, "stderr", terminal)
    monitor = Monitor(tmp_path, lines.append)
    monitor.start(10, 20)
    for _ in range(3):
        monitor.on_step(RateDistortion(1.5, 0.5, 65.025))
        time.sleep(0.15)
    monitor.line("a line")
    monitor.close()
    shown = terminal.getvalue()
    assert re.search(r"1[123]/20 \[.*step/s.*loss 1.500, 0.500 bpp, 30.00 dB", shown), shown
    assert lines == ["a line"]
    assert (tmp_path / "train.log").read_text() == "a line\n"


def test_a_log_gets_a_line_only_where_nothing_was_said_for_a_while(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = []
    watch = Monitor(tmp_path, lines.append)
    watch.start(100, 4100)
    said = []
    for _ in range(200):
        now[0] += 0.5
        watch.on_step(RateDistortion(1.5, 0.5, 65.025))
        if now[0] in (20, 33):
            watch.line("an epoch")
        said.append(len(lines))
    watch.close()
    # After 10 s; 20 s after the epoch's line, of which the second came too soon; then after 40.
    assert [0.5 * (1 + index) for index in range(1, 200) if said[index] > said[index - 1]] == [
        *(10, 20, 33, 53, 93),
    ]
    assert lines[0] == (
        "step 120/4100  loss 1.500, 0.500 bpp, 30.00 dB  2.0 steps/s  33.2 min left"
    )
