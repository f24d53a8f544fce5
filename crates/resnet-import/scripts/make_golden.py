"""Small networks as the frameworks compute them, for tests/golden.rs.

    python make_golden.py torch|keras|paddle > ../tests/golden/networks-torch.json        (and so on)

No weights are stored: a tensor is a formula of its name, between two bounds, and both sides compute it. What is stored is the
framework's own list of names and shapes, in its own order, and the logits.
"""

import json
import math
import sys

import numpy as np


def fnv1a(name):
    h = 0x811C9DC5
    for b in name.encode():
        h = ((h ^ b) * 0x01000193) & 0xFFFFFFFF
    return h


def formula(name, shape, lo, hi):
    """Numbers in [lo, hi): a 32-bit mix of the position and the name's hash."""
    n = math.prod(shape)
    x = (np.arange(1, n + 1, dtype=np.uint64) * 2654435761 + fnv1a(name)) & 0xFFFFFFFF
    x ^= x >> np.uint64(16)
    x = (x * 0x7FEB352D) & 0xFFFFFFFF
    x ^= x >> np.uint64(15)
    x = (x * 0x846CA68B) & 0xFFFFFFFF
    x ^= x >> np.uint64(16)
    return (lo + (hi - lo) * (x.astype(np.float64) / 4294967296.0)).astype(np.float32).reshape(shape)


def bounds(role, shape, fan_in):
    """Bounds of a tensor by what it is for."""
    if role in ("running_var", "_variance", "moving_variance"):
        return 0.5, 1.5
    if role in ("running_mean", "_mean", "moving_mean", "bias", "beta"):
        return -0.2, 0.2
    if len(shape) == 1:
        return 0.75, 1.25
    b = math.sqrt(6.0 / fan_in)
    return -b, b


cases = []


def case(name, framework, tensors, x, logits, **options):
    rows = [[key, list(shape), lo, hi] for key, shape, lo, hi in tensors]
    cases.append(dict(name=name, framework=framework, tensors=rows, input=list(x.shape), logits=np.asarray(logits).flatten().tolist(), **options))


def picture(*shape):
    return formula("input", shape, -2.0, 2.0)


def torch_cases():
    import timm
    import torch
    import torchvision
    import transformers
    from networks import d2l_named, d2l_numbered
    from timm.models.resnetv2 import ResNetV2
    from torchvision.models.resnet import BasicBlock, Bottleneck

    def run(name, framework, model, x, prefix="", **options):
        state = {k: v for k, v in model.state_dict().items() if v.dtype == torch.float32}
        rows = []
        for key, value in state.items():
            shape = tuple(value.shape)
            lo, hi = bounds(key.split(".")[-1], shape, math.prod(shape[1:]))
            key = prefix + key
            value.copy_(torch.from_numpy(formula(key, shape, lo, hi)))
            rows.append((key, shape, lo, hi))
        model.eval()
        with torch.no_grad():
            logits = model(torch.from_numpy(x))
        case(name, framework, rows, x, getattr(logits, "logits", logits).numpy(), **options)

    tv, tm, tr = f"torchvision {torchvision.__version__}", f"timm {timm.__version__}", f"transformers {transformers.__version__}"
    x = picture(1, 3, 45, 32)
    few = dict(num_classes=7)
    run("torchvision basic", tv, torchvision.models.ResNet(BasicBlock, [1, 2, 1, 1], **few), x)
    run("torchvision bottleneck, wrapped", tv, torchvision.models.ResNet(Bottleneck, [1, 1, 1, 1], **few), x, "model_ema.module.")
    run("torchvision resnext", tv, torchvision.models.ResNet(Bottleneck, [1, 1, 1, 1], groups=32, width_per_group=4, **few), x)
    run("torchvision wide", tv, torchvision.models.ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=128, **few), x, "_orig_mod.")
    tiny = dict(channels=(8, 16, 24, 32), **few)
    deep = dict(stem_type="deep", avg_down=True, stem_width=6, **tiny)
    block = timm.models.resnet
    run("timm deep stem, pooled shortcuts", tm, block.ResNet(block.Bottleneck, [1, 2, 1, 1], **deep), x)
    run("timm tiered stem", tm, block.ResNet(block.BasicBlock, [1, 1, 1, 1], **dict(deep, stem_type="deep_tiered", stem_width=8)), x)
    run("timm deep stem, projections", tm, block.ResNet(block.Bottleneck, [1, 1, 1, 1], **dict(deep, avg_down=False)), x)
    layers = timm.layers
    v2 = dict(conv_layer=layers.create_conv2d, norm_layer=layers.BatchNormAct2d, channels=(32, 48, 64, 96), stem_chs=16, **few)
    run("timm v2 basic", tm, ResNetV2([1, 2, 1, 1], basic=True, bottle_ratio=1.0, **v2), x)
    run("timm v2 bottleneck", tm, ResNetV2([1, 1, 2, 1], **v2), x)
    run("timm v2 deep stem, pooled shortcuts", tm, ResNetV2([1, 1, 1, 2], stem_type="deep", avg_down=True, **v2), x)
    config = dict(embedding_size=16, hidden_sizes=[32, 48, 64, 80], num_labels=7)
    hf = lambda **more: transformers.ResNetForImageClassification(transformers.ResNetConfig(**config, **more))
    run("hugging face basic", tr, hf(depths=[1, 2, 1, 1], layer_type="basic"), x)
    run("hugging face bottleneck", tr, hf(depths=[1, 1, 1, 1]), x)
    run("hugging face, stride first", tr, hf(depths=[1, 1, 1, 1], downsample_in_bottleneck=True), x, variant="v1")
    grey = picture(1, 1, 45, 32)
    run("d2l, numbered", f"PyTorch {torch.__version__}", d2l_numbered((2, 1, 2), (8, 16, 24)), grey)
    run("d2l, named", f"PyTorch {torch.__version__}", d2l_named((1, 2, 1), (8, 16, 24)), grey, "net.")


def keras_cases():
    import keras
    import tensorflow as tf
    from keras.src.applications import resnet
    from networks import keras_tutorial

    version = f"Keras {keras.__version__}, TensorFlow {tf.__version__}"

    def run(name, model, x):
        nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        model(nhwc)
        rows = []
        for i, weight in enumerate(model.weights):
            # Layers that Keras numbers get another name in every process; the formula must not depend on it.
            key, shape = f"{i:04}/{weight.path}", tuple(weight.shape)
            lo, hi = bounds(key.split("/")[-1], shape, math.prod(shape[:-1]))
            weight.assign(formula(key, shape, lo, hi))
            rows.append((key, shape, lo, hi))
        case(name, version, rows, x, model(nhwc, training=False))

    def application(stack, preact, bias):
        def stacks(x):
            for s, (width, depth) in enumerate([(8, 2), (12, 3), (16, 2)]):
                stride = (2 if s < 2 else 1) if preact else (1 if s == 0 else 2)
                x = stack(x, width, depth, stride1=stride, name=f"conv{s + 2}")
            return x

        return resnet.ResNet(stacks, preact, bias, weights=None, input_shape=(48, 41, 3), classes=7, classifier_activation=None)

    x = picture(1, 3, 48, 41)
    run("keras applications", application(resnet.stack_residual_blocks_v1, False, True), x)
    run("keras applications v2", application(resnet.stack_residual_blocks_v2, True, True), x)
    run("keras tutorial", keras_tutorial((2, 2, 1), (8, 16, 24)), picture(1, 1, 48, 41))


def paddle_cases():
    import paddle
    from networks import paddle_tutorial
    from paddle.vision.models.resnet import BasicBlock, BottleneckBlock, ResNet

    def run(name, model, x):
        rows = []
        for key, value in model.state_dict().items():
            shape = tuple(value.shape)
            fan_in = shape[0] if len(shape) == 2 else math.prod(shape[1:])
            lo, hi = bounds(key.split(".")[-1], shape, fan_in)
            value.set_value(formula(key, shape, lo, hi))
            rows.append((key, shape, lo, hi))
        model.eval()
        case(name, f"Paddle {paddle.__version__}", rows, x, model(paddle.to_tensor(x)).numpy())

    x = picture(1, 3, 45, 32)
    run("paddle.vision basic", ResNet(BasicBlock, 18, num_classes=7), x)
    run("paddle.vision bottleneck", ResNet(BottleneckBlock, 50, num_classes=7), x)
    run("paddle tutorial basic", paddle_tutorial((1, 2), ((8, 12), (12, 16)), False, stem=8), x)
    run("paddle tutorial bottleneck", paddle_tutorial((2, 1), ((4, 16), (6, 24)), True, stem=8), x)


{"torch": torch_cases, "keras": keras_cases, "paddle": paddle_cases}[sys.argv[1]]()
json.dump(cases, sys.stdout, separators=(",", ":"))
print()
