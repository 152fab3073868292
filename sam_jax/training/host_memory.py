"""The memory that this process may still take, as far as the system tells."""

import pathlib

try:
    import resource
except ImportError:  # Windows has no such limits.
    resource = None

GROUPS = pathlib.Path("/sys/fs/cgroup")
PROCESS = pathlib.Path("/proc/self")
MEMORY = pathlib.Path("/proc/meminfo")


def free_host_bytes() -> int | None:
    """Returns the least that the system and every limit leave; None if none is known.

    Limits are those of control groups, of version 2 or 1 and at any level above the
    process, and that on address space (``ulimit -v``).
    """
    limits = [_system_free(), *_groups_free(), address_space_free()]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def address_space_free() -> int | None:
    """Returns what ``ulimit -v`` leaves; None without such a limit."""
    if resource is None:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _fields(PROCESS / "status").get("VmSize:")
    if limit == resource.RLIM_INFINITY or used is None:
        return None
    return max(limit - used * 1024, 0)


def _system_free() -> int | None:
    available = _fields(MEMORY).get("MemAvailable:")
    return None if available is None else available * 1024


def _groups_free() -> list[int]:
    """What each limit of the process's groups and of those above them leaves."""
    try:
        lines = (PROCESS / "cgroup").read_text().splitlines()
    except OSError:
        return []
    free = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, used = GROUPS, "memory.max", "memory.current"
            caches = ("inactive_file", "active_file")
        elif controllers == "memory":
            root, limit, used = (
                GROUPS / "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
            caches = ("total_inactive_file", "total_active_file")
        else:
            continue
        # A container may see its group as the root although its path names the host's.
        group = root / path.lstrip("/")
        for level in (group, *group.parents):
            if level.is_relative_to(root):
                free.append(_group_free(level, limit, used, caches))
    return [bytes_left for bytes_left in free if bytes_left is not None]


def _group_free(
    group: pathlib.Path, limit: str, used: str, caches: tuple[str, ...]
) -> int | None:
    """A limit minus what is used, pages of files that the kernel can drop left out."""
    try:
        most = int((group / limit).read_text())
        taken = int((group / used).read_text())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None
    stat = _fields(group / "memory.stat")
    return max(most - taken + sum(stat.get(cache, 0) for cache in caches), 0)


def _fields(path: pathlib.Path) -> dict[str, int]:
    """The numbers of a file of the kernel, by the word before them."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    split = (line.split() for line in lines)
    return {
        words[0]: int(words[1])
        for words in split
        if len(words) > 1 and words[1].isdigit()
    }
