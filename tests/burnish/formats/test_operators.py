"""A program calls operators of stock torch that compute, and nothing else."""

import pytest

from burnish.formats.operators import operator_fault


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.conv2d.default",
        "torch.ops.aten._native_batch_norm_legit_no_training.default",
        "torch.ops.aten.__and__.Tensor",
        "torch.ops.aten.add_.Tensor",
        "torch.ops.prims.convert_element_type.default",
        "torch.ops.quantized_decomposed.quantize_per_tensor.default",
        "torch.ops.torchao.dequantize_affine.default",
        "torch.ops.higher_order.cond",
        "_operator.getitem",
        "math.trunc",
        "torch.sym_max",
    ],
)
def test_computing_operators_are_let_through(target: str) -> None:
    assert operator_fault(target) is None


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.load",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.load_library",
        "torch.ops.aten.__class__.default",
        "torch.ops.aten.conv2d.default.__call__",
        "torch.ops.higher_order.call_torchbind",
        "torch.ops.higher_order.triton_kernel_wrapper_functional",
        "torch.ops.symm_mem.one_shot_all_reduce.default",
        "torch.ops.c10d.send.default",
        "torch.ops.mine.op.default",
        "torch.hub.load",
        "_operator.methodcaller",
        "_operator.attrgetter",
        "_operatorX.getitem",
        "math.__loader__.load_module",
        "mathx",
        "#extension:op",
        "torch.ops.aten.conv2d.default\n",
        "torch.ops.aten.ｃonv2d.default",
        "",
        None,
        7,
    ],
)
def test_others_are_refused(target: object) -> None:
    assert operator_fault(target) is not None
