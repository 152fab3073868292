"""Operations of a function against their closed form and XLA's own count."""

import jax
import jax.numpy as jnp
import pytest

from sam_jax.models.ensemble_conv import conv
from sam_jax.training.operation_count import count_operations


def operations(fn, *shapes):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return count_operations(jax.make_jaxpr(fn)(*arrays))


def test_matrix_products_count_by_their_sizes_under_vmap_and_loops():
    product = lambda a, b: a @ b
    assert operations(product, (3, 5), (5, 7)) == 2 * 3 * 5 * 7
    assert operations(jax.vmap(product), (4, 3, 5), (4, 5, 7)) == 4 * 2 * 3 * 5 * 7
    repeated = lambda a: jax.lax.scan(lambda b, _: (b @ a, None), a, length=6)[0]
    assert operations(jax.jit(repeated), (5, 5)) == 6 * 2 * 5**3
    chosen = lambda a: jax.lax.cond(a[0, 0] > 0, lambda: a @ a, lambda: a)
    assert operations(chosen, (5, 5)) == 2 * 5**3


@pytest.mark.parametrize("strides", [1, 2])
def test_convolutions_count_as_xla_counts_them_without_padding(strides):
    def plain(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (strides, strides), "VALID", dimension_numbers=layout
        )

    shapes = (2, 9, 9, 3), (3, 3, 3, 4)
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    exact = jax.jit(plain).lower(*arrays).cost_analysis()["flops"]
    ours = lambda x, kernel: conv(x, kernel, strides, "VALID")
    assert operations(plain, *shapes) == operations(ours, *shapes) == exact


def test_both_gradients_of_a_convolution_are_as_much_work_as_its_output():
    fn = lambda x, kernel: jnp.sum(jnp.sin(conv(x, kernel)))
    shapes = (2, 8, 8, 3), (3, 3, 3, 4)
    forward = operations(fn, *shapes)
    assert operations(jax.grad(fn, (0, 1)), *shapes) == 3 * forward
    many = [(5, *shape) for shape in shapes]
    assert operations(jax.vmap(jax.grad(fn, (0, 1))), *many) == 15 * forward
    shared = jax.vmap(fn, in_axes=(None, 0))
    assert operations(shared, shapes[0], many[1]) == 5 * forward


def test_a_loop_of_unknown_length_is_refused():
    loop = lambda a: jax.lax.while_loop(lambda b: b[0, 0] < 1, lambda b: b @ a, a)
    with pytest.raises(ValueError, match="number of trips"):
        operations(loop, (5, 5))
