"""The residual networks for small images, resnet6, resnet8, resnet20, resnet32 and resnet56, in PyTorch.

Parameters have the names that they have in a checkpoint, which are torchvision's.
"""

from torch import nn


def convolution(inputs, filters, stride=1, window=3):
    return nn.Conv2d(inputs, filters, window, stride, padding=window // 2, bias=False)


class Block(nn.Module):
    def __init__(self, inputs, filters, stride):
        super().__init__()
        self.conv1, self.bn1 = convolution(inputs, filters, stride), nn.BatchNorm2d(filters)
        self.conv2, self.bn2 = convolution(filters, filters), nn.BatchNorm2d(filters)
        self.downsample = nn.Sequential()  # the identity
        if stride > 1 or inputs != filters:
            projection = convolution(inputs, filters, stride, window=1)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(filters))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + self.downsample(x)).relu()


class SmallResNet(nn.Module):
    def __init__(self, name, channels, classes):
        super().__init__()
        depth = int(name.removeprefix("resnet"))
        if depth == 6:  # filters and stride of the stem and of each stage
            (filters, stride), stages, blocks = (8, 2), [(16, 2), (32, 2)], 1
        else:
            (filters, stride), stages, blocks = (16, 1), [(16, 1), (32, 2), (64, 2)], (depth - 2) // 6
        self.conv1, self.bn1 = convolution(channels, filters, stride), nn.BatchNorm2d(filters)
        self.stages = [f"layer{i + 1}" for i in range(len(stages))]
        for stage, (outputs, stride) in zip(self.stages, stages):
            first = Block(filters, outputs, stride)
            others = [Block(outputs, outputs, 1) for _ in range(1, blocks)]
            setattr(self, stage, nn.Sequential(first, *others))
            filters = outputs
        self.fc = nn.Linear(filters, classes)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.fc(x.mean((2, 3)))
