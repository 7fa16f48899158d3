"""Images and video: the families of torchvision and timm, each by a small member on small images."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.breadth.architecture import SAMPLES, Architecture

__all__ = ["VISION"]

_TORCHVISION, _TIMM = "torchvision==0.28.0", "timm==1.0.31"  # timm imports torchvision


def _torchvision(
    name: str, family: str, size: Sequence[int], path: str = "", distills: bool = False, **options: Any
) -> Architecture:
    """A function or class of `torchvision.models`, by its path there; `size` is what an image or a video has."""

    def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
        _declare_operators()
        place, _, function = f"torchvision.models.{path or name}".rpartition(".")
        model = getattr(importlib.import_module(place), function)(num_classes=10, **options)
        return model, (torch.randn(SAMPLES, 3, *size),)

    return Architecture(f"torchvision-{name}", family, (_TORCHVISION,), build, distills)


def _features(name: str, family: str, size: Sequence[int], path: str, part: str, **options: Any) -> Architecture:
    """A part of a model of torchvision: what a detector has before its boxes are chosen."""

    def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
        whole = _torchvision(name, family, size, path, **options).build()
        return whole[0].get_submodule(part), whole[1]

    return Architecture(f"torchvision-{name}", family, (_TORCHVISION,), build)


def _timm(name: str, family: str, size: int = 64, distills: bool = False, **options: Any) -> Architecture:
    """One of `timm`, for square images of this size."""

    def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
        _declare_operators()
        model = importlib.import_module("timm").create_model(name, num_classes=10, **options)
        return model, (torch.randn(SAMPLES, 3, size, size),)

    return Architecture(f"timm-{name}", family, (_TORCHVISION, _TIMM), build, distills)


@functools.cache
def _declare_operators() -> torch.library.Library:
    """Operators of torchvision that its import tells torch more of: the wheel brings them compiled for CUDA alone."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


_SMALL, _MIDDLE = (64, 64), (96, 96)
VISION: tuple[Architecture, ...] = (
    _torchvision("resnet18", "residual", _SMALL, distills=True),
    _torchvision("resnext50_32x4d", "residual", _SMALL),
    _torchvision("wide_resnet50_2", "residual", (32, 32)),
    _torchvision("regnet_y_400mf", "residual", _SMALL),
    _torchvision("vgg11_bn", "plain", (32, 32)),
    _torchvision("alexnet", "plain", _SMALL),
    _torchvision("squeezenet1_1", "plain", _SMALL),
    _torchvision("mobilenet_v2", "mobile", _SMALL, distills=True),
    _torchvision("mobilenet_v3_small", "mobile", _SMALL),
    _torchvision("mnasnet0_5", "mobile", _SMALL),
    _torchvision("shufflenet_v2_x0_5", "mobile", _SMALL),
    _torchvision("efficientnet_b0", "mobile", _SMALL),
    _torchvision("efficientnet_v2_s", "mobile", _SMALL),
    _torchvision("densenet121", "joins", _SMALL),
    _torchvision("googlenet", "joins", _SMALL, aux_logits=False, init_weights=False),
    _torchvision("inception_v3", "joins", _MIDDLE, aux_logits=False, init_weights=False),
)
