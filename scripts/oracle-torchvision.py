"""Writes test/fixtures/torchvision-*.safetensors: the logits of networks of torch.nn modules.

    pip install torch==2.13.0 numpy safetensors
    python3 scripts/oracle-torchvision.py

The modules have torchvision's names, so that `state_dict()` is what its users save. Weights, running
statistics and images come from the oracle's generator and are not stored: the fixture holds the names
and shapes of the state dict, in its order, and the logits of two images in evaluation, computed in
double precision.
"""

import json
import math

import numpy as np
import torch
from oracle import FIXTURES, SEED, Network, uniform
from safetensors.numpy import save_file
from torch import nn


class Bottleneck(nn.Module):
    def __init__(self, inputs, filters, stride, groups, group_width):
        super().__init__()
        outputs = 4 * filters
        width = filters * group_width * groups // 64
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample = None
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    def __init__(self, groups=1, group_width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs = 64
        for stage, blocks in enumerate([3, 4, 6, 3]):
            layers = []
            for i in range(blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                layers.append(Bottleneck(inputs, 64 << stage, stride, groups, group_width))
                inputs = 256 << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, 1000)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class VGG11(nn.Module):
    """With batch norm; a convolution keeps its bias all the same."""

    def __init__(self):
        super().__init__()
        layers, inputs = [], 3
        for filters in [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]:
            if filters == "M":
                layers.append(nn.MaxPool2d(2, 2))
                continue
            layers += [nn.Conv2d(inputs, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]
            inputs = filters
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 1000),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


NETWORKS = {
    "resnet50": ResNet50,
    "resnext50_32x4d": lambda: ResNet50(groups=32, group_width=4),
    "wide_resnet50_2": lambda: ResNet50(group_width=128),
    "vgg11_bn": VGG11,
}


def draw(name, shape):
    """Values that let every layer, and the image, affect the logits."""
    u = uniform(SEED, name, shape)
    if name.endswith("running_mean"):
        return 0.2 * (u - 0.5)
    if name.endswith("running_var"):
        return 0.5 + u
    if name.startswith(("fc.", "classifier.")) or len(shape) == 4:
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 1000
        return (2 * u - 1) * math.sqrt(6 / fan_in)
    return u - 0.5 if name.endswith("bias") else 0.5 + 0.5 * u


def write(name, network, images):
    state = network.state_dict()
    for key, tensor in state.items():
        if not key.endswith("num_batches_tracked"):
            tensor.copy_(torch.from_numpy(draw(key, tuple(tensor.shape)).astype(np.float32)))
    with torch.no_grad():
        logits = network(images).numpy().astype(np.float32)
    shapes = {key: list(tensor.shape) for key, tensor in state.items()}
    path = FIXTURES / f"torchvision-{name}.safetensors"
    save_file({"logits": logits}, path, metadata={"shapes": json.dumps(shapes)})


if __name__ == "__main__":
    source = Network("resnet50")
    source.training = False
    images = source.batch(0, 2)[0]
    for name, build in NETWORKS.items():
        write(name, build().double().eval(), images)
