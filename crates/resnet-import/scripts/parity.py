"""What the frameworks themselves compute, with random weights, for `cargo run -p resnet-import --example parity -- DIR`.

    python parity.py torchvision|timm|hugging-face|d2l|keras|paddle DIR [--keep] [NAME...]

For every network: weights in the framework's own format, NAME.io.safetensors with `input` (n×c×h×w) and `logits`, and NAME.json.
Needs the framework, numpy and safetensors. Weights are random, running statistics are far from their start.
`--keep` leaves networks alone that are in DIR already.
"""

import json
import pathlib
import sys

import numpy as np
from safetensors.numpy import save_file

keep = "--keep" in sys.argv
framework, out, *only = [a for a in sys.argv[1:] if a != "--keep"]
out = pathlib.Path(out)
out.mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(0)


def picture(c=3, h=96, w=96, n=2):
    return random.standard_normal((n, c, h, w)).astype("float32")


def wanted(name):
    return (not only or name in only) and not (keep and (out / f"{name}.json").exists())


def norm_values(role, shape):
    lo, hi = {"gamma": (0.5, 1.2), "beta": (-0.3, 0.3), "mean": (-0.3, 0.3), "var": (0.4, 1.6)}[role]
    return random.uniform(lo, hi, shape).astype("float32")


def case(name, file, version, x, logits, **options):
    version = version.split("+")[0]  # without what a build is for
    save_file({"input": np.ascontiguousarray(x), "logits": np.ascontiguousarray(logits)}, out / f"{name}.io.safetensors")
    info = dict(framework=version, name=name, file=file, **options)
    (out / f"{name}.json").write_text(json.dumps(info))
    print(name, file, "largest logit", np.abs(logits).max(), flush=True)


# --- PyTorch ---------------------------------------------------------------------------------------------------------------


def torch_case(name, model, version, x, save=None, **options):
    import torch

    if not wanted(name):
        return
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for tensor, role in [(module.weight, "gamma"), (module.bias, "beta"), (module.running_mean, "mean"), (module.running_var, "var")]:
                tensor.data = torch.from_numpy(norm_values(role, tuple(tensor.shape)))
    model.eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(x))
        logits = getattr(logits, "logits", logits)
    file = f"{name}.pth"
    (save or (lambda path: torch.save(model.state_dict(), path)))(out / file)
    case(name, file, version, x, logits.numpy(), **options)


def torchvision():
    import torch
    import torchvision

    version = f"torchvision {torchvision.__version__}"
    for arch in ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
                 "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"]:
        if wanted(arch):
            torch_case(arch, getattr(torchvision.models, arch)(), version, picture())
    if wanted("resnet18-legacy-wrapped"):
        model = torchvision.models.resnet18(num_classes=7)
        save = lambda path: torch.save(
            {"epoch": 1, "model": {f"module.{k}": v for k, v in model.state_dict().items()}, "optimizer": {"lr": torch.zeros(3)}},
            path, _use_new_zipfile_serialization=False)
        torch_case("resnet18-legacy-wrapped", model, version, picture(h=101, w=75), save=save)


def timm():
    import timm as library
    from safetensors.torch import save_file as save_torch

    version = f"timm {library.__version__}"
    for arch in ["resnet10t", "resnet18d", "resnet26", "resnet50c", "resnet50d", "resnet50s", "resnet101d", "resnet152d",
                 "resnext50d_32x4d", "resnetv2_18", "resnetv2_34d", "resnetv2_50", "resnetv2_50d", "resnetv2_50t",
                 "resnetv2_101", "resnetv2_152"]:
        if wanted(arch) and arch in library.list_models():
            model = library.create_model(arch)
            torch_case(arch, model, version, picture(), save=lambda path: save_torch(model.state_dict(), path))


def hugging_face():
    import transformers

    version = f"transformers {transformers.__version__}"
    for name, more in [("hf-resnet18", dict(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic")),
                       ("hf-resnet50", dict()), ("hf-resnet50v1", dict(downsample_in_bottleneck=True))]:
        model = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=10, **more))
        options = dict(arch="resnet50v1") if name == "hf-resnet50v1" else {}
        torch_case(name, model, version, picture(), **options)


def d2l():
    import torch
    from networks import d2l_named, d2l_numbered

    version = f"PyTorch {torch.__version__}"
    torch_case("d2l18", d2l_numbered(), version, picture(c=1, h=97, w=90))
    net = d2l_named()
    save = lambda path: torch.save({f"net.{k}": v for k, v in net.state_dict().items()}, path)
    torch_case("d2l18-named", net, version, picture(c=1), save=save)


# --- Keras -----------------------------------------------------------------------------------------------------------------


def keras():
    import keras as library
    import tensorflow
    from keras_to_safetensors import save
    from networks import keras_tutorial

    version = f"Keras {library.__version__}, TensorFlow {tensorflow.__version__}"

    def run(name, model, x, formats=("safetensors",), **options):
        nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        model(nhwc[:1])
        for weight in model.weights:
            role = {"gamma": "gamma", "beta": "beta", "moving_mean": "mean", "moving_variance": "var"}.get(weight.path.split("/")[-1])
            if role:
                weight.assign(norm_values(role, weight.shape))
            elif weight.path.endswith("bias"):
                weight.assign(norm_values("beta", weight.shape))
        logits = np.asarray(model(nhwc, training=False))
        for format in formats:
            file = f"{name}.{format}"
            save(model, out / file) if format == "safetensors" else model.save(out / file) if not format.startswith("weights") else model.save_weights(out / file)
            suffix = "" if format == "safetensors" else f"-{format}"
            case(f"{name}{suffix}", file, version, x, logits, **options)

    for arch in ["ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2"]:
        if not wanted(arch):
            continue
        model = getattr(library.applications, arch)(weights=None, input_shape=(96, 96, 3), classifier_activation=None)
        run(arch, model, picture(), ("safetensors", "h5", "weights.h5", "keras") if arch in ("ResNet50", "ResNet50V2") else ("safetensors",))

    if wanted("keras18"):
        run("keras18", keras_tutorial(), picture(c=1))
    if wanted("keras18-odd"):
        run("keras18-odd", keras_tutorial(), picture(c=1, h=95, w=101))


# --- Paddle ----------------------------------------------------------------------------------------------------------------


def paddle():
    import paddle as library
    from networks import paddle_tutorial
    from paddle import nn

    version = f"Paddle {library.__version__}"

    def run(name, model, x, **options):
        for layer in model.sublayers():
            if isinstance(layer, nn.BatchNorm2D):
                for tensor, role in [(layer.weight, "gamma"), (layer.bias, "beta"), (layer._mean, "mean"), (layer._variance, "var")]:
                    tensor.set_value(norm_values(role, tensor.shape))
        model.eval()
        logits = model(library.to_tensor(x)).numpy()
        library.save(model.state_dict(), str(out / f"{name}.pdparams"))
        case(name, f"{name}.pdparams", version, x, logits, **options)

    for arch in ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2"]:
        if wanted(f"paddle-{arch}"):
            run(f"paddle-{arch}", getattr(library.vision.models, arch)(), picture())

    if wanted("paddle18"):
        run("paddle18", paddle_tutorial([2, 2, 2, 2], [(64, 128), (128, 256), (256, 512), (512, 512)], False), picture(h=97, w=90))
    if wanted("paddle50"):
        run("paddle50", paddle_tutorial([3, 4, 6, 3], [(64, 256), (128, 512), (256, 1024), (512, 2048)], True), picture())


{"torchvision": torchvision, "timm": timm, "hugging-face": hugging_face, "d2l": d2l, "keras": keras, "paddle": paddle}[framework]()
