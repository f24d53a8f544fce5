"""The tutorial networks, which no package holds: as the tutorials write them, with depths and widths as arguments."""

WIDTHS = (64, 128, 256, 512)


def d2l_parts(depths, widths, channels):
    from torch import nn
    from torch.nn import functional as F

    class Residual(nn.Module):
        """Dive into Deep Learning, section 8.6.1."""

        def __init__(self, cin, cout, project=False, stride=1):
            super().__init__()
            self.conv1 = nn.Conv2d(cin, cout, 3, padding=1, stride=stride)
            self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)
            self.conv3 = nn.Conv2d(cin, cout, 1, stride=stride) if project else None
            self.bn1, self.bn2 = nn.BatchNorm2d(cout), nn.BatchNorm2d(cout)

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(y + (self.conv3(x) if self.conv3 else x))

    stem = [nn.Conv2d(channels, widths[0], 7, stride=2, padding=3), nn.BatchNorm2d(widths[0]), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    parts, cin = [nn.Sequential(*stem)], widths[0]
    for s, (depth, width) in enumerate(zip(depths, widths)):
        blocks = []
        for b in range(depth):
            first = s > 0 and b == 0
            blocks.append(Residual(cin, width, first, 2 if first else 1))
            cin = width
        parts.append(nn.Sequential(*blocks))
    return parts, [nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(cin, 10)]


def d2l_numbered(depths=(2, 2, 2, 2), widths=WIDTHS, channels=1):
    from torch import nn

    parts, head = d2l_parts(depths, widths, channels)
    return nn.Sequential(*parts, *head)


def d2l_named(depths=(2, 2, 2, 2), widths=WIDTHS, channels=1):
    from torch import nn

    parts, head = d2l_parts(depths, widths, channels)
    net = nn.Sequential()
    for i, part in enumerate(parts):
        net.add_module(f"b{i + 1}", part)
    net.add_module("last", nn.Sequential(*head))
    return net


def keras_tutorial(depths=(2, 2, 2, 2), widths=WIDTHS):
    import keras
    from keras import layers

    class Residual(keras.Model):
        """Dive into Deep Learning, section 8.6.1, in TensorFlow."""

        def __init__(self, channels, project=False, strides=1):
            super().__init__()
            self.conv1 = layers.Conv2D(channels, padding="same", kernel_size=3, strides=strides)
            self.conv2 = layers.Conv2D(channels, kernel_size=3, padding="same")
            self.conv3 = layers.Conv2D(channels, kernel_size=1, strides=strides) if project else None
            self.bn1, self.bn2 = layers.BatchNormalization(), layers.BatchNormalization()

        def call(self, x):
            y = keras.activations.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            return keras.activations.relu(y + (self.conv3(x) if self.conv3 is not None else x))

    parts = [layers.Conv2D(widths[0], 7, strides=2, padding="same"), layers.BatchNormalization(), layers.Activation("relu"),
             layers.MaxPool2D(3, 2, padding="same")]
    for s, (depth, width) in enumerate(zip(depths, widths)):
        for b in range(depth):
            first = s > 0 and b == 0
            parts.append(Residual(width, first, 2 if first else 1))
    return keras.Sequential(parts + [layers.GlobalAvgPool2D(), layers.Dense(10)])


def paddle_tutorial(depths, widths, bottleneck, stem=64):
    import paddle
    from paddle import nn

    class Residual(nn.Layer):
        """The block of the tutorial: `sample_block` in the first block of every stage."""

        def __init__(self, cin, middle, cout, stride, project):
            super().__init__()
            if bottleneck:
                self.block = nn.Sequential(
                    nn.Conv2D(cin, middle, 1), nn.BatchNorm2D(middle), nn.ReLU(),
                    nn.Conv2D(middle, middle, 3, stride, 1), nn.BatchNorm2D(middle), nn.ReLU(),
                    nn.Conv2D(middle, cout, 1), nn.BatchNorm2D(cout))
            else:
                self.block = nn.Sequential(
                    nn.Conv2D(cin, middle, 3, stride, 1), nn.BatchNorm2D(middle), nn.ReLU(),
                    nn.Conv2D(middle, cout, 3, 1, 1), nn.BatchNorm2D(cout))
            self.sample_block = nn.Sequential(nn.Conv2D(cin, cout, 1, stride), nn.BatchNorm2D(cout)) if project else None

        def forward(self, x):
            return nn.functional.relu(self.block(x) + (self.sample_block(x) if self.sample_block else x))

    class Tutorial(nn.Layer):
        def __init__(self):
            super().__init__()
            self.in_block = nn.Sequential(nn.Conv2D(3, stem, 7, 2, 3), nn.BatchNorm2D(stem), nn.ReLU(), nn.MaxPool2D(3, 2, 1))
            blocks, cin = [], stem
            for s, (depth, (middle, cout)) in enumerate(zip(depths, widths)):
                for b in range(depth):
                    blocks.append(Residual(cin, middle, cout, 2 if s > 0 and b == 0 else 1, b == 0))
                    cin = cout
            self.block = nn.Sequential(*blocks)
            self.pool, self.fc = nn.AdaptiveAvgPool2D(1), nn.Linear(cin, 10)

        def forward(self, x):
            return self.fc(paddle.flatten(self.pool(self.block(self.in_block(x))), 1))

    return Tutorial()
