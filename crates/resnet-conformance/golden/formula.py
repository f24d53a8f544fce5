"""Numbers that both sides compute from a name, so that no input has to be stored. `src/golden.rs` has the same."""

import torch

torch.set_default_dtype(torch.float64)


def fnv1a(name):
    h = 0x811C9DC5
    for b in name.encode():
        h = ((h ^ b) * 0x01000193) & 0xFFFFFFFF
    return h


def formula(name, n):
    """n numbers in [0, 1): a 32-bit mix of the position and the name's hash."""
    x = (torch.arange(1, n + 1, dtype=torch.int64) * 2654435761 + fnv1a(name)) & 0xFFFFFFFF
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & 0xFFFFFFFF
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & 0xFFFFFFFF
    x = x ^ (x >> 16)
    return x.double() / 4294967296.0


def f32(x):
    return x.float().double()
