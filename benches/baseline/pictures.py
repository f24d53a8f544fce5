"""CPU seconds per picture from a file to a 224×224 crop with Python's readers, one thread.

Run    by `cargo run --release -p resnet-train --example decode_speed`, which sends a mode on each line of standard input:
       decode, evaluation (shorter side 256, centre 224) or training (random resized crop of 224, flip).
       Pictures stay bytes on both sides: neither converts to a tensor, neither normalises.
By hand    python pictures.py make DIR PHOTO...    writes photographs at 500×400 as baseline and progressive JPEGs into DIR

torchvision      its own `pil_loader` and transforms
pillow           the same steps with Pillow alone, for a Python that has Pillow-SIMD in place of Pillow
libjpeg-turbo    simplejpeg, a binding of libjpeg-turbo, for decoding; the steps with Pillow
"""

import math
import pathlib
import random
import sys
import time


def make(folder, photos):
    from PIL import Image

    for photo in photos:
        picture = Image.open(photo).convert("RGB").resize((500, 400), Image.Resampling.LANCZOS)
        for kind in ("baseline", "progressive"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            picture.save(folder / kind / f"{pathlib.Path(photo).stem}.jpg", quality=90, progressive=kind == "progressive")


def torchvision():
    import torch
    import torchvision.transforms as T
    from torchvision.datasets.folder import pil_loader

    torch.set_num_threads(1)
    evaluation = T.Compose([T.Resize(256), T.CenterCrop(224)])
    training = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip()])
    return pil_loader, evaluation, training


def pillow():
    from PIL import Image

    def load(path):
        with open(path, "rb") as file:
            return Image.open(file).convert("RGB")

    return load, *steps()


def turbo():
    import simplejpeg
    from PIL import Image

    def load(path):
        with open(path, "rb") as file:
            return Image.fromarray(simplejpeg.decode_jpeg(file.read()))

    return load, *steps()


def steps():
    """torchvision's transforms on Pillow's pictures, without torchvision."""
    from PIL import Image

    def evaluation(picture):
        w, h = picture.size
        w, h = (256 * w // h, 256) if h < w else (256, 256 * h // w)
        picture = picture.resize((w, h), Image.Resampling.BILINEAR)
        left, top = round((w - 224) / 2), round((h - 224) / 2)
        return picture.crop((left, top, left + 224, top + 224))

    def training(picture):
        width, height = picture.size
        left, top, w, h = 0, 0, width, height
        for _ in range(10):
            area = width * height * random.uniform(0.08, 1.0)
            ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left, top = random.randint(0, width - w), random.randint(0, height - h)
                break
        picture = picture.crop((left, top, left + w, top + h)).resize((224, 224), Image.Resampling.BILINEAR)
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else picture

    return evaluation, training


if sys.argv[1] == "make":
    sys.exit(make(pathlib.Path(sys.argv[2]), sys.argv[3:]))
reader, repeats, files = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
load, evaluation, training = {"torchvision": torchvision, "pillow": pillow, "libjpeg-turbo": turbo}[reader]()
modes = dict(decode=lambda picture: picture, evaluation=evaluation, training=training)
for line in sys.stdin:
    transform = modes[line.strip()]
    start = time.process_time()
    for _ in range(repeats):
        for file in files:
            transform(load(file))
    print((time.process_time() - start) / (repeats * len(files)), flush=True)
