"""onnx's own backend cases of the operators that the core computes: import, golden graph and RTL
against onnxruntime."""

from functools import cache

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from sim.check import check_batch
from sim.golden import graph as golden
from sim.reference import Reference
from sim.simulator import CoreSimulator
from sim.tail import host_tail
from sw.compiler import compile_graph
from sw.errors import UserError
from sw.importer import import_proto
from sw.rewrite import rewrite
from tests.onnx_cases import Unsuitable, cases, models
from tests.sim.test_rewritten_networks import CONFIG, library

ROWS = "a Concat of rows or columns"
SKIPPED = {
    "test_add_bcast": "operands of two shapes",
    **{f"test_add_{kind}": "no float case"
       for kind in ("int8", "int16", "uint8", "uint16", "uint32", "uint64")},
    "test_averagepool_1d_default": "1 spatial axes",
    "test_averagepool_2d_dilations": r"dilations \[2, 2\]",
    "test_averagepool_3d_default": "3 spatial axes",
    "test_averagepool_3d_dilations_small": "3 spatial axes",
    **{f"test_averagepool_3d_dilations_large_count_include_pad_is_{pad}_ceil_mode_is_{ceil}":
       "3 spatial axes" for pad in (0, 1) for ceil in (True, False)},
    **{f"test_clip_default_int8_{kind}": "no float case" for kind in ("min", "max", "inbounds")},
    "test_clip_min_greater_than_max": "its limits are 2 and 1",
    "test_concat_2d_axis_1": ROWS,
    "test_concat_2d_axis_negative_1": ROWS,
    "test_concat_3d_axis_1": ROWS,
    "test_concat_3d_axis_2": ROWS,
    "test_concat_3d_axis_negative_1": ROWS,
    "test_concat_3d_axis_negative_2": ROWS,
    "test_gemm_all_attributes": "alpha 0.25",
    "test_gemm_alpha": "alpha 0.5",
    "test_gemm_beta": "beta 0.5",
    "test_gemm_default_matrix_bias": "a bias of its own for every row",
    "test_gemm_default_scalar_bias": r"its bias has shape \[\]",
    "test_gemm_default_single_elem_vector_bias": r"its bias has shape \[1\]",
    "test_matmul_1d_1d": "matrices of 1 and 1 axes",
    "test_matmul_1d_3d": "matrices of 1 and 3 axes",
    "test_matmul_3d": "matrices of 3 and 3 axes",
    "test_matmul_4d": "matrices of 4 and 4 axes",
    "test_matmul_4d_1d": "matrices of 4 and 1 axes",
    "test_matmul_bcast": "matrices of 4 and 4 axes",
    "test_maxpool_1d_default": "1 spatial axes",
    "test_maxpool_2d_dilations": r"dilations \[2, 2\]",
    "test_maxpool_2d_uint8": "no float case",
    "test_maxpool_3d_default": "3 spatial axes",
    "test_maxpool_3d_dilations": "3 spatial axes",
    "test_maxpool_3d_dilations_use_ref_impl": "3 spatial axes",
    "test_maxpool_3d_dilations_use_ref_impl_large": "3 spatial axes",
    "test_maxpool_with_argmax_2d_precomputed_pads": "a second output",
    "test_maxpool_with_argmax_2d_precomputed_strides": "a second output",
}
"""Why the other cases do not run: what the attempt says, if it is made."""

NAMES = """
    test_add test_averagepool_2d_ceil test_averagepool_2d_ceil_last_window_starts_on_pad
    test_averagepool_2d_default test_averagepool_2d_pads
    test_averagepool_2d_pads_count_include_pad test_averagepool_2d_precomputed_pads
    test_averagepool_2d_precomputed_pads_count_include_pad
    test_averagepool_2d_precomputed_same_upper test_averagepool_2d_precomputed_strides
    test_averagepool_2d_same_lower test_averagepool_2d_same_upper test_averagepool_2d_strides
    test_basic_conv_with_padding test_basic_conv_without_padding test_clip
    test_clip_default_inbounds test_clip_default_max test_clip_default_min test_clip_example
    test_clip_inbounds test_clip_outbounds test_clip_splitbounds test_concat_1d_axis_0
    test_concat_1d_axis_negative_1 test_concat_2d_axis_0 test_concat_2d_axis_negative_2
    test_concat_3d_axis_0 test_concat_3d_axis_negative_3 test_conv_with_autopad_same
    test_conv_with_strides_and_asymmetric_padding test_conv_with_strides_no_padding
    test_conv_with_strides_padding test_flatten_axis0 test_flatten_axis1 test_flatten_axis2
    test_flatten_axis3 test_flatten_default_axis test_flatten_negative_axis1
    test_flatten_negative_axis2 test_flatten_negative_axis3 test_flatten_negative_axis4
    test_gemm_default_no_bias test_gemm_default_vector_bias test_gemm_default_zero_bias
    test_gemm_transposeA test_gemm_transposeB test_globalaveragepool
    test_globalaveragepool_precomputed test_matmul_2d test_maxpool_2d_ceil
    test_maxpool_2d_ceil_output_size_reduce_by_one test_maxpool_2d_default test_maxpool_2d_pads
    test_maxpool_2d_precomputed_pads test_maxpool_2d_precomputed_same_upper
    test_maxpool_2d_precomputed_strides test_maxpool_2d_same_lower test_maxpool_2d_same_upper
    test_maxpool_2d_strides test_qlinearconv test_relu
"""
RUN = NAMES.split()

collected = cache(cases)


def test_no_case_is_forgotten():
    assert sorted(collected()) == sorted([*RUN, *SKIPPED])


@pytest.mark.parametrize("name", SKIPPED)
def test_skipped(name):
    """The reason holds."""
    with pytest.raises((Unsuitable, UserError), match=SKIPPED[name]):
        for model, _ in models(collected()[name]):
            compile_graph(import_proto(model), CONFIG)


@pytest.mark.parametrize("name", RUN)
def test_case(name):
    """No value of any layer differs from the golden graph, and no value of that and of the host's
    outputs from onnxruntime."""
    checked = 0
    for model, image in models(collected()[name]):
        graph = import_proto(model)
        program = compile_graph(graph, CONFIG)
        expected = Reference(model).run(image)
        reference = golden.run(graph, image)
        common = reference.keys() & expected.keys()
        assert set(graph.outputs) <= common
        for tensor in common:
            np.testing.assert_array_equal(
                reference[tensor].ravel(), np.ravel(expected[tensor]), tensor)
        with CoreSimulator(CONFIG, library=library()) as simulator:
            simulator.load(program)
            run = simulator.infer([golden.input_integers(graph, image)])
        inner = golden.run(rewrite(graph, CONFIG), image)
        check = check_batch(program, [inner], run.results, run.outputs)
        assert check.mismatches == 0 and not check.unknown, check.first
        assert check.checked > 0
        for output, values in host_tail(graph, run.images[0]).items():
            np.testing.assert_array_equal(np.ravel(values), np.ravel(expected[output]), output)
            checked += values.size
    assert checked >= collected()[name].output.size
