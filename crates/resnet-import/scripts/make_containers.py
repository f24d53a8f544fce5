"""Small files as PyTorch, Paddle and Keras write them, for tests/containers.rs.

    python make_containers.py torch DIR         (needs torch)
    python make_containers.py paddle DIR        (needs paddlepaddle)
    python make_containers.py keras DIR         (needs keras and tensorflow)

All tensors count up in quarters, so that the test knows every value.
"""

import argparse
import collections
import pathlib
import sys

kind, out = sys.argv[1], pathlib.Path(sys.argv[2])


def torch_files():
    import torch

    def quarters(*shape):
        return (torch.arange(torch.Size(shape).numel(), dtype=torch.float64) / 4).reshape(shape)

    storage = quarters(24).float()
    state = collections.OrderedDict(
        plain=quarters(2, 3).float(),
        half=quarters(4).half(),
        bfloat=quarters(4).bfloat16(),
        double=quarters(3),
        transposed=quarters(2, 3).float().t(),
        channels_last=quarters(1, 2, 2, 2).float().to(memory_format=torch.channels_last),
        second_half=storage[12:].view(3, 4),
        every_third=storage[1::3],
        parameter=torch.nn.Parameter(quarters(2, 2).float()),
        empty=torch.zeros(0, 3),
        num_batches_tracked=torch.tensor(7),
    )
    state._metadata = collections.OrderedDict(version=1)
    checkpoint = dict(state_dict=state, epoch=3, best=0.5, args=argparse.Namespace(lr=0.1, data=pathlib.Path("x")),
                      optimizer=dict(state={0: dict(momentum_buffer=quarters(2).float())}, param_groups=[dict(lr=0.1)]))
    torch.save(checkpoint, out / "checkpoint.pth")
    torch.save(checkpoint, out / "checkpoint-legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Conv2d(1, 1, 1), out / "whole-model.pth")


def paddle_files():
    import paddle

    layer = paddle.nn.Sequential(paddle.nn.Conv2D(2, 3, 1), paddle.nn.BatchNorm2D(3))
    for name, tensor in layer.state_dict().items():
        tensor.set_value((paddle.arange(tensor.size, dtype="float32") / 4).reshape(tensor.shape))
    for protocol in (2, 4):
        paddle.save(layer.state_dict(), str(out / f"layer-{protocol}.pdparams"), protocol=protocol)


def keras_files():
    import keras
    import numpy as np
    from keras import layers

    model = keras.Sequential([
        keras.Input((4, 4, 2)), layers.Conv2D(3, 1, name="first"), layers.BatchNormalization(epsilon=1e-4, name="norm"),
        layers.Conv2D(2, 1, use_bias=False, name="second"), layers.GlobalAvgPool2D(), layers.Dense(2, name="head")])
    for weight in model.weights:
        weight.assign((np.arange(np.prod(weight.shape), dtype="float32") / 4).reshape(weight.shape))
    model.save(out / "model.h5")
    model.save(out / "model.keras")
    model.save_weights(out / "model.weights.h5")


{"torch": torch_files, "paddle": paddle_files, "keras": keras_files}[kind]()
