"""Progress where standard error is a terminal, and where it is the log of a job."""

import ast
import io
import pathlib
import sys

import sam_jax
from sam_jax.training import progress


class Terminal(io.StringIO):
    """Text that takes itself for a terminal."""

    def isatty(self):
        return True


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(monkeypatch):
    written, clock = io.StringIO(), iter(range(0, 10_000, 10))
    monkeypatch.setattr(sys, "stderr", written)
    # Loaded for something else, as by a test of notebooks.
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    bar = progress.make_bar(100)
    bar.set_description_str("sgd: epoch")
    for _ in range(100):
        bar.update()
    bar.update(0)  # what ends where its last step did is no news
    bar.close()
    lines = written.getvalue().splitlines()
    # A step takes 10 s: a line for the first and the second, one a minute, the last.
    assert lines[0] == "  1 % sgd: epoch, 00:10 passed"
    assert lines[1] == "  2 % sgd: epoch, 00:20 passed, 16:20 left"
    assert lines[-1] == "100 % sgd: epoch, 16:40 passed, 00:00 left"
    assert len(lines) == 2 + 98 // 6 + 1
    assert "\r" not in written.getvalue()


def test_the_time_left_leaves_the_first_compilation_out(monkeypatch):
    """A minute of compilation, then a second a step: 98 steps take 98 seconds."""
    clock = iter([0, 60, 61, 121])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    bar = progress.make_bar(100)
    bar.update()
    bar.update()
    assert sys.stderr.getvalue().splitlines()[1].endswith("01:01 passed, 01:38 left")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = progress.make_bar(100)
    now = [0.0]
    bar._time = lambda: now[0]
    bar.start_t = bar.last_print_t = 0.0
    for moment in (60.0, 61.0):
        now[0] = moment
        bar.update()
    bar.refresh()
    assert "01:38 left" in terminal.getvalue().split("\r")[-1]
    bar.close()


def test_a_terminal_gets_a_bar_and_silence_is_silence(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = progress.make_bar(2)
    bar.update()
    bar.close()
    assert "50%" in sys.stderr.getvalue() or "\r" in sys.stderr.getvalue()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar = progress.make_bar(2, shown=False)
    bar.update()
    bar.close()
    assert sys.stderr.getvalue() == ""


def test_the_library_outside_the_command_line_prints_nothing():
    root = pathlib.Path(sam_jax.__file__).parent
    for path in root.rglob("*.py"):
        if "cli" in path.relative_to(root).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            assert not (is_call and node.func.id == "print"), path
