"""Makes ../pictures: small files of every kind, and in pictures.json what Pillow decodes them to.

Run    python make_pictures.py            (needs Pillow ≥ 13, numpy)
"""

import base64
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent.parent / "pictures"
HERE.mkdir(exist_ok=True)
y, x = np.mgrid[0:18, 0:26]
smooth = np.stack([x * 9, y * 13, 255 - 5 * (x + y)], 2).clip(0, 255).astype(np.uint8)
colour = Image.fromarray(smooth)
grey = colour.convert("L")
turned = Image.Exif()
turned[0x0112] = 6  # the camera was held on its side
white = Image.new("RGBA", colour.size, "white")
alpha = colour.convert("RGBA")
alpha.putalpha(Image.fromarray((x * 10).astype(np.uint8)))
deep = (y.astype(np.uint16) * 3641 + x.astype(np.uint16) * 7)

files = {
    "baseline.jpg": (colour, dict(quality=92)),
    "progressive.jpg": (colour, dict(quality=92, progressive=True)),
    "full-colour.jpg": (colour, dict(quality=92, subsampling=0)),
    "grey.jpg": (grey, dict(quality=92)),
    "cmyk.jpg": (colour.convert("CMYK"), dict(quality=92)),
    "turned.jpg": (colour, dict(quality=92, exif=turned)),
    "colour.png": (colour, {}),
    "palette.png": (colour.quantize(16), {}),
    "grey.png": (grey, {}),
    "alpha.png": (alpha, {}),
    "deep.png": (Image.fromarray(deep), {}),
    "colour.bmp": (colour, {}),
    "lossless.webp": (colour, dict(lossless=True)),
    "lossy.webp": (colour, dict(quality=90)),
    "first-frame.gif": (colour.quantize(16), dict(save_all=True, append_images=[grey.quantize(4)])),
}
wanted = {}
for name, (picture, options) in files.items():
    picture.save(HERE / name, **options)
    back = Image.open(HERE / name)
    if name == "alpha.png":
        back = Image.alpha_composite(white, back)
    if name == "deep.png":  # Pillow cuts 16 bits off at 255; rounding is what is meant
        back = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    back = ImageOps.exif_transpose(back).convert("RGB")
    wanted[name] = dict(size=[back.height, back.width], rgb=base64.b16encode(back.tobytes()).decode())
(HERE / "pictures.json").write_text(json.dumps(wanted, indent=0) + "\n")
