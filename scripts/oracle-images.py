"""The Pillow oracle: writes test/fixtures/images/, images of every kind and Pillow's crops of them,
to which the decoder's tests compare theirs.

    pip install pillow numpy safetensors
    python3 scripts/oracle-images.py

Crops follow the rule of native/data/crop.cc; they are resized with Pillow's bilinear filter, which
widens where the image shrinks. Colors of CMYK images depend on the profile, so that only their
shapes are compared by the tests.
"""

import math
import pathlib

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures" / "images"
SIZE = 48  # pixels of an output's sides
SHORT_SIDE = 55  # round(48 * 8 / 7)


def image(width, height, seed):
    """Noise of the spectrum 1/f^1.1, as photographs have it, alike in the three colors, and edges."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(width), np.fft.fftfreq(height)))
    amplitude = 1 / np.maximum(frequency, 1e-2) ** 1.1
    noise = random.normal(size=(4, height, width))
    smooth = np.fft.ifft2(np.fft.fft2(noise[:1] + 0.4 * noise[1:]) * amplitude).real
    smooth = (smooth - smooth.mean()) / smooth.std()
    y, x = np.mgrid[:height, :width]
    disc = np.hypot(x - 0.6 * width, y - 0.4 * height) < 0.2 * height
    values = 120 + 45 * smooth + np.array([60, -30, 20])[:, None, None] * disc
    return Image.fromarray(np.clip(values, 0, 255).transpose(1, 2, 0).astype(np.uint8))


def draws(seed):
    """f64[22]: ten areas, ten aspects, and the place across and down."""
    random = np.random.default_rng(seed)
    aspects = 0.75 * (16 / 9) ** random.uniform(size=10)
    return np.concatenate([random.uniform(0.08, 1, 10), aspects, random.uniform(size=2)])


def box(width, height, numbers):
    for area, aspect in zip(numbers[:10], numbers[10:20]):
        across = math.floor(math.sqrt(width * height * area * aspect) + 0.5)
        down = math.floor(math.sqrt(width * height * area / aspect) + 0.5)
        if 0 < across <= width and 0 < down <= height:
            left = int(numbers[20] * (width - across + 1))
            top = int(numbers[21] * (height - down + 1))
            return left, top, left + across, top + down
    raise AssertionError("no attempt fits; choose other draws")


def crop(image, numbers):
    return np.asarray(image.crop(box(*image.size, numbers)).resize((SIZE, SIZE), Image.BILINEAR))


def centre(image):
    width, height = image.size
    shorter = min(width, height)
    resized = image.resize((SHORT_SIDE * width // shorter, SHORT_SIDE * height // shorter), Image.BILINEAR)
    left, top = (round((side - SIZE) / 2) for side in resized.size)
    return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    wide, tall = image(400, 300, 1), image(150, 230, 2)
    small = image(40, 31, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter, which is ignored
    alpha = tall.copy()
    alpha.putalpha(Image.fromarray((np.mgrid[:230, :150][1] % 256).astype(np.uint8)))
    for name, image, options in [
        ("wide.jpg", wide, {"quality": 90}),
        ("tall.jpg", tall, {"quality": 75, "subsampling": "4:2:2"}),
        ("small.jpg", small, {"quality": 95}),
        ("progressive.jpg", tall, {"quality": 85, "progressive": True, "subsampling": "4:4:4"}),
        ("grey.jpg", tall.convert("L"), {"quality": 85}),
        ("exif.jpg", tall, {"quality": 85, "exif": exif}),
        ("cmyk.jpg", tall.convert("CMYK"), {"quality": 85}),
        ("palette.png", small.quantize(64), {}),
        ("alpha.webp", alpha, {"quality": 80}),
        ("grey16.png", Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257), {}),
        ("still.gif", small.quantize(128), {}),
    ]:
        image.save(FOLDER / name, **options)
    # A PNG that is called a JPEG, as one of ImageNet's is.
    small.save(FOLDER / "png-called.JPEG", format="PNG")
    whole = (FOLDER / "wide.jpg").read_bytes()
    (FOLDER / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (FOLDER / "header-only.jpg").write_bytes(whole[:200])
    (FOLDER / "text.jpg").write_bytes(b"This is no picture.\n")

    tensors = {}
    for file in sorted(FOLDER.glob("*.*")):
        if file.suffix == ".safetensors" or file.name in ("header-only.jpg", "text.jpg", "cut.jpg", "cmyk.jpg"):
            continue
        image = Image.open(file)
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        image = image.convert("RGB")
        tensors[f"{file.name}/evaluation"] = centre(image)
        for i in range(4 if file.name == "wide.jpg" else 1):
            numbers = draws(100 + i)
            tensors[f"{file.name}/{i}/draws"] = numbers
            tensors[f"{file.name}/{i}/crop"] = crop(image, numbers)
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(contiguous, FOLDER / "crops.safetensors")


if __name__ == "__main__":
    main()
