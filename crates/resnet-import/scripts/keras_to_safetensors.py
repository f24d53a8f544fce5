"""Writes the weights of any Keras model as safetensors, in the order in which its layers were created.

    python keras_to_safetensors.py MODEL.keras OUT.safetensors

Keras numbers its layers anew in every model (`conv2d_40`), so names alone cannot be matched; the order can.
A key is `NNNN/<path>`, NNNN the position in `model.weights`. A model that is built by code, and has only weights in a file, is
passed to `save` by that code:

    from keras_to_safetensors import save
    model.load_weights("model.weights.h5")
    save(model, "model.safetensors")
"""

import sys

import numpy as np
from safetensors.numpy import save_file


def save(model, path):
    """Writes `model.weights`. A path that Keras does not give is the variable's name."""
    tensors = {}
    for i, weight in enumerate(model.weights):
        name = getattr(weight, "path", None) or weight.name
        tensors[f"{i:04}/{name}"] = np.ascontiguousarray(weight.numpy())
    save_file(tensors, path, metadata={"format": "keras", "order": "model.weights"})
    return tensors


if __name__ == "__main__":
    import keras

    save(keras.models.load_model(sys.argv[1], compile=False), sys.argv[2])
