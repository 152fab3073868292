"""Costs counted from a compiled program's text, against programs of known cost."""

import jax
import jax.numpy as jnp
import pytest

from sam_jax.training.program_cost import program_cost

PROGRAM = """HloModule example, is_scheduled=true

%add_one (p0: f32[100]) -> f32[100] {
  %p0 = f32[100]{0} parameter(0)
  ROOT %sum = f32[100]{0} add(%p0, %p0)
}

%one_row (p0: f32[50,100], p1: s32[]) -> f32[1,100] {
  %p0 = f32[50,100]{1,0:T(8,128)} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice = f32[1,100]{1,0} dynamic-slice(%p0, %p1, %zero), \
dynamic_slice_sizes={1,100}
}

%put_row (p0: f32[50,100], p1: f32[1,100], p2: s32[]) -> f32[50,100] {
  %p0 = f32[50,100]{1,0} parameter(0)
  %p1 = f32[1,100]{1,0} parameter(1)
  %p2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %put = f32[50,100]{1,0} dynamic-update-slice(%p0, %p1, %p2, %zero)
}

%body (state: (s32[], f32[100])) -> (s32[], f32[100]) {
  %state = (s32[]{:T(128)}, f32[100]{0}) parameter(0)
  %step = s32[]{:T(128)} get-tuple-element(%state), index=0
  %x = f32[100]{0} get-tuple-element(%state), index=1
  %made = f32[100]{0} fusion(%x), kind=kLoop, calls=%add_one, \
backend_config={"estimated_cycles":"30"}
  ROOT %next = (s32[]{:T(128)}, f32[100]{0}) tuple(%step, %made)
}

%condition (state: (s32[], f32[100])) -> pred[] {
  %limit = s32[]{:T(128)} constant(7)
  %state = (s32[]{:T(128)}, f32[100]{0}) parameter(0)
  %step = s32[]{:T(128)} get-tuple-element(%state), index=0
  ROOT %less = pred[] compare(%step, %limit), direction=LT
}

%flag (state: (pred[], f32[100])) -> pred[] {
  %state = (pred[]{:T(512)}, f32[100]{0}) parameter(0)
  ROOT %again = pred[]{:T(512)} get-tuple-element(%state), index=0
}

%any_flag (state: (pred[32], f32[100])) -> pred[] {
  %none = pred[]{:T(512)} constant(false)
  %state = (pred[32]{0:T(512)}, f32[100]{0}) parameter(0)
  %flags = pred[32]{0:T(512)} get-tuple-element(%state), index=0
  ROOT %any = pred[]{:T(512)} reduce(%flags, %none), dimensions={0}, to_apply=%or
}

ENTRY %main (a: f32[50,100], b: (s32[], f32[100]), i: s32[]) -> f32[50,100] {
  %a = f32[50,100]{1,0} parameter(0)
  %b = (s32[]{:T(128)}, f32[100]{0}) parameter(1)
  %i = s32[] parameter(2)
INSTRUCTIONS
}
"""


@pytest.mark.parametrize(
    ("line", "traffic", "accessed", "kernels", "cycles"),
    [
        ("%w = (s32[], f32[100]{0}) while(%b), condition=%condition, body=%body",
         7 * 800, 7 * 800, 7, 210),
        ('%w = (s32[], f32[100]{0}) while(%b), condition=%condition, body=%body, '
         'backend_config={"known_trip_count":{"n":"3"}}', 3 * 800, 3 * 800, 3, 90),
        ("%w = (s32[], f32[100]{0}) while(%b), condition=%flag, body=%body",
         800, 800, 1, 30),
        ("%w = (s32[], f32[100]{0}) while(%b), condition=%any_flag, body=%body",
         800, 800, 1, 30),
        # A row is read and written; its number is read.
        ("%r = f32[1,100]{1,0} fusion(%a, %i), kind=kLoop, calls=%one_row",
         804, 804, 1, 0),
        ("%r = f32[1,100]{1,0:T(8,128)S(1)} fusion(%a, %i), kind=kLoop, "
         "calls=%one_row", 404, 804, 1, 0),
        ("%r = f32[1,100]{1,0} dynamic-slice(%a, %i, %i), "
         "dynamic_slice_sizes={1,100}", 800, 800, 1, 0),
        ("%c = f32[50,100]{1,0:S(1)} copy(%a)", 20_000, 40_000, 1, 0),
        ("%c = (f32[50,100]{1,0:S(1)}, f32[50,100]{1,0}, u32[]) copy-start(%a)",
         20_000, 40_000, 1, 0),
        ("%t = bf16[50,100]{1,0} convert(%a)", 30_000, 30_000, 1, 0),
    ],
    ids=["loop", "known trips", "flag", "flags", "slice", "slice to chip",
         "plain slice", "copy", "copy start", "convert"],
)  # fmt: skip
def test_each_operation_counts_what_it_moves(line, traffic, accessed, kernels, cycles):
    cost = program_cost(PROGRAM.replace("INSTRUCTIONS", f"  {line}"))
    assert cost == (traffic, accessed, kernels, cycles)


def test_an_update_in_place_counts_by_the_rows_that_it_changes():
    lines = (
        "  %row = f32[1,100]{1,0} fusion(%a, %i), kind=kLoop, calls=%one_row\n"
        "  ROOT %put = f32[50,100]{1,0} fusion(%a, %row, %i), kind=kLoop, "
        "calls=%put_row"
    )
    cost = program_cost(PROGRAM.replace("INSTRUCTIONS", lines))
    assert cost.traffic == 804 + 804


def test_programs_of_the_cpu_count_by_arrays_and_trips():
    x = jax.ShapeDtypeStruct((1000,), jnp.float32)

    def loop(x):
        return jax.lax.fori_loop(0, 5, lambda _, y: jnp.sin(y) * x, x)

    once = program_cost(jax.jit(jnp.sin).lower(x).compile().as_text())
    assert once.traffic == once.accessed == 8000 and once.kernels == 1
    often = program_cost(jax.jit(loop).lower(x).compile().as_text())
    assert 5 * 12_000 <= often.traffic <= 5 * 12_000 + 20_000


def test_a_loop_without_a_known_end_is_refused():
    loop = lambda x: jax.lax.while_loop(lambda y: y[0] < x[0], lambda y: y + 1, x)
    text = jax.jit(loop).lower(jnp.ones(3)).compile().as_text()
    with pytest.raises(ValueError, match="must count up to one constant"):
        program_cost(text)
    with pytest.raises(ValueError, match="with an entry"):
        program_cost("")
