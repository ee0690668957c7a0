"""The Pillow oracle of formats: writes test/fixtures/images/formats/, small images in every variant
of the formats that are not JPEG, and their values by Pillow's convert("RGB"), which the decoder must
give exactly.

    pip install pillow numpy safetensors
    python3 scripts/oracle-formats.py

Grey values of 16 bits are the exception: convert("RGB") cuts them off at 255, so that nearly all of
them are white; here they become bytes as those of colors do.
"""

import io
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures" / "images" / "formats"
SIDE = 13  # pixels; rows end within a word, a byte and a group of bits


def colors(seed=0):
    """u8[13, 13, 3]: a gradient with every level apart, and noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    gradient = np.stack([x * 19, y * 20, (x + y) * 10], axis=-1)
    return ((gradient + random.integers(0, 24, gradient.shape)) % 256).astype(np.uint8)


def indices(count):
    return (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) * 7 % count).astype(np.uint8)


def palette(count, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, 3)).astype(np.uint8)


# ------------------------------------------------------------------------------------------ Netpbm


def netpbm():
    rgb, grey = colors(), colors(2)[..., 0]
    bits = grey > 128
    size = f"{SIDE} {SIDE}"
    text = lambda values: " ".join(map(str, values.ravel())).encode()
    wide = (grey.astype(np.uint16) * 257 ^ np.arange(SIDE, dtype=np.uint16)).astype(">u2")
    yield "plain.pbm", f"P1\n{size}\n".encode() + "".join("01"[int(b)] for b in bits.ravel()).encode()
    yield "spaced.pbm", f"P1 {size}\n".encode() + text(bits.astype(int))
    yield "binary.pbm", f"P4\n{size}\n".encode() + np.packbits(bits, axis=1).tobytes()
    yield "plain.pgm", f"P2\n# a comment\n{size}\n255\n".encode() + text(grey)
    yield "binary.pgm", f"P5 {size} 255\n".encode() + grey.tobytes()
    yield "levels.pgm", f"P5 {size} 100\n".encode() + (grey % 101).tobytes()
    yield "plain.ppm", f"P3\n{SIDE} # wide\n{SIDE}\n255\n".encode() + text(rgb)
    yield "plain-levels.ppm", f"P3\n{size}\n31\n".encode() + text(rgb % 32)
    yield "plain-comments.ppm", f"P3 {size} 255\n".encode() + text(rgb[:6]) + b"\n# half\n" + text(rgb[6:])
    yield "binary.ppm", f"P6\n# two\n# comments\n{size}\n255\n".encode() + rgb.tobytes()
    yield "levels.ppm", f"P6\t{size}\r255\n".encode() + rgb.tobytes()
    yield "16.ppm", f"P6 {size} 65535\n".encode() + (rgb.astype(np.uint16) * 257).astype(">u2").tobytes()
    yield "12.ppm", f"P6 {size} 4095\n".encode() + (rgb.astype(np.uint16) * 16).astype(">u2").tobytes()
    yield "16.pgm", f"P5 {size} 65535\n".encode() + wide.tobytes()


# --------------------------------------------------------------------------------------------- BMP


def bmp_of(bits, pixels, compression=0, table=b"", header=40, masks=b"", down=False, colors=0):
    """The file: `table` is the palette; `masks` lie in the header where it is long enough."""
    height = -SIDE if down else SIDE
    if header == 12:
        info = struct.pack("<IHHHH", 12, SIDE, SIDE, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, SIDE, height, 1, bits, compression, len(pixels), 0, 0, colors, 0)
        info = (info + (masks if header > 40 else b"")).ljust(header, b"\0")
        info += masks if header == 40 else b""
    offset = 14 + len(info) + len(table)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + info + table + pixels


def rows(values, bits, down=False):
    """Rows of `values`, bits each (or bytes, where there are more axes), padded to four bytes."""
    lines = []
    for line in values if down else values[::-1]:
        if values.ndim == 3 or bits >= 8:
            data = line.tobytes()
        else:
            data = np.packbits(np.unpackbits(line[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()
        lines.append(data + b"\0" * (-len(data) % 4))
    return b"".join(lines)


def runs(values, bits):
    """Bottom-up runs, copies and, for what is 0, moves (the format's three kinds of codes)."""
    out = b""
    for line in values[::-1]:
        x = 0
        while x < SIDE:
            if (line[x : x + 2] == 0).all() and x + 2 < SIDE:
                out += bytes([0, 2, 2, 0])
                x += 2
            elif x + 4 <= SIDE and len(set(line[x : x + 4])) > 1:
                part = line[x : x + 4]
                out += bytes([0, 4]) + (part.tobytes() if bits == 8 else bytes([part[0] << 4 | part[1], part[2] << 4 | part[3]]))
                x += 4
            else:
                out += bytes([1, line[x] if bits == 8 else line[x] << 4])
                x += 1
        out += b"\0\0"
    return out + b"\0\1"


def bmp():
    rgb = colors(3)
    bgr = rgb[..., ::-1]
    four = np.concatenate([bgr, indices(256)[..., None]], axis=-1)
    table = lambda count, width=4: np.pad(palette(count), ((0, 0), (0, width - 3))).tobytes()
    word = (rgb[..., 0].astype("<u2") >> 3 << 11) | (rgb[..., 1].astype("<u2") >> 2 << 5) | (rgb[..., 2] >> 3)
    word15 = (rgb[..., 0].astype("<u2") >> 3 << 10) | (rgb[..., 1].astype("<u2") >> 3 << 5) | (rgb[..., 2] >> 3)
    as_bytes = lambda words: words.astype("<u2")[..., None].view(np.uint8).reshape(SIDE, SIDE, 2)
    for bits in (1, 4, 8):
        yield f"{bits}.bmp", bmp_of(bits, rows(indices(1 << bits), bits), table=table(1 << bits))
    yield "few.bmp", bmp_of(8, rows(indices(5), 8), table=table(5), colors=5)
    yield "grey.bmp", bmp_of(8, rows(indices(256), 8), table=np.repeat(np.arange(256, dtype=np.uint8), 4).tobytes())
    yield "os2.bmp", bmp_of(8, rows(indices(256), 8), table=table(256, 3), header=12)
    yield "os2-24.bmp", bmp_of(24, rows(bgr, 24), header=12)
    yield "16.bmp", bmp_of(16, rows(as_bytes(word15), 16))
    yield "565.bmp", bmp_of(16, rows(as_bytes(word), 16), 3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F))
    yield "24.bmp", bmp_of(24, rows(bgr, 24))
    yield "down.bmp", bmp_of(24, rows(bgr, 24, True), down=True)
    yield "32.bmp", bmp_of(32, rows(four, 32))
    yield "v4.bmp", bmp_of(32, rows(four, 32), 3, header=108, masks=struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000))
    yield "v5.bmp", bmp_of(32, rows(four, 32), 3, header=124, masks=struct.pack("<IIII", 0xFF000000, 0xFF0000, 0xFF00, 0xFF))
    yield "masks.bmp", bmp_of(32, rows(four, 32), 3, masks=struct.pack("<III", 0xFF000000, 0xFF00, 0xFF))
    yield "rle8.bmp", bmp_of(8, runs(indices(256), 8), 1, table=table(256))
    yield "rle4.bmp", bmp_of(4, runs(indices(16), 4), 2, table=table(16))


# ------------------------------------------------------------------------------- PNG, TIFF, WebP, GIF


def profile(gray=False):
    """A version-2 ICC profile: Adobe RGB (1998), or grey, both with a gamma of 563/256."""
    s15 = lambda *values: struct.pack(">" + "i" * len(values), *(round(value * 65536) for value in values))
    xyz = lambda *values: b"XYZ \0\0\0\0" + s15(*values)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563) + b"\0\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"Test\0" + b"\0" * 78 + b"\0"
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0None\0\0\0\0", b"wtpt": xyz(0.9505, 1.0, 1.0891)}
    if gray:
        tags[b"kTRC"] = curve
    else:
        primaries = [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)]
        for color, primary in zip(b"rgb", primaries):
            tags[bytes([color]) + b"XYZ"] = xyz(*primary)
            tags[bytes([color]) + b"TRC"] = curve
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    body = struct.pack(">I", len(tags)) + table + body
    kind = b"GRAY" if gray else b"RGB "
    header = struct.pack(">II", 128 + len(body), 0) + struct.pack(">I", 0x02100000) + b"mntr" + kind + b"XYZ "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + s15(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + body


def png_of(bits, kind, lines, extra=()):
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, bits, kind, 0, 0, 0))
    body += b"".join(chunk(name, data) for name, data in extra)
    body += chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines)))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def png():
    rgb, grey, alpha = colors(4), colors(5)[..., 0], indices(256)
    wide = lambda values: (values.astype(np.uint16) * 257 ^ np.arange(SIDE, dtype=np.uint16)[:, None]).astype(">u2")
    lines = lambda values: [line.tobytes() for line in values]
    packed = lambda values, bits: [
        np.packbits(np.unpackbits(line[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes() for line in values
    ]
    wide_rgb = (rgb.astype(np.uint16) * 257 ^ 0x55).astype(">u2")
    profiles = [(b"iCCP", b"test\0\0" + zlib.compress(profile()))]
    grey_profile = [(b"iCCP", b"test\0\0" + zlib.compress(profile(True)))]
    gamma = [(b"gAMA", struct.pack(">I", 100000))]
    with_alpha = lambda values, a: np.concatenate([values.reshape(SIDE, SIDE, -1), a[..., None]], axis=-1)
    table = (b"PLTE", palette(16).tobytes())
    yield "grey.png", png_of(8, 0, lines(grey))
    for bits in (1, 2, 4):
        yield f"grey{bits}.png", png_of(bits, 0, packed(indices(1 << bits), bits))
    yield "grey16.png", png_of(16, 0, lines(wide(grey)))
    yield "grey-alpha.png", png_of(8, 4, lines(with_alpha(grey, alpha)))
    yield "grey-alpha16.png", png_of(16, 4, lines(with_alpha(wide(grey), wide(alpha))))
    yield "grey-clear.png", png_of(8, 0, lines(grey), [(b"tRNS", struct.pack(">H", int(grey[0, 0])))])
    yield "rgb.png", png_of(8, 2, lines(rgb))
    yield "rgb16.png", png_of(16, 2, lines(wide_rgb))
    yield "rgb-clear.png", png_of(8, 2, lines(rgb), [(b"tRNS", struct.pack(">HHH", *map(int, rgb[0, 0])))])
    yield "rgba.png", png_of(8, 6, lines(with_alpha(rgb, alpha)))
    yield "rgba16.png", png_of(16, 6, lines(with_alpha(wide_rgb, wide(alpha))))
    yield "palette.png", png_of(4, 3, packed(indices(16), 4), [table])
    yield "palette-clear.png", png_of(4, 3, packed(indices(16), 4), [table, (b"tRNS", bytes([0, 128, 255]))])
    yield "rgb-profile.png", png_of(8, 2, lines(rgb), profiles)
    yield "rgb16-profile.png", png_of(16, 2, lines(wide_rgb), profiles)
    yield "rgba-profile.png", png_of(8, 6, lines(with_alpha(rgb, alpha)), profiles)
    yield "palette-profile.png", png_of(4, 3, packed(indices(16), 4), [*profiles, table])
    yield "grey-profile.png", png_of(8, 0, lines(grey), grey_profile)
    yield "grey-alpha-profile.png", png_of(8, 4, lines(with_alpha(grey, alpha)), grey_profile)
    yield "grey16-profile.png", png_of(16, 0, lines(wide(grey)), grey_profile)
    yield "rgb-gamma.png", png_of(8, 2, lines(rgb), gamma)


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def tiff():
    rgb = Image.fromarray(colors(6))
    grey = rgb.convert("L")
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(indices(256)))
    table = Image.fromarray(indices(16))
    table = table.convert("P")
    table.putpalette(palette(16).tobytes())
    yield "rgb.tif", saved(rgb, "TIFF")
    yield "lzw.tif", saved(rgb, "TIFF", compression="tiff_lzw")
    yield "deflate.tiff", saved(rgb, "TIFF", compression="tiff_adobe_deflate")
    yield "packbits.tif", saved(rgb, "TIFF", compression="packbits")
    yield "profile.tif", saved(rgb, "TIFF", icc_profile=profile())
    yield "turned.tif", saved(rgb, "TIFF", tiffinfo={274: 6})
    yield "grey.tif", saved(grey, "TIFF")
    yield "grey16.tif", saved(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "TIFF")
    yield "rgba.tif", saved(rgba, "TIFF")
    yield "grey-alpha.tif", saved(rgba.convert("LA"), "TIFF")
    yield "bits.tif", saved(grey.convert("1"), "TIFF")
    yield "palette.tif", saved(table, "TIFF")


def webp():
    rgb = Image.fromarray(colors(7))
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(indices(256)))
    yield "lossless.webp", saved(rgb, "WEBP", lossless=True)
    yield "profile.webp", saved(rgb, "WEBP", lossless=True, icc_profile=profile())
    yield "alpha.webp", saved(rgba, "WEBP", lossless=True, exact=True)


def gif_of(frame, table, clear=None, global_table=True, interlaced=False, screen=SIDE, background=0, at=(0, 0)):
    """One frame at `at`, in codes that are never longer than a byte: the table is cleared in time."""
    flags = 0x80 | 7
    entries = table.tobytes().ljust(768, b"\0")
    out = b"GIF89a" + struct.pack("<HHBBB", screen, screen, flags if global_table else 0, background, 0)
    out += entries if global_table else b""
    if clear is not None:
        out += b"\x21\xf9\x04" + struct.pack("<BHB", 1, 0, clear) + b"\0"
    lines = frame[[*range(0, SIDE, 8), *range(4, SIDE, 8), *range(2, SIDE, 4), *range(1, SIDE, 2)]] if interlaced else frame
    height, width = frame.shape
    out += b"\x2c" + struct.pack("<HHHHB", *at, width, height, (0 if global_table else flags) | (0x40 if interlaced else 0))
    out += b"" if global_table else entries
    codes = []
    for i, value in enumerate(lines.ravel()):
        if i % 200 == 0:
            codes.append(256)
        codes.append(int(value))
    codes.append(257)
    bits = "".join(format(code, "09b")[::-1] for code in codes)
    data = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
    blocks = b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
    return out + b"\x08" + blocks + b"\0\x3b"


def gif():
    white = palette(16)
    white[3] = 255
    yield "plain.gif", gif_of(indices(16), palette(16))
    yield "clear-white.gif", gif_of(indices(16), white, clear=3)
    yield "clear-color.gif", gif_of(indices(16), palette(16), clear=5)
    yield "local.gif", gif_of(indices(16), palette(16), clear=5, global_table=False)
    yield "interlaced.gif", gif_of(indices(16), palette(16), interlaced=True)
    yield "part.gif", gif_of(indices(16)[:5, :6], palette(16), background=2, at=(3, 4))
    yield "part-clear.gif", gif_of(indices(16)[:5, :6], white, clear=3, background=2, at=(3, 4))
    yield "many.gif", saved(Image.fromarray(indices(251)), "GIF")
    first, second = Image.fromarray(colors(8)).quantize(32), Image.fromarray(colors(9)).quantize(32)
    yield "frames.gif", saved(first, "GIF", save_all=True, append_images=[second], duration=100)


def expected(file):
    image = Image.open(io.BytesIO(file))
    if image.mode in ("I", "I;16", "I;16B"):
        grey = np.asarray(image).astype(np.int64)
        # PNG and TIFF keep the upper byte, as Pillow does for colors; Netpbm's values are scaled.
        grey = np.rint(grey * 255 / 65535) if file[:1] == b"P" else grey >> 8
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    return np.asarray(image.convert("RGB"))


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for formats in (netpbm, bmp, png, tiff, webp, gif):
        for name, file in formats():
            (FOLDER / name).write_bytes(file)
            tensors[name] = np.ascontiguousarray(expected(file))
            assert tensors[name].shape == (SIDE, SIDE, 3), name
    save_file(tensors, FOLDER / "expected.safetensors")


if __name__ == "__main__":
    main()
