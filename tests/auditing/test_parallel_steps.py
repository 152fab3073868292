"""Steps of an analysis on several threads."""

import io
import sys
import threading
import time

import pytest

from sam_jax.auditing.parallel_steps import Steps


def test_steps_run_side_by_side_and_keep_their_order(monkeypatch):
    """The first waits for the second."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    second_is_done = threading.Event()
    work = {
        "first": lambda: second_is_done.wait(60),
        "second": lambda: second_is_done.set() or "done",
    }
    with Steps(2, shown=True) as steps:
        results = steps.run("sgd", work)
    assert list(results.items()) == [("first", True), ("second", "done")]
    lines = sys.stderr.getvalue().splitlines()
    assert lines[0].startswith(" 50 % sgd: ") and lines[1].startswith("100 % sgd")


def test_an_error_ends_the_steps():
    def fail():
        raise ZeroDivisionError

    started = []

    def work_a_little():
        started.append(0)
        time.sleep(0.01)

    work = {"bad": fail} | dict.fromkeys(range(2000), work_a_little)
    with pytest.raises(ZeroDivisionError), Steps(2, shown=False) as steps:
        steps.run("sgd", work)
    assert len(started) < 2000
