"""Memory traffic, kernels and cycles of a compiled program, counted from its text.

XLA's ``cost_analysis`` counts the body of a loop once, knows nothing of GPUs, and for
a TPU adds up what stays in the memory on the chip with what crosses to the main one.
Here a loop counts by its trips, and only main memory counts.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

ITEM_BYTES = {"pred": 1, "s4": 1, "u4": 1, "token": 0, "c64": 8, "c128": 16}
ON_CHIP = "S(1)"
"""Memory space of a TPU's vector memory in the layout of an array."""

FREE = frozenset(
    "parameter constant tuple get-tuple-element bitcast after-all partition-id "
    "opt-barrier copy-done slice-done async-done async-update call while "
    "conditional async-start".split()
)
"""Operations that move nothing themselves."""

ALLOCATION = 'custom_call_target="AllocateBuffer"'
"""A custom call that only names a buffer."""

SLICES = ("dynamic-slice", "slice", "gather")
CALLED = re.compile(r"\b(?:calls|to_apply)=%?([\w.\-]+)")
ARRAY = re.compile(r"\b([a-z]+[0-9]*\w*)\[([\d,]*)\](\{[^}]*\})?")


class ProgramCost(NamedTuple):
    """What one run of a program takes of a device.

    Attributes:
        traffic: Bytes read from and written to the main memory of the device.
        accessed: Bytes read and written in any memory that programs can address.
        kernels: Operations that are launched one by one.
        cycles: XLA's estimate for the kernels of a TPU; 0 elsewhere.
    """

    traffic: int
    accessed: int
    kernels: int
    cycles: int

    def __add__(self, other: "ProgramCost") -> "ProgramCost":  # type: ignore[override]
        """The cost of one after the other."""
        return ProgramCost(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, number: int) -> "ProgramCost":
        """The cost of ``number`` runs."""
        return ProgramCost(*(number * a for a in self))


@dataclasses.dataclass(frozen=True)
class _Operation:
    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool


_Computation = dict[str, _Operation]


def program_cost(text: str) -> ProgramCost:
    """Returns the cost of a compiled program from ``Compiled.as_text()``.

    A slice of an array counts by the size of the slice, and so does an update of an
    array in place; arrays count without the padding of their layout. A loop counts by
    its trips, or once where it goes on while a flag is set, or any of several under
    ``vmap``.

    Raises:
        ValueError: If the text has no entry, or a loop in it no known number of trips.
    """
    cost = _cost(*_parse(text))
    # Without their memory spaces all arrays count as if in main memory.
    anywhere = _cost(*_parse(text.replace(ON_CHIP, "")))
    return cost._replace(accessed=anywhere.traffic)


def _cost(computations: dict[str, _Computation], name: str) -> ProgramCost:
    total = ProgramCost(0, 0, 0, 0)
    operations = computations[name]
    for operation in operations.values():
        if operation.opcode == "while":
            body = _attribute(operation, "body")
            total += _cost(computations, body).times(_trips(computations, operation))
        elif operation.opcode == "conditional":
            branches = re.findall(r"%([\w.\-]+)", _branches(operation))
            # Tuples compare by their first field: the branch of most traffic.
            total += max(_cost(computations, branch) for branch in branches)
        elif operation.opcode in ("call", "async-start"):
            total += _cost(computations, _called(operation))
        if operation.opcode not in FREE and ALLOCATION not in operation.attributes:
            cycles = re.search(r'"estimated_cycles":"(\d+)"', operation.attributes)
            moved = _traffic(computations, operations, operation)
            total += ProgramCost(moved, 0, 1, int(cycles.group(1)) if cycles else 0)
    return total


def _traffic(
    computations: dict[str, _Computation],
    operations: _Computation,
    operation: _Operation,
) -> int:
    shapes = [operations[name].shape for name in operation.operands]
    if operation.opcode in ("copy-start", "slice-start"):
        # The result is (destination, source, context); a slice moves the smaller.
        parts = [*_arrays(operation.shape)][:2]
        moved = min(size for size, _ in parts)
        return sum(moved for _, on_chip in parts if not on_chip)
    if operation.opcode in SLICES:
        # What is read is as large as the result, wherever that goes.
        size = sum(size for size, _ in _arrays(operation.shape))
        return _bytes(operation.shape) + (size if _bytes(shapes[0]) else 0)
    # In place: the update is read and written, the rest of the array stays.
    if operation.opcode == "dynamic-update-slice":
        return 2 * _bytes(shapes[1])
    if operation.opcode != "fusion":
        return _bytes(operation.shape) + sum(map(_bytes, shapes))
    # A fusion reads an operand once, or less where its body only slices it.
    moved = 0
    for number, shape in enumerate(shapes):
        read = _read_bytes(computations, computations[_called(operation)], number)
        size = _bytes(shape)
        moved += size if read is None else min(read, size)
    return moved + _written_bytes(computations, operation)


def _read_bytes(
    computations: dict[str, _Computation], body: _Computation, number: int
) -> int | None:
    """Bytes that slices read of a fusion's operand; None where all of it is read."""
    (parameter,) = (
        inner
        for inner in body.values()
        if inner.opcode == "parameter" and inner.attributes.startswith(f"{number})")
    )
    # Follow the operand, under other names after bitcasts, to all that read it.
    total, names = 0, [parameter.name]
    while names:
        name = names.pop()
        for user in body.values():
            if name not in user.operands:
                continue
            read: int | None = None
            if user.opcode == "bitcast":
                names.append(user.name)
                read = 0
            elif user.opcode == "fusion":
                inner = computations[_called(user)]
                reads = [
                    _read_bytes(computations, inner, position)
                    for position, operand in enumerate(user.operands)
                    if operand == name
                ]
                read = None if None in reads else sum(r for r in reads if r)
            elif user.operands.index(name) == 0 and user.operands.count(name) == 1:
                if user.opcode in SLICES:
                    read = _bytes(user.shape)
                elif user.opcode == "dynamic-update-slice":
                    read = 0
            if read is None:
                return None
            total += read
    return total


def _written_bytes(computations: dict[str, _Computation], operation: _Operation) -> int:
    """Bytes of a fusion's results; of an array updated in place the update's."""
    body = computations[_called(operation)]
    results = [_root(body)]
    if results[0].opcode == "tuple":
        results = [body[name] for name in results[0].operands]
    total = 0
    for (size, on_chip), result in zip(_arrays(operation.shape), results, strict=False):
        if not on_chip:
            total += min(size, _updated_bytes(computations, body, result, size))
    return total


def _updated_bytes(
    computations: dict[str, _Computation],
    body: _Computation,
    result: _Operation,
    size: int,
) -> int:
    while result.opcode == "bitcast" and result.operands:
        result = body[result.operands[0]]
    if result.opcode == "fusion":
        inner = computations[_called(result)]
        return _updated_bytes(computations, inner, _root(inner), size)
    if result.opcode == "dynamic-update-slice":
        return _bytes(body[result.operands[1]].shape)
    return size


def _root(body: _Computation) -> _Operation:
    (root,) = (inner for inner in body.values() if inner.is_root)
    return root


def _trips(computations: dict[str, _Computation], loop: _Operation) -> int:
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.attributes)
    if known:
        return int(known.group(1))
    # Without XLA's note: the one integer constant in the condition is the limit.
    condition = computations[_attribute(loop, "condition")]
    limits = [
        int(operation.attributes.split(")")[0])
        for operation in condition.values()
        if operation.opcode == "constant" and re.match(r"[su]32\[\]", operation.shape)
    ]
    if not limits and _is_of_flags(condition):
        return 1
    if len(limits) != 1:
        raise ValueError(f"{loop.name} must count up to one constant, got {limits}.")
    return limits[0]


def _is_of_flags(condition: _Computation) -> bool:
    """Whether a condition reads and combines truth values alone, and so counts none."""
    return all(
        operation.shape.startswith("pred")
        for operation in condition.values()
        if operation.opcode != "parameter"
    )


def _attribute(operation: _Operation, name: str) -> str:
    (value,) = re.findall(rf"\b{name}=%?([\w.\-]+)", operation.attributes)
    return value


def _called(operation: _Operation) -> str:
    return CALLED.findall(operation.attributes)[0]


def _branches(operation: _Operation) -> str:
    pattern = r"branch_computations=\{([^}]*)\}|((?:true|false)_computation=.*)"
    return "".join(re.findall(pattern, operation.attributes)[0])


def _arrays(shape: str) -> Iterator[tuple[int, bool]]:
    """Bytes of each array of a shape, and whether it stays on the chip."""
    for dtype, dimensions, layout in ARRAY.findall(shape):
        bits = re.search(r"\d+", dtype)
        size = ITEM_BYTES.get(dtype, int(bits.group()) // 8 if bits else 1)
        sizes = (int(n) for n in dimensions.split(",") if n)
        yield size * math.prod(sizes), ON_CHIP in layout


def _bytes(shape: str) -> int:
    return sum(size for size, on_chip in _arrays(shape) if not on_chip)


def _parse(text: str) -> tuple[dict[str, _Computation], str]:
    computations: dict[str, _Computation] = {}
    entry, current = "", {}
    for line in text.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if header:
            current = computations.setdefault(header.group(2), {})
            entry = header.group(2) if header.group(1) else entry
        made = re.match(r"\s+(ROOT )?%?([\w.\-]+) = ", line)
        if made:
            operation = _operation(made.group(2), line[made.end() :], bool(made[1]))
            current[operation.name] = operation
    if not entry:
        raise ValueError("text must be that of a compiled program with an entry.")
    return computations, entry


def _operation(name: str, line: str, is_root: bool) -> _Operation:
    # `shape opcode(operands), attributes`; the shape of a tuple is in brackets.
    end = _closing(line, 0) + 1 if line.startswith("(") else line.index(" ")
    opening = line.index("(", end)
    closing = _closing(line, opening)
    operands = tuple(re.findall(r"%([\w.\-]+)", line[opening:closing]))
    rest = line[opening + 1 :]
    return _Operation(
        name, line[:end], line[end:opening].strip(), operands, rest, is_root
    )


def _closing(line: str, opening: int) -> int:
    """The position of the bracket that closes the one at ``opening``."""
    depth = 0
    for position in range(opening, len(line)):
        depth += {"(": 1, ")": -1}.get(line[position], 0)
        if depth == 0:
            return position
    raise ValueError(f"brackets must close, got {line[:80]!r}.")
