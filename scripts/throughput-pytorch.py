"""PyTorch's side of `onehour bench throughput`: a training step, eager or compiled, channels_last,
SGD with Nesterov momentum and weight decay on everything but batch norm.

Reads one JSON object a line from standard input, {"steps": S}, runs S steps and answers
{"seconds": s, "peakBytes": b}. Ends with its input. The first line that it writes describes it.
"""

import argparse
import json
import resource
import sys
import time

try:
    import torch
except ImportError:
    print(json.dumps({"missing": "torch"}), flush=True)
    sys.exit(3)

from torch import nn

# name: (bottleneck, blocks of each stage), for 224 x 224 images
IMAGENET = {
    "resnet18": (False, (2, 2, 2, 2)),
    "resnet34": (False, (3, 4, 6, 3)),
    "resnet50": (True, (3, 4, 6, 3)),
    "resnet101": (True, (3, 4, 23, 3)),
    "resnet152": (True, (3, 8, 36, 3)),
}


def convolution(channels, filters, size, stride=1):
    return nn.Conv2d(channels, filters, size, stride, size // 2, bias=False)


class Block(nn.Module):
    """x + branch(x): two 3x3 convolutions, or 1x1, 3x3, 1x1 with four times the filters."""

    def __init__(self, channels, width, stride, bottleneck):
        super().__init__()
        filters = width * (4 if bottleneck else 1)
        if bottleneck:
            plan = [(channels, width, 1, 1), (width, width, 3, stride), (width, filters, 1, 1)]
        else:
            plan = [(channels, width, 3, stride), (width, width, 3, 1)]
        layers = []
        for part in plan:
            layers += [convolution(*part), nn.BatchNorm2d(part[1]), nn.ReLU(inplace=True)]
        self.branch = nn.Sequential(*layers[:-1])
        nn.init.zeros_(layers[-2].weight)
        self.shortcut = nn.Identity()
        if stride != 1 or channels != filters:
            self.shortcut = nn.Sequential(
                convolution(channels, filters, 1, stride), nn.BatchNorm2d(filters)
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.branch(x) + self.shortcut(x))


def resnet(name, channels, classes):
    """The network that `onehour` calls `name`."""
    if name in IMAGENET:
        bottleneck, blocks = IMAGENET[name]
        width = 64
        stem = [
            nn.Conv2d(channels, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        ]
    else:
        bottleneck, blocks, width = False, ((int(name[len("resnet") :]) - 2) // 6,) * 3, 16
        stem = [convolution(channels, width, 3), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    layers, inputs = stem, width
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(Block(inputs, width, stride, bottleneck))
            inputs = width * (4 if bottleneck else 1)
        width *= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--image", type=int, nargs=3, required=True)  # height width channels
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16", "fp16"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(json.dumps({"missing": "torch with CUDA"}), flush=True)
        sys.exit(3)
    tf32 = options.precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    height, width, channels = options.image
    model = resnet(options.model, channels, options.classes)
    model = model.to(device, memory_format=torch.channels_last).train()
    x = torch.rand(options.batch, channels, height, width, device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(options.classes, (options.batch,), device=device)
    normalised = [p for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]
    identities = {id(p) for p in normalised}
    others = [p for p in model.parameters() if id(p) not in identities]
    optimizer = torch.optim.SGD(
        [{"params": others, "weight_decay": 1e-4}, {"params": normalised, "weight_decay": 0.0}],
        lr=0.01,
        momentum=0.9,
        nesterov=True,
        **({"fused": True} if options.device == "cuda" else {}),
    )
    loss_function = nn.CrossEntropyLoss()
    network = torch.compile(model) if options.compile else model
    low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(options.precision)
    scaler = torch.amp.GradScaler(options.device, enabled=options.precision == "fp16")

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(options.device, low or torch.bfloat16, enabled=low is not None):
            logits = network(x)
        loss = loss_function(logits.float(), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    def finish(loss):
        return loss.item()  # waits for the device

    print(
        json.dumps({
            "name": f"PyTorch {torch.__version__}" + (", compiled" if options.compile else ""),
            "versions": {
                "torch": torch.__version__,
                "CUDA": torch.version.cuda,
                "cuDNN": torch.backends.cudnn.version(),
            },
            "parameters": sum(p.numel() for p in model.parameters()),
        }),
        flush=True,
    )
    for line in sys.stdin:
        steps = json.loads(line)["steps"]
        start = time.perf_counter()
        for _ in range(steps):
            loss = step()
        finish(loss)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if options.device == "cuda":
            peak = torch.cuda.max_memory_reserved()
        print(json.dumps({"seconds": seconds, "peakBytes": peak}), flush=True)


if __name__ == "__main__":
    main()
