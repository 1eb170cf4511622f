"""Work on picture files: check, draw, shrink, join. Knows Pillow, no database and no scheduler."""

import os
import random
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp"}
MAX_PIXELS = 40_000_000
THUMBNAIL = (240, 180)
COLUMNS = 4
GAP = 12


class NotAPicture(ValueError):
    """The file is no picture that Pillow can read."""


def picture_suffix(file: Path | BinaryIO) -> str:
    """The suffix that fits the file's content; its name is not asked."""
    with opened(file) as picture:
        return SUFFIXES[str(picture.format)]


def opened(file: Path | BinaryIO) -> Image.Image:
    """Open a picture of a known kind and a sane size, or raise NotAPicture."""
    name = file.name if isinstance(file, Path) else "the file"
    try:
        picture = Image.open(file, formats=list(SUFFIXES))
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise NotAPicture(f"{name} is not a picture (JPEG, PNG, GIF or WebP)") from error
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise NotAPicture(f"{name} has more than {MAX_PIXELS:,} pixels")
    return picture


def draw(target: Path, seed: str) -> None:
    """Draw a landscape of a sky, a sun and some hills; the same seed gives the same picture."""
    chance = random.Random(seed)
    picture = Image.linear_gradient("L").resize((1200, 900))
    sky = ImageOps.colorize(picture, black=colour(chance, 60, 140), white=colour(chance, 190, 250))
    pen = ImageDraw.Draw(sky)
    pen.circle((chance.randint(200, 1000), chance.randint(120, 420)), 90, fill="#ffe9a8")
    for hill in range(4):
        shade = colour(chance, 20, 150 - 30 * hill)
        middle, top = chance.randint(0, 1200), 430 + 110 * hill
        pen.ellipse((middle - 800, top, middle + 800, top + 900), fill=shade)
    save(sky, target)


def colour(chance: random.Random, low: int, high: int) -> tuple[int, int, int]:
    """Any colour whose three parts lie between low and high."""
    return (chance.randint(low, high), chance.randint(low, high), chance.randint(low, high))


def shrink(source: Path, target: Path) -> tuple[int, int]:
    """Write a small copy of a picture, the right way up; return the size of the original."""
    with opened(source) as picture:
        size = picture.size
        try:
            small = ImageOps.exif_transpose(picture).convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise NotAPicture(f"{source.name} is damaged: {error}") from error
    small.thumbnail(THUMBNAIL)
    save(small, target)
    return size


def join(sources: list[Path], target: Path) -> None:
    """Put small pictures side by side, row below row, into one picture."""
    columns = min(COLUMNS, len(sources))
    rows = -(-len(sources) // columns)
    width, height = THUMBNAIL[0] + GAP, THUMBNAIL[1] + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    for place, source in enumerate(sources):
        row, column = divmod(place, columns)
        with opened(source) as picture:
            sheet.paste(picture, (GAP + column * width, GAP + row * height))
    save(sheet, target)


def save(picture: Image.Image, target: Path) -> None:
    """Write beside the target, then rename: nobody ever sees half a picture."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    picture.save(unfinished, format="JPEG", quality=85)
    unfinished.replace(target)
