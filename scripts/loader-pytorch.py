"""PyTorch's side of `onehour bench loader`: a DataLoader whose processes open images with Pillow,
crop and resize them, and collate uint8 tensors [batch, height, width, 3].

Reads one JSON object a line from standard input, {"crop": "training" | "evaluation", "batches": B},
fills B batches and answers {"images": n, "seconds": s}. Ends with its input. The first line that it
writes describes it.
"""

import argparse
import json
import math
import os
import random
import sys
import time

for package, module in (("torch", "torch"), ("numpy", "numpy"), ("pillow", "PIL.Image")):
    try:
        __import__(module)
    except ImportError:
        print(json.dumps({"missing": package}), flush=True)
        sys.exit(3)

import numpy
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

IMAGES = tuple(".jpg .jpeg .jpe .jfif .png .ppm .bmp .pgm .tif .tiff .webp .gif".split())


def training_crop(image, size):
    """Resizes a random crop with 8 to 100 % of the area and an aspect ratio of 3/4 to 4/3."""
    width, height = image.size
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left = random.randint(0, width - across)
            top = random.randint(0, height - down)
            break
    else:
        across = min(width, round(height * 4 / 3))
        down = min(height, round(width * 4 / 3))
        left, top = (width - across) // 2, (height - down) // 2
    part = image.crop((left, top, left + across, top + down))
    return part.resize((size, size), Image.BILINEAR)


def evaluation_crop(image, size):
    """Resizes the shorter side to 8/7 of the output's and takes the centre."""
    width, height = image.size
    short = round(size * 8 / 7)
    if width <= height:
        width, height = short, short * height // width
    else:
        width, height = short * width // height, short
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), Image.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


class Images(Dataset):
    def __init__(self, folder, crop, size):
        self.paths = sorted(
            os.path.join(place, name)
            for place, _, names in os.walk(folder, followlinks=True)
            for name in names
            if name.lower().endswith(IMAGES) and not name.startswith(".")
        )
        self.crop = crop
        self.size = size

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        with Image.open(self.paths[index]) as opened:
            image = opened.convert("RGB")
        return torch.from_numpy(numpy.array(self.crop(image, self.size))), index


class Batches:
    """Indices of one round's batches, starting where the last round ended."""

    def __init__(self, images, size, shuffled):
        self.images = images
        self.size = size
        self.shuffled = shuffled
        self.order = []
        self.count = 0

    def __len__(self):
        return self.count

    def __iter__(self):
        for _ in range(self.count):
            if not self.order:
                indices = random.sample(range(self.images), self.images)
                self.order = indices if self.shuffled else sorted(indices)
            batch, self.order = self.order[: self.size], self.order[self.size :]
            yield batch


def seed_process(_):
    random.seed(torch.initial_seed())
    torch.set_num_threads(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--size", type=int, required=True)  # pixels
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    options = parser.parse_args()

    torch.manual_seed(0)
    random.seed(0)
    loaders = {}
    for name, part, crop in (
        ("training", "train", training_crop),
        ("evaluation", "val", evaluation_crop),
    ):
        images = Images(os.path.join(options.folder, part), crop, options.size)
        loaders[name] = DataLoader(
            images,
            batch_sampler=Batches(len(images), options.batch, name == "training"),
            num_workers=options.threads,
            persistent_workers=True,
            worker_init_fn=seed_process,
        )

    print(json.dumps({"name": f"PyTorch {torch.__version__}"}), flush=True)
    for line in sys.stdin:
        round_ = json.loads(line)
        loader = loaders[round_["crop"]]
        loader.batch_sampler.count = round_["batches"]
        images = 0
        start = time.perf_counter()
        for batch, _ in loader:
            images += len(batch)
        seconds = time.perf_counter() - start
        print(json.dumps({"images": images, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
