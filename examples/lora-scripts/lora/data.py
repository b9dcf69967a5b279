"""Images and their captions."""

import csv
import pathlib
import zlib

import numpy
import torch
from PIL import Image

WORDS = 16  # tokens per caption
VOCABULARY = 1024


class DataError(Exception):
    """The data set cannot be trained on."""


class Captioned(torch.utils.data.Dataset):
    """Pairs of a square image in [-1, 1] and the token numbers of its caption."""

    def __init__(self, folder, metadata, resolution):
        self.resolution = resolution
        self.rows = []
        try:
            with open(metadata, newline="", encoding="utf-8") as file:
                rows = list(csv.reader(file, skipinitialspace=True))
        except OSError as error:
            raise DataError(f"{metadata}: {error.strerror}") from None
        for line, row in enumerate(rows, 1):
            if not row or (line == 1 and row[0].lower() in ("file", "filename", "file_name", "image")):
                continue
            if len(row) < 2:
                raise DataError(f"{metadata}:{line}: {row[0]!r} has no caption")
            image = pathlib.Path(folder, row[0])
            if not image.is_file():
                raise DataError(f"{metadata}:{line}: {image} does not exist")
            try:
                Image.open(image).close()  # reads the header: a broken file is told before the training, not during it
            except OSError:
                raise DataError(f"{metadata}:{line}: {image} is not an image") from None
            self.rows.append((image, ", ".join(row[1:])))  # captions have commas, and often no quotes
        if not self.rows:
            raise DataError(f"{metadata}: lists no images")

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        path, caption = self.rows[index]
        try:
            image = Image.open(path).convert("RGB").resize((self.resolution, self.resolution), Image.BICUBIC)
        except OSError as error:
            raise DataError(f"{path}: {error}") from None
        pixels = torch.from_numpy(numpy.asarray(image, dtype=numpy.float32) / 127.5 - 1)
        return pixels.permute(2, 0, 1), tokens(caption)


def tokens(caption):
    """Word hashes instead of a tokenizer's vocabulary file: nothing to download. 0 fills up."""
    words = [1 + zlib.crc32(word.encode()) % (VOCABULARY - 1) for word in caption.lower().split()]
    return torch.tensor((words + [0] * WORDS)[:WORDS])
