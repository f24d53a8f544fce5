"""Whole networks in PyTorch, in f64: logits, loss, gradients, running statistics and optimizer steps.

    python make_networks.py > networks.json        (needs torch and torchvision)

Weights and pictures are not stored: both sides compute them from names by `formula.py`.
Gradients and parameters are stored as two numbers each, the L2 norm and the dot product with another formula vector.
The small networks are written out here in the order of the papers; ResNet-18 is torchvision's own.
"""

import json
import math
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision

from formula import f32, formula


def start(name, shape, is_norm):
    """The value a parameter starts with, rounded to f32."""
    u = formula(name, math.prod(shape))
    if name.endswith("running_var"):
        v = 0.5 + u
    elif name.endswith("running_mean") or name.endswith("bias"):
        v = 0.4 * u - 0.2
    elif is_norm:
        v = 0.75 + 0.5 * u
    else:
        v = (2 * u - 1) * math.sqrt(6.0 / math.prod(shape[1:]))
    return f32(v).reshape(shape)


def fill(model):
    norms = {n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    with torch.no_grad():
        for name, p in list(model.named_parameters()) + list(model.named_buffers()):
            if not name.endswith("num_batches_tracked"):
                p.copy_(start(name, tuple(p.shape), name.rsplit(".", 1)[0] in norms))


def digest(name, t):
    t = t.detach().flatten()
    return [t.norm().item(), (t * (2 * formula(name + ".dot", t.numel()) - 1)).sum().item()]


def picture(step, shape):
    return f32(2 * formula(f"picture{step}", math.prod(shape)) - 1).reshape(shape)


def labels(step, n, classes):
    return (formula(f"labels{step}", n) * classes).long()


# --- the networks of the papers, in their simplest form ---------------------------------------------------------------

class ZeroPad(nn.Module):
    def __init__(self, stride, cin, cout):
        super().__init__()
        self.stride, self.front, self.back = stride, (cout - cin) // 2, cout - cin - (cout - cin) // 2

    def forward(self, x):
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.front, self.back))


def conv(cin, cout, k, stride=1, groups=1):
    return nn.Conv2d(cin, cout, k, stride, k // 2, groups=groups, bias=False)


class Block(nn.Module):
    def __init__(self, net, cin, middle, cout, stride):
        super().__init__()
        v2 = net["variant"] == "v2"
        self.net, self.v2 = net, v2
        bottleneck = net["block"] == "bottleneck"
        s1, s2 = (stride, 1) if net["variant"] == "v1" or net.get("v2_stride_first") else (1, stride)
        if bottleneck:
            self.convs = [("conv1", conv(cin, middle, 1, s1)), ("conv2", conv(middle, middle, 3, s2, net["groups"])), ("conv3", conv(middle, cout, 1))]
            widths = [cin, middle, middle] if v2 else [middle, middle, cout]
        else:
            self.convs = [("conv1", conv(cin, middle, 3, stride)), ("conv2", conv(middle, cout, 3))]
            widths = [cin, middle] if v2 else [middle, cout]
        for name, m in self.convs:
            self.add_module(name, m)
        self.norms = [nn.BatchNorm2d(w) for w in widths]
        for i, m in enumerate(self.norms):
            self.add_module(f"bn{i + 1}", m)
        self.downsample = None
        if net["variant"] != "plain" and (stride != 1 or cin != cout):
            norm = [] if v2 else [nn.BatchNorm2d(cout)]
            kind = net["shortcut"]
            if kind == "projection":
                self.downsample = nn.Sequential(conv(cin, cout, 1, stride), *norm)
            elif kind == "pooled":
                pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False) if stride != 1 else nn.Identity()
                self.downsample = nn.Sequential(pool, conv(cin, cout, 1), *norm)
            else:
                self.downsample = ZeroPad(stride, cin, cout)

    def forward(self, x):
        if self.v2:
            y = first = None
            for i, ((_, c), n) in enumerate(zip(self.convs, self.norms)):
                y = F.relu(n(x if i == 0 else y))
                first = y if i == 0 else first
                y = c(y)
            return y + (self.downsample(first) if self.downsample else x)
        y = x
        for i, ((_, c), n) in enumerate(zip(self.convs, self.norms)):
            y = n(c(y))
            if i + 1 < len(self.convs):
                y = F.relu(y)
        if self.net["variant"] != "plain":
            y = y + (self.downsample(x) if self.downsample else x)
        return F.relu(y)


class Net(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net
        w, v2 = net["stem_width"], net["variant"] == "v2"
        if net["stem"] == "deep":
            self.conv1 = nn.Sequential(
                conv(net["channels"], w // 2, 3, 2), nn.BatchNorm2d(w // 2), nn.ReLU(),
                conv(w // 2, w // 2, 3), nn.BatchNorm2d(w // 2), nn.ReLU(), conv(w // 2, w, 3))
        else:
            self.conv1 = conv(net["channels"], w, 7, 2) if net["stem"] == "imagenet" else conv(net["channels"], w, 3)
        self.bn1 = None if v2 else nn.BatchNorm2d(w)
        cin = w
        for s, (depth, width) in enumerate(zip(net["depths"], net["widths"])):
            blocks = []
            for b in range(depth):
                blocks.append(Block(net, cin, width["middle"], width["out"], 2 if s > 0 and b == 0 else 1))
                cin = width["out"]
            self.add_module(f"layer{s + 1}", nn.Sequential(*blocks))
        self.norm = nn.BatchNorm2d(cin) if v2 else None
        self.fc = nn.Linear(cin, net["classes"])

    def forward(self, x):
        x = self.conv1(x)
        if self.bn1:
            x = F.relu(self.bn1(x))
        if self.net["stem"] != "small":
            x = F.max_pool2d(x, 3, 2, 1)
        for s in range(len(self.net["depths"])):
            x = getattr(self, f"layer{s + 1}")(x)
        if self.norm:
            x = F.relu(self.norm(x))
        return self.fc(x.mean((2, 3)))


def spec(variant="v1.5", block="basic", depths=(2, 1), widths=((4, 4), (6, 6)), groups=1, stem="small", stem_width=4,
         shortcut="projection", channels=3, classes=5, size=(8, 7), **more):
    return dict(variant=variant, block=block, depths=list(depths), groups=groups, stem=stem, stem_width=stem_width,
                widths=[dict(middle=m, out=o) for m, o in widths], shortcut=shortcut, channels=channels, classes=classes,
                height=size[0], width=size[1], **more)


BOTTLE = ((4, 8), (6, 12))
NETS = {
    "v1.5 basic": spec(),
    "v1 bottleneck": spec("v1", "bottleneck", widths=BOTTLE),
    "v1.5 bottleneck": spec("v1.5", "bottleneck", widths=BOTTLE),
    "resnext": spec("v1.5", "bottleneck", widths=BOTTLE, groups=2),
    "v2 basic": spec("v2"),
    "v2 bottleneck": spec("v2", "bottleneck", widths=BOTTLE),
    "v2 bottleneck, stride first": spec("v2", "bottleneck", widths=BOTTLE, v2_stride_first=True),
    "plain": spec("plain"),
    "option A": spec("v1", shortcut="zero-pad"),
    "option A, v2": spec("v2", shortcut="zero-pad"),
    "imagenet stem, one channel": spec(stem="imagenet", channels=1, size=(19, 16)),
    "imagenet stem, v2": spec("v2", stem="imagenet", size=(18, 17)),
    "deep stem, pooled shortcut": spec(stem="deep", shortcut="pooled", size=(18, 22)),
}


def train_case(net, n=3):
    model = Net(net)
    fill(model)
    model.train()
    x = picture(0, (n, net["channels"], net["height"], net["width"])).requires_grad_()
    logits = model(x)
    loss = F.cross_entropy(logits, labels(0, n, net["classes"]), label_smoothing=0.1)
    loss.backward()
    grads = {name: digest(name, p.grad) for name, p in model.named_parameters()}
    state = {name: digest(name, b) for name, b in model.named_buffers() if not name.endswith("tracked")}
    model.eval()
    after = model(x)
    return dict(spec=net, batch=n, logits=logits.flatten().tolist(), loss=loss.item(), grads=grads, state=state,
                input_grad=digest("input", x.grad.permute(0, 2, 3, 1)), eval_logits=after.flatten().tolist())


def frozen_case(net, until, norms, n=3):
    """What stands before `until` is not trained; normalisations are frozen as torchvision's FrozenBatchNorm2d is."""
    model = Net(net)
    fill(model)
    model.train()
    order = ["conv1", "bn1"] + [f"layer{s + 1}" for s in range(len(net["depths"]))] + ["norm", "fc"]
    below = order[:order.index(until)]
    for name, module in model.named_modules():
        inside = name.split(".")[0] in below
        is_norm = isinstance(module, nn.BatchNorm2d)
        if is_norm and (norms == "all" or inside and norms == "of frozen layers"):
            module.eval()
        if inside or is_norm and norms == "all":
            for p in module.parameters(recurse=False):
                p.requires_grad_(False)
    logits = model(picture(0, (n, net["channels"], net["height"], net["width"])))
    F.cross_entropy(logits, labels(0, n, net["classes"]), label_smoothing=0.1).backward()
    grads = {name: digest(name, p.grad) for name, p in model.named_parameters() if p.grad is not None}
    state = {name: digest(name, b) for name, b in model.named_buffers() if not name.endswith("tracked")}
    return dict(spec=net, batch=n, until=until, norms=norms, logits=logits.flatten().tolist(), grads=grads, state=state)


def steps_case(net, rule, make, clip=None, n=4, steps=5):
    model = Net(net)
    fill(model)
    model.train()
    optimizer = make(model)
    losses = []
    for t in range(steps):
        x = picture(t, (n, net["channels"], net["height"], net["width"]))
        loss = F.cross_entropy(model(x), labels(t, n, net["classes"]))
        optimizer.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    named = list(model.named_parameters()) + [(k, b) for k, b in model.named_buffers() if not k.endswith("tracked")]
    return dict(spec=net, batch=n, rule=rule, clip=clip, losses=losses, after={k: digest(k, p) for k, p in named})


def r32(x):
    """Hyper-parameters are f32 on the other side."""
    return torch.tensor(x, dtype=torch.float32).double().item()


SGD = dict(name="sgd", lr=0.05, momentum=0.9, nesterov=False, weight_decay=0.001)
NESTEROV = dict(SGD, nesterov=True)
ADAM = dict(name="adam", lr=0.01, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.001)
ADAMW = dict(ADAM, name="adamw", weight_decay=0.01)


def optimizer(rule):
    lr, wd = r32(rule["lr"]), r32(rule["weight_decay"])
    if rule["name"] == "sgd":
        return lambda m: torch.optim.SGD(m.parameters(), lr, r32(rule["momentum"]), nesterov=rule["nesterov"], weight_decay=wd)
    kind = torch.optim.Adam if rule["name"] == "adam" else torch.optim.AdamW
    betas = (r32(rule["beta1"]), r32(rule["beta2"]))
    return lambda m: kind(m.parameters(), lr, betas, r32(rule["eps"]), wd)


def resnet18(model):
    fill(model)
    model.eval()
    x = picture(0, (2, 3, 64, 64))
    return dict(batch=2, size=64, logits=model(x).flatten()[:64].tolist(), digest=digest("logits", model(x)))


V2_18 = spec("v2", depths=(2, 2, 2, 2), widths=((64, 64), (128, 128), (256, 256), (512, 512)), stem="imagenet",
             stem_width=64, classes=1000, size=(64, 64))

json.dump(
    dict(
        torch=torch.__version__,
        train={name: train_case(net) for name, net in NETS.items()},
        frozen=[
            frozen_case(NETS[net], until, norms)
            for net, until, norms in [
                ("v1.5 bottleneck", "layer2", "of frozen layers"), ("v1.5 basic", "layer2", "none"),
                ("v2 bottleneck", "layer1", "all"), ("v2 basic", "layer2", "of frozen layers"),
                ("deep stem, pooled shortcut", "layer1", "of frozen layers"), ("v1 bottleneck", "fc", "all"),
            ]
        ],
        steps=[
            steps_case(NETS[net], rule, optimizer(rule), clip)
            for net, rule, clip in [
                ("v1.5 basic", SGD, None), ("v1.5 basic", ADAM, None), ("v2 bottleneck", NESTEROV, 0.5),
                ("v2 bottleneck", ADAMW, None),
            ]
        ],
        resnet18={"resnet18": resnet18(torchvision.models.resnet18()), "resnet18v2": resnet18(Net(V2_18))},
    ),
    sys.stdout, indent=0)
