"""Images and video: the families of torchvision and timm, each by a small or shortened member on small images."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.breadth.architecture import SAMPLES, Architecture

__all__ = ["VISION"]

_TORCHVISION, _TIMM = "torchvision==0.28.0", "timm==1.0.31"  # timm imports torchvision


def _torchvision(
    name: str, family: str, size: Sequence[int], make: Callable[[Any], nn.Module], distills: bool = False
) -> Architecture:
    """What `make` takes from `torchvision.models`; `size` is that of an image, or frames and that."""

    def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
        _declare_operators()
        model = make(importlib.import_module("torchvision.models"))
        return model, (torch.randn(SAMPLES, 3, *size),)

    return Architecture(f"torchvision-{name}", family, (_TORCHVISION,), build, distills)


def _timm(name: str, family: str, size: int = 64, **options: Any) -> Architecture:
    """One of `timm`, by its name there, on square images."""

    def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
        _declare_operators()
        model = importlib.import_module("timm").create_model(name, num_classes=10, **options)
        return model, (torch.randn(SAMPLES, 3, size, size),)

    return Architecture(f"timm-{name}", family, (_TORCHVISION, _TIMM), build)


@functools.cache
def _declare_operators() -> torch.library.Library:
    """Operators of torchvision that its import tells torch more of: the wheel brings them compiled for CUDA alone."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


_TINY, _SMALL, _MIDDLE, _CLIP = (32, 32), (64, 64), (96, 96), (4, 32, 32)
_ONE = (1, 1, 1, 1)
"""Blocks of each stage."""

VISION: tuple[Architecture, ...] = (
    _torchvision("resnet18", "residual", _SMALL, lambda m: m.resnet18(num_classes=10), distills=True),
    _torchvision("resnext50", "residual", _SMALL,
                 lambda m: m.ResNet(m.resnet.Bottleneck, [1, 1, 1, 1], 10, groups=32, width_per_group=4)),
    _torchvision("wide_resnet50", "residual", _TINY,
                 lambda m: m.ResNet(m.resnet.Bottleneck, [1, 1, 1, 1], 10, width_per_group=128)),
    _torchvision("regnet_y_400mf", "residual", _SMALL, lambda m: m.regnet_y_400mf(num_classes=10)),
    _torchvision("squeezenet1_1", "plain", _SMALL, lambda m: m.squeezenet1_1(num_classes=10)),
    _torchvision("mobilenet_v2", "mobile", _SMALL, lambda m: m.mobilenet_v2(num_classes=10), distills=True),
    _torchvision("mobilenet_v3_small", "mobile", _SMALL, lambda m: m.mobilenet_v3_small(num_classes=10)),
    _torchvision("shufflenet_v2_x0_5", "mobile", _SMALL, lambda m: m.shufflenet_v2_x0_5(num_classes=10)),
    _torchvision("efficientnet_b0", "mobile", _SMALL, lambda m: m.efficientnet_b0(num_classes=10)),
    _torchvision("densenet121", "joins", _SMALL,
                 lambda m: m.DenseNet(growth_rate=16, block_config=(3, 3, 3, 3), num_classes=10)),
    _torchvision("googlenet", "joins", _SMALL,
                 lambda m: m.googlenet(num_classes=10, aux_logits=False, init_weights=False)),
    _torchvision("inception_v3", "joins", _MIDDLE,
                 lambda m: m.inception_v3(num_classes=10, aux_logits=False, init_weights=False)),
    _torchvision("convnext", "convnext", _SMALL, lambda m: m.ConvNeXt(
        [m.convnext.CNBlockConfig(width, 2 * width, 1) for width in (48, 96)]
        + [m.convnext.CNBlockConfig(192, None, 2)], num_classes=10)),
    _torchvision("vit", "vit", _SMALL, lambda m: m.VisionTransformer(64, 16, 2, 4, 128, 512, num_classes=10),
                 distills=True),
    _torchvision("swin", "windows", _SMALL,
                 lambda m: m.SwinTransformer([4, 4], 48, [2, 2], [2, 4], [4, 4], num_classes=10)),
    _torchvision("swin_v2", "windows", _SMALL, lambda m: m.SwinTransformer(
        [4, 4], 48, [2, 2], [2, 4], [4, 4], num_classes=10,
        block=m.swin_transformer.SwinTransformerBlockV2,
        downsample_layer=m.swin_transformer.PatchMergingV2)),
    _torchvision("maxvit", "windows", _SMALL,
                 lambda m: m.MaxVit((64, 64), 32, 4, [32, 64], [1, 1], 16, 0.0, num_classes=10)),
    _torchvision("deeplabv3", "segmentation", _SMALL, lambda m: m.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=10)),
    _torchvision("lraspp", "segmentation", _SMALL, lambda m: m.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=10)),
    _torchvision("ssdlite", "detection", _MIDDLE, lambda m: m.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=10).backbone),
    _torchvision("fasterrcnn_fpn", "detection", _SMALL, lambda m: m.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=10).backbone),
    _torchvision("r3d", "video", _CLIP, lambda m: m.video.VideoResNet(
        m.video.resnet.BasicBlock, [m.video.resnet.Conv3DSimple] * 4, [1, 1, 1, 1], m.video.resnet.BasicStem, 10)),
    _torchvision("r2plus1d", "video", _CLIP, lambda m: m.video.VideoResNet(
        m.video.resnet.BasicBlock, [m.video.resnet.Conv2Plus1D] * 4, [1, 1, 1, 1], m.video.resnet.R2Plus1dStem, 10)),
    _timm("resnet10t", "residual"),
    _timm("resnet50_gn", "residual", layers=_ONE),
    _timm("seresnet18", "residual", layers=_ONE),
    _timm("ecaresnet50d", "residual", layers=_ONE),
    _timm("skresnet18", "residual", layers=_ONE),
    _timm("resnest14d", "residual", layers=_ONE),
    _timm("res2net50_26w_4s", "residual", layers=_ONE),
    _timm("resnetv2_50x1_bit", "residual"),
    _timm("test_nfnet", "residual"),
    _timm("hrnet_w18_small", "residual"),
    _timm("dla46_c", "joins"),
    _timm("dpn48b", "joins", k_sec=_ONE),
    _timm("ese_vovnet19b_slim", "joins"),
    _timm("hgnetv2_b0", "joins"),
    _timm("cspresnet50", "joins"),
    _timm("tresnet_m", "residual", layers=_ONE),
    _timm("repvgg_a0", "reparameterized"),
    _timm("mobileone_s0", "reparameterized"),
    _timm("fastvit_t8", "reparameterized"),
    _timm("ghostnet_050", "mobile"),
    _timm("efficientnet_cc_b0_4e", "mobile"),
    _timm("mixnet_s", "mobile"),
    _timm("mobilenetv4_conv_small_035", "mobile"),
    _timm("convnextv2_atto", "convnext", depths=_ONE),
    _timm("inception_next_atto", "convnext", depths=_ONE),
    _timm("convmixer_768_32", "convnext", 28),
    _timm("poolformer_s12", "metaformer"),
    _timm("caformer_s18", "metaformer"),
    _timm("mambaout_femto", "convnext", depths=_ONE),
    _timm("focalnet_tiny_srf", "convnext"),
    _timm("starnet_s050", "mobile", depths=_ONE),
    _timm("edgenext_xx_small", "hybrid", depths=_ONE),
    _timm("mobilevit_xxs", "hybrid"),
    _timm("mobilevitv2_050", "hybrid"),
    _timm("efficientvit_b0", "hybrid", depths=_ONE),
    _timm("efficientvit_m0", "hybrid", depth=(1, 1, 1)),
    _timm("levit_128s", "hybrid", img_size=64),
    _timm("coat_lite_tiny", "hybrid", img_size=64),
    _timm("nextvit_small", "hybrid"),
    _timm("tiny_vit_5m_224", "hybrid", depths=_ONE),
    _timm("davit_tiny", "windows", depths=_ONE),
    _timm("test_coatnet", "hybrid", 160),
    _timm("nest_tiny", "windows", img_size=64),
    _timm("pvt_v2_b0", "pyramid", depths=_ONE),
    _timm("twins_svt_small", "pyramid", img_size=64, depths=_ONE),
    _timm("vit_tiny_patch16_224", "vit", img_size=64, depth=2),
    _timm("deit_tiny_distilled_patch16_224", "vit", img_size=64, depth=2),
    _timm("beit_base_patch16_224", "vit", img_size=64, depth=2, embed_dim=192, num_heads=3),
    _timm("eva02_tiny_patch14_224", "vit", 56, img_size=56, depth=2),
    _timm("convit_tiny", "vit", img_size=64, depth=4),
    _timm("cait_xxs24_224", "vit", img_size=64, depth=2),
    _timm("xcit_nano_12_p16_224", "vit", img_size=64, depth=2),
    _timm("crossvit_9_240", "vit", 240),
    _timm("mixer_s32_224", "mlp", img_size=64),
    _timm("resmlp_12_224", "mlp", img_size=64),
    _timm("gmlp_ti16_224", "mlp", img_size=64),
    _timm("halonet26t", "hybrid", 256),
)  # fmt: skip
