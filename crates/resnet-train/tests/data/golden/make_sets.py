"""Makes ../sets: tiny sets as Hugging Face's `datasets` and Python's pickle write them.

Run    python make_sets.py            (needs datasets, Pillow, numpy, pyarrow)
"""

import io
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Picture

HERE = Path(__file__).parent.parent / "sets"
shutil.rmtree(HERE, ignore_errors=True)
data = HERE / "hugging-face" / "data"
data.mkdir(parents=True)


def png(level):
    file = io.BytesIO()
    Picture.new("L", (5, 4), level).save(file, "png")
    return file.getvalue()


features = Features({"image": Image(), "label": ClassLabel(names=["cat", "dog", "bird"])})


def part(levels, labels):
    images = [dict(bytes=png(level), path=f"{level}.png") for level in levels]
    return Dataset.from_dict(dict(image=images, label=labels), features=features)


part([0, 10, 20, 30, 40], [0, 1, 2, 0, 1]).to_parquet(str(data / "train-00000-of-00001.parquet"))
part([50, 60], [1, 0]).to_parquet(str(data / "test-00000-of-00001.parquet"))
table = pa.table(dict(img=[png(1), png(2)], label=[0, 1]))
for codec in ["none", "snappy", "gzip", "lz4", "zstd", "brotli"]:
    pq.write_table(table, HERE / f"{codec}.parquet", compression=codec)
pq.write_table(pa.table(dict(img=[png(1), None], label=[0, 1])), HERE / "null.parquet")
pq.write_table(pa.table(dict(x=[1, 2])), HERE / "plain.parquet")


class Python2(pickle._Pickler):
    """Writes byte strings as Python 2 wrote its strings."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        if len(value) < 256:
            self.write(b"U" + bytes([len(value)]) + value)
        else:
            self.write(b"T" + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def python2(value):
    file = io.BytesIO()
    Python2(file, 2).dump(value)
    return file.getvalue()


def batch(label):
    pixels = np.repeat(np.array([label, 200, 7], np.uint8), 1024).reshape(1, 3072)
    return {b"batch_label": b"one of them", b"labels": [label], b"data": pixels, b"filenames": [b"a.png"]}


names = b"airplane automobile bird cat deer dog frog horse ship truck".split()
for folder, dump in [("cifar10-python2", python2), ("cifar10-python3", pickle.dumps)]:
    (HERE / folder).mkdir()
    for i in range(1, 6):
        (HERE / folder / f"data_batch_{i}").write_bytes(dump(batch(i)))
    (HERE / folder / "test_batch").write_bytes(dump(batch(9)))
    (HERE / folder / "batches.meta").write_bytes(dump({b"label_names": names, b"num_vis": 3072}))
