"""The memory that limits leave: those of made control groups, and a real one."""

import subprocess
import sys

import pytest

from sam_jax.training import host_memory

GIB = 2**30


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system without limits and with 64 GiB."""
    for name, folder in (("GROUPS", "groups"), ("PROCESS", "process")):
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(host_memory, name, tmp_path / folder)
    monkeypatch.setattr(host_memory, "MEMORY", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text(f"MemAvailable: {64 * GIB // 1024} kB\n")
    (tmp_path / "process" / "cgroup").write_text("0::/a/b\n")
    return tmp_path


def group(folder, limit, used, inactive=0, active=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    stat = f"anon 5\ninactive_file {inactive}\nactive_file {active}\n"
    (folder / "memory.stat").write_text(stat)


def test_the_least_of_nested_groups_counts(system):
    groups = system / "groups"
    group(groups / "a" / "b", "max", GIB)
    assert host_memory.free_host_bytes() == 64 * GIB
    group(groups / "a", 8 * GIB, 2 * GIB)
    assert host_memory.free_host_bytes() == 6 * GIB
    group(groups / "a" / "b", 3 * GIB, GIB)
    assert host_memory.free_host_bytes() == 2 * GIB
    # A container's view: its group is the root, and its path names the host's.
    (system / "process" / "cgroup").write_text("0::/pod/17\n")
    group(groups, 2 * GIB, GIB)
    assert host_memory.free_host_bytes() == GIB


def test_pages_of_files_are_free(system):
    """The kernel drops them before it kills; other pages stay."""
    group(system / "groups" / "a", 8 * GIB, 8 * GIB, 3 * GIB, GIB)
    assert host_memory.free_host_bytes() == 4 * GIB
    group(system / "groups" / "a", 8 * GIB, 9 * GIB)
    assert host_memory.free_host_bytes() == 0


def test_groups_of_version_1_count(system):
    folder = system / "groups" / "memory" / "job"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(f"{4 * GIB}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{3 * GIB}\n")
    (folder / "memory.stat").write_text(f"total_inactive_file {GIB}\n")
    lines = "4:memory:/job/step\n1:cpu:/\n0::/\n"
    (system / "process" / "cgroup").write_text(lines)
    assert host_memory.free_host_bytes() == 2 * GIB


def test_where_nothing_is_known_nothing_is_said(system):
    for path in (system / "meminfo", system / "process" / "cgroup"):
        path.unlink()
    assert host_memory.free_host_bytes() is None


def test_a_limit_on_address_space_is_seen():
    """``ulimit -v`` in a process of its own."""
    code = "from sam_jax.training.host_memory import address_space_free as free\n"
    code += "import resource\nprint(free())\n"
    code += f"resource.setrlimit(resource.RLIMIT_AS, ({64 * GIB}, {64 * GIB}))\n"
    code += "print(free())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    before, after = done.stdout.split()
    assert before == "None" and 32 * GIB < int(after) < 64 * GIB
