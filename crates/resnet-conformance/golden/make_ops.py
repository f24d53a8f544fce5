"""Single ops in PyTorch, in f64: convolution, normalisation, pools, loss and optimizer steps, forward and backward.

    python make_ops.py > ops.json        (needs torch)

Inputs are not stored: both sides compute them from names by `formula.py`.
Activations are stored as NHWC and kernels as KRSC, the order in which a backend takes them.
"""

import json
import math
import sys

import torch
import torch.nn.functional as F

from formula import f32, formula


def tensor(name, shape):
    """Between -1 and 1, in f32, in the order of the shape."""
    return f32(2 * formula(name, math.prod(shape)) - 1).reshape(shape)


def nchw(name, n, h, w, c):
    return tensor(name, (n, h, w, c)).permute(0, 3, 1, 2).contiguous().requires_grad_()


def flat(t):
    """NCHW or KCRS to channels last; anything else as it is."""
    t = t.detach()
    return (t.permute(0, 2, 3, 1) if t.dim() == 4 else t).flatten().tolist()


def upstream(name, y):
    n, c, h, w = y.shape
    return tensor(name, (n, h, w, c)).permute(0, 3, 1, 2)


def pad(x, p, value=0.0):
    top, left, bottom, right = p
    return F.pad(x, (left, right, top, bottom), value=value)


def conv(name, x, k, window, stride, padding, groups):
    """padding: top, left, bottom, right."""
    n, h, w, c = x
    inputs = nchw(f"{name}.x", n, h, w, c)
    weight = tensor(f"{name}.w", (k, *window, c // groups)).permute(0, 3, 1, 2).contiguous().requires_grad_()
    bias = tensor(f"{name}.bias", (k,)).requires_grad_()
    y = F.conv2d(pad(inputs, padding), weight, bias, stride, 0, 1, groups)
    dx, dw, dbias = torch.autograd.grad(y, (inputs, weight, bias), upstream(f"{name}.dy", y))
    return dict(
        name=name, x=x, k=k, window=window, stride=stride, padding=padding, groups=groups,
        y=flat(y), dx=flat(dx), dw=flat(dw), dbias=flat(dbias))


def norm(name, x, eps, momentum, unbiased):
    n, h, w, c = x
    inputs = nchw(f"{name}.x", n, h, w, c)
    gamma = tensor(f"{name}.gamma", (c,)).requires_grad_()
    beta = tensor(f"{name}.beta", (c,)).requires_grad_()
    mean, var = tensor(f"{name}.mean", (c,)), 1 + tensor(f"{name}.var", (c,)) / 2
    frozen = F.batch_norm(inputs, mean, var, gamma, beta, False, momentum, eps)
    if not unbiased:
        # PyTorch only keeps the unbiased variance; undo its factor on what the batch brings.
        m = n * h * w
        before = var.clone()
    y = F.batch_norm(inputs, mean, var, gamma, beta, True, momentum, eps)
    if not unbiased:
        var = (1 - momentum) * before + (var - (1 - momentum) * before) * (m - 1) / m
    dx, dgamma, dbeta = torch.autograd.grad(y, (inputs, gamma, beta), upstream(f"{name}.dy", y))
    return dict(
        name=name, x=x, eps=eps, momentum=momentum, unbiased=unbiased, y=flat(y), frozen=flat(frozen), dx=flat(dx),
        dgamma=flat(dgamma), dbeta=flat(dbeta), running_mean=flat(mean), running_var=flat(var))


def max_pool(name, x, window, stride, padding, zero, levels=None):
    """With `levels` the inputs are rounded to so many per unit, which makes ties: the first maximum gets the gradient."""
    inputs = nchw(f"{name}.x", *x)
    if levels is not None:
        inputs = ((inputs * levels).round() / levels).detach().requires_grad_()
    padded = pad(inputs, padding, 0.0 if zero else -math.inf)
    y = F.max_pool2d(padded, window, stride)
    (dx,) = torch.autograd.grad(y, inputs, upstream(f"{name}.dy", y))
    return dict(
        name=name, x=x, window=window, stride=stride, padding=padding, zero=zero, levels=levels, y=flat(y), dx=flat(dx))


def avg_pool(name, x, window, stride, symmetric, ceil, padding):
    """`padding` is what a pool without `ceil_mode` needs for the same windows; pixels outside are not counted."""
    inputs = nchw(f"{name}.x", *x)
    y = F.avg_pool2d(inputs, window, stride, symmetric, ceil_mode=ceil, count_include_pad=False)
    (dx,) = torch.autograd.grad(y, inputs, upstream(f"{name}.dy", y))
    return dict(name=name, x=x, window=window, stride=stride, padding=padding, y=flat(y), dx=flat(dx))


def cross_entropy(name, n, n_valid, classes, smoothing, lam, grad_scale):
    logits = (4 * tensor(f"{name}.logits", (n, classes))).requires_grad_()
    a, b = ((formula(f"{name}.{which}", n) * classes).long() for which in "ab")
    kept = logits[:n_valid]
    loss = lam * F.cross_entropy(kept, a[:n_valid], label_smoothing=smoothing, reduction="sum")
    loss = loss + (1 - lam) * F.cross_entropy(kept, b[:n_valid], label_smoothing=smoothing, reduction="sum")
    (dlogits,) = torch.autograd.grad(loss * grad_scale / n_valid, logits)
    hits = (kept.argmax(1) == a[:n_valid]).sum().item()
    return dict(
        name=name, n=n, n_valid=n_valid, classes=classes, smoothing=smoothing, lam=lam, grad_scale=grad_scale,
        loss_sum=loss.item(), hits=hits, dlogits=flat(dlogits))


# Factor on the learning rate, and whether weight decay applies. The third is frozen, but counts in the norm of all gradients.
GROUPS = [(1.0, True), (0.5, True), (0.0, True), (1.0, False)]


def optimizer(name, rule, lr, clip):
    """Five steps of four parameters; the gradients do not depend on the values."""
    n = 5
    params = [tensor(f"{name}.p{i}", (n,)).requires_grad_() for i in range(len(GROUPS))]
    groups = [
        dict(params=[p], lr=lr * lr_scale, weight_decay=rule["weight_decay"] if decay else 0.0)
        for p, (lr_scale, decay) in zip(params, GROUPS)]
    if rule["name"] == "sgd":
        opt = torch.optim.SGD(groups, momentum=rule["momentum"], nesterov=rule["nesterov"])
    else:
        kind = torch.optim.Adam if rule["name"] == "adam" else torch.optim.AdamW
        opt = kind(groups, betas=(rule["beta1"], rule["beta2"]), eps=rule["eps"])
    values, norms = [], []
    for t in range(1, 6):
        for i, p in enumerate(params):
            p.grad = tensor(f"{name}.g{i}.{t}", (n,))
        norms.append(torch.cat([p.grad for p in params]).norm().item())
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(params, clip)
        opt.step()
        values.append([x for p in params for x in flat(p)])
    return dict(name=name, rule=rule, groups=GROUPS, lr=lr, clip=clip, values=values, norms=norms)


def exact(x):
    """A setting that f32 holds: both sides then use the same number."""
    return f32(torch.tensor(x)).item()


SGD = dict(name="sgd", momentum=exact(0.9), nesterov=False, weight_decay=exact(0.01))
ADAM = dict(name="adam", beta1=exact(0.9), beta2=exact(0.999), eps=exact(1e-8), weight_decay=exact(0.01))

json.dump(
    dict(
        torch=torch.__version__,
        conv2d=[
            conv("plain", (2, 5, 4, 3), 4, (3, 3), 1, (1, 1, 1, 1), 1),
            conv("strided stem", (1, 7, 8, 2), 3, (7, 7), 2, (3, 3, 3, 3), 1),
            conv("same padding", (1, 6, 6, 2), 3, (3, 3), 2, (0, 0, 1, 1), 1),
            conv("grouped", (2, 4, 5, 4), 6, (3, 2), 1, (2, 0, 1, 1), 2),
            conv("depthwise", (1, 5, 5, 3), 6, (3, 3), 2, (1, 1, 1, 1), 3),
            conv("projection", (2, 5, 5, 4), 3, (1, 1), 2, (0, 0, 0, 0), 1),
        ],
        batch_norm=[
            norm("torch norm", (3, 2, 3, 4), exact(1e-5), exact(0.1), True),
            norm("keras norm", (2, 3, 2, 3), exact(1e-3), exact(0.01), False),
        ],
        max_pool=[
            max_pool("stem pool", (2, 5, 6, 2), (3, 3), 2, (1, 1, 1, 1), False),
            max_pool("same pool", (1, 6, 6, 2), (3, 3), 2, (0, 0, 1, 1), False),
            max_pool("zero pool", (2, 5, 6, 2), (3, 3), 2, (1, 1, 1, 1), True),
            max_pool("tied pool", (1, 6, 7, 2), (3, 3), 2, (1, 1, 1, 1), False, levels=1),
        ],
        avg_pool=[
            avg_pool("padded mean", (1, 5, 6, 2), (3, 3), 2, 1, False, (1, 1, 1, 1)),
            avg_pool("ceiling mean", (2, 5, 5, 2), (2, 2), 2, 0, True, (0, 0, 1, 1)),
            avg_pool("global mean", (2, 4, 3, 3), (4, 3), 1, 0, False, (0, 0, 0, 0)),
        ],
        cross_entropy=[
            cross_entropy("one label", 4, 4, 5, 0.0, 1.0, 1.0),
            cross_entropy("smooth mix", 6, 5, 7, exact(0.1), exact(0.3), exact(0.25)),
        ],
        optimizers=[
            optimizer("sgd", SGD, exact(0.1), None),
            optimizer("nesterov", dict(SGD, nesterov=True), exact(0.1), 0.5),
            optimizer("plain sgd", dict(SGD, momentum=0.0), exact(0.1), None),
            optimizer("adam", ADAM, exact(0.01), None),
            optimizer("adamw", dict(ADAM, name="adamw"), exact(0.01), 1.0),
        ],
    ),
    sys.stdout, separators=(",", ":"))
