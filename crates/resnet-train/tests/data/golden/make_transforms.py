"""Makes transforms.json and transforms.bin: what torchvision's transforms make of pictures.

Run    python make_transforms.py            (needs torchvision, Pillow ≥ 13, numpy; writes beside itself)
Input  noise of the linear congruential generator below, seeded with the number of the case,
       or the first test picture of the embedded sample.
"""

import gzip
import json
from pathlib import Path

import numpy as np
import PIL
import torchvision
from PIL import Image
from torchvision.transforms import functional as F

HERE = Path(__file__).parent
SAMPLE = HERE / "../../../assets/fashion-mnist-sample/t10k-images-idx3-ubyte.gz"


def noise(seed, height, width, channels):
    """x ← 1664525·x + 1013904223 mod 2³²; the upper byte of each."""
    x, out = seed, np.empty(height * width * channels, np.uint8)
    for i in range(out.size):
        x = (1664525 * x + 1013904223) % 2**32
        out[i] = x >> 24
    return out.reshape(height, width, channels)


def picture(array):
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


cases, blob = [], bytearray()


def case(op, args, size, apply, array=None):
    """Adds one case. `size`: height, width, channels of the input."""
    source = "noise" if array is None else "sample"
    array = noise(len(cases), *size) if array is None else array
    result = np.asarray(apply(picture(array)))
    cases.append(dict(op=op, args=args, input=source, size=size, output=result.shape[:2], offset=len(blob)))
    blob.extend(result.tobytes())


def resize(size, to, **more):
    case("resize", to, size, lambda p: F.resize(p, to), **more)


first = np.frombuffer(gzip.decompress(SAMPLE.read_bytes()), np.uint8)[16:][: 28 * 28].reshape(28, 28, 1)
resize([28, 28, 1], [96, 96], array=first)
for size, to in [
    ([28, 28, 1], [64, 64]),
    ([28, 28, 3], [32, 32]),
    ([28, 28, 1], [14, 14]),
    ([33, 47, 3], [17, 29]),
    ([17, 29, 3], [33, 47]),
    ([5, 7, 1], [13, 3]),
    ([5, 7, 3], [3, 13]),
    ([1, 1, 1], [4, 5]),
    ([1, 9, 3], [3, 1]),
    ([200, 151, 3], [7, 5]),
    ([20, 31, 1], [20, 12]),
    ([20, 31, 1], [43, 31]),
    ([9, 9, 3], [9, 9]),
    ([101, 99, 1], [100, 100]),
    ([60, 40, 1], [40, 30]),  # loses twice as many rows as columns: columns first
    ([61, 40, 1], [40, 30]),  # more than twice as many: rows first
]:
    resize(size, to)
for size, to in [
    ([33, 47, 3], [17, 29]),
    ([17, 29, 3], [33, 47]),
    ([61, 40, 1], [40, 30]),
    ([50, 20, 3], [9, 19]),
    ([1, 9, 3], [3, 1]),
]:
    case("resize-bicubic", to, size, lambda p, to=to: F.resize(p, to, F.InterpolationMode.BICUBIC))
for size, short, to in [([33, 47, 3], 20, [16, 14]), ([90, 41, 1], 24, [24, 21]), ([15, 11, 3], 22, [19, 22])]:
    for name, mode in [("bilinear", F.InterpolationMode.BILINEAR), ("bicubic", F.InterpolationMode.BICUBIC)]:
        evaluation = lambda p, short=short, to=to, mode=mode: F.center_crop(F.resize(p, short, mode), to)
        case(f"evaluation-{name}", [short, *to], size, evaluation)
for size, to in [([31, 20, 1], 12), ([20, 31, 3], 27), ([7, 7, 1], 11), ([10, 33, 1], 7)]:
    case("resize-shorter", [to], size, lambda p, to=to: F.resize(p, to))
for size, to in [
    ([10, 12, 1], [4, 6]),
    ([11, 13, 3], [4, 6]),
    ([13, 11, 1], [6, 4]),
    ([5, 6, 1], [8, 9]),
    ([5, 9, 3], [8, 4]),
    ([9, 4, 1], [4, 9]),
]:
    case("center-crop", to, size, lambda p, to=to: F.center_crop(p, to))
case("horizontal-flip", [], [5, 8, 3], F.hflip)
case("horizontal-flip", [], [4, 7, 1], F.hflip)

about = dict(torchvision=torchvision.__version__, pillow=PIL.__version__)
lines = ",\n  ".join(json.dumps(c) for c in cases)
(HERE / "transforms.json").write_text(f'{{"about": {json.dumps(about)}, "cases": [\n  {lines}\n]}}\n')
(HERE / "transforms.bin").write_bytes(blob)
print(f"{len(cases)} cases, {len(blob)} bytes")
