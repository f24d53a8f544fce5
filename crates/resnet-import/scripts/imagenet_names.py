"""Names of the 1000 ImageNet classes, in the order of every library's weights: one a line.

    python imagenet_names.py > ../assets/imagenet-1k.txt        (needs torchvision, whose list it is, under its BSD licence)
"""

from torchvision.models._meta import _IMAGENET_CATEGORIES

print(*_IMAGENET_CATEGORIES, sep="\n")
