"""The residual networks for small images, resnet8, resnet20, resnet32 and resnet56, in PyTorch.

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
        blocks = (int(name.removeprefix("resnet")) - 2) // 6  # of each of the three stages
        self.conv1, self.bn1 = convolution(channels, 16), nn.BatchNorm2d(16)
        for stage, (inputs, filters) in enumerate([(16, 16), (16, 32), (32, 64)], start=1):
            first = Block(inputs, filters, stride=1 if stage == 1 else 2)
            others = [Block(filters, filters, 1) for _ in range(1, blocks)]
            setattr(self, f"layer{stage}", nn.Sequential(first, *others))
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))
