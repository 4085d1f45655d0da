#!/usr/bin/env python3
"""Packs Google's Noto Emoji pictures into one contact sheet, with a list of their names and groups.

Input: the npm package emoji-datasource-google 16.0.0, unpacked
(`emoji.json` and `img/google/64/*.png`). Output, in this folder:

    emoji.png   62 x 62 cells of 32x32 RGB, row by row in the order of the list; spare cells are white
    emoji.csv   one line per picture: code points, name, category, group

Usage: python3 make.py FOLDER-OF-THE-PACKAGE      (needs pillow and numpy)

The same input and the same versions of pillow and zlib give the same bytes.
"""

import csv
import json
import pathlib
import sys

import numpy as np
from PIL import Image

SIZE = 32
COLUMNS = 62
HERE = pathlib.Path(__file__).resolve().parent

SKIN_TONES = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}
VARIATION_SELECTOR = "FE0F"
JOINER = "200D"
# Signs that a joiner adds to a person: female, male, and "facing right" (a mirrored picture).
JOINED_SIGNS = {"2640", "2642", "27A1"}
# Every sex and age of a lone person becomes the neutral adult.
PERSON = "1F9D1"
PEOPLE = {
    "1F468", "1F469",           # man, woman
    "1F466", "1F467", "1F9D2",  # boy, girl, child
    "1F474", "1F475", "1F9D3",  # older man, woman, person
}
FAMILY = "1F46A"
# Emoji whose male, female and neutral forms have code points of their own.
SAME_EMOJI = {
    ("1F934",): ("1FAC5",),                         # prince, person with crown
    ("1F478",): ("1FAC5",),                         # princess
    ("1F930",): ("1FAC4",),                         # pregnant woman, person
    ("1FAC3",): ("1FAC4",),                         # pregnant man
    ("1F931",): (PERSON, "1F37C"),                  # breast-feeding, person feeding a baby
    ("1F385",): (PERSON, "1F384"),                  # Santa, Mx Claus
    ("1F936",): (PERSON, "1F384"),                  # Mrs Claus
    ("1F57A",): ("1F483",),                         # man dancing, woman dancing
    ("1F46B",): (PERSON, "1F91D", PERSON),          # couples holding hands
    ("1F46C",): (PERSON, "1F91D", PERSON),
    ("1F46D",): (PERSON, "1F91D", PERSON),
    ("1F48F",): (PERSON, "2764", "1F48B", PERSON),  # kiss
    ("1F491",): (PERSON, "2764", PERSON),           # couple with heart
}
# Pictures of different emoji that differ by less than this (root mean square, of 255) share a group too:
# territories fly their country's flag. (The closest pair that differs on purpose is at 9, a star with and without its dot.)
NEAR_DUPLICATE_RMS = 8.0


def group_key(unified):
    """The code points of an emoji without skin tone, sex and age."""
    key = []
    for code in unified.split("-"):
        if code in SKIN_TONES or code in JOINED_SIGNS and key and key[-1] == JOINER:
            continue
        if code != VARIATION_SELECTOR:
            key.append(PERSON if code in PEOPLE else code)
    key = tuple(code for code in key if code != JOINER)
    if len(key) > 1 and set(key) == {PERSON}:
        return (FAMILY,)
    return SAME_EMOJI.get(key, key)


def pictures(package):
    """Yields (code points, name, category, key of the group, file) in the order of Unicode's chart."""
    emoji = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    for e in sorted(emoji, key=lambda e: e["sort_order"]):
        key = group_key(e["unified"]) or (e["unified"],)
        if e["category"] == "Component":
            key = ("skin tone",)
        for variant in [e, *e.get("skin_variations", {}).values()]:
            tones = [code for code in variant["unified"].split("-") if code in SKIN_TONES]
            tones = "" if variant is e else ":" + "-".join(tones)
            yield variant["unified"], e["short_name"] + tones, e["category"], key, package / "img/google/64" / variant["image"]


def on_white(file):
    """The picture on white, halved by antialiased bilinear interpolation: (32, 32, 3) u8.

    Alpha goes first: resized with the alpha beside it, an edge takes colour from transparent pixels.
    """
    rgba = np.asarray(Image.open(file).convert("RGBA")).astype(np.uint32)
    alpha = rgba[..., 3:]
    rgb = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return np.asarray(Image.fromarray(rgb.astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def merge_near_duplicates(pixels, groups):
    """Joins the groups of pictures that are almost the same; returns the new group of each picture."""
    root = list(range(max(groups) + 1))

    def find(g):
        while root[g] != g:
            g = root[g]
        return g

    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    square = (flat * flat).sum(1)
    for start in range(0, len(flat), 256):
        rows = flat[start:start + 256]
        distance = square[start:start + 256, None] + square[None] - 2 * rows @ flat.T
        for i, j in np.argwhere(distance < NEAR_DUPLICATE_RMS**2 * flat.shape[1]):
            a, b = find(groups[start + i]), find(groups[j])
            root[max(a, b)] = min(a, b)
    return [find(g) for g in groups]


def main():
    rows, pixels, keys = [], [], {}
    for unified, name, category, key, file in pictures(pathlib.Path(sys.argv[1])):
        pixels.append(on_white(file))
        rows.append([unified, name, category, keys.setdefault(key, len(keys))])
    pixels = np.stack(pixels)
    groups = merge_near_duplicates(pixels, [row[3] for row in rows])
    dense = {g: i for i, g in enumerate(dict.fromkeys(groups))}

    height = -(-len(pixels) // COLUMNS)
    sheet = np.full((height * COLUMNS, SIZE, SIZE, 3), 255, np.uint8)
    sheet[:len(pixels)] = pixels
    sheet = sheet.reshape(height, COLUMNS, SIZE, SIZE, 3).transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(height * SIZE, COLUMNS * SIZE, 3)
    Image.fromarray(sheet).save(HERE / "emoji.png", optimize=True)
    with open(HERE / "emoji.csv", "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["code_points", "name", "category", "group"])
        for row, group in zip(rows, groups):
            writer.writerow([*row[:3], dense[group]])
    print(f"{len(rows)} pictures, {len(keys)} groups by name, {len(dense)} with near duplicates joined")


if __name__ == "__main__":
    main()
