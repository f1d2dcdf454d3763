from balle2017 import progress
from balle2017.progress import ByteProgress


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
