"""Folders of labelled photographs, and how well a model's scores fit them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import UserError

__all__ = ["LABELS", "SUFFIXES", "Tally", "image_files", "read_labels"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".npy", ".npz")
LABELS = "labels.csv"
_FILE_COLUMNS = ("filename", "file", "image", "name")
_CLASS_COLUMNS = ("index", "class", "class_index", "label")


def image_files(folder: str | Path, count: int | None = None) -> list[Path]:
    """The images and tensors of a folder in the order of their names, at most `count` of them.
    Raises UserError if there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    if count is not None and count < 1:
        raise UserError(f"a count of {count} images; 1 or more is needed")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{folder}: it holds no images ({', '.join(SUFFIXES)})")
    return files[:count]


def read_labels(path: str | Path, files: Sequence[Path]) -> list[int]:
    """The class of each file, from a CSV with a line of headings: a column `filename` and a column
    `index` (or `class`). Raises UserError where the table or one of the files has none."""
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"{path}: labels cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{path}: not a CSV file of labels") from None
    headings = list(rows[0]) if rows else []
    name = next((column for column in _FILE_COLUMNS if column in headings), None)
    wanted = next((column for column in _CLASS_COLUMNS if column in headings), None)
    if name is None or wanted is None:
        raise UserError(f"{path}: a line of headings with `filename` and `index` is needed, and "
                        "lines below it")
    classes = {}
    for number, row in enumerate(rows, 2):
        try:
            classes[Path(row[name]).name] = int(row[wanted])
        except (TypeError, ValueError):
            raise UserError(f"{path}, line {number}: no file name with a whole number as its "
                            f"class: '{row[name]}', '{row[wanted]}'") from None
    for file in files:
        if file.name not in classes:
            raise UserError(f"{path}: it has no label for {file.name}")
    return [classes[file.name] for file in files]


@dataclass
class Tally:
    """Counts over images. `labelled` and `compared` say which percentages mean anything."""

    images: int = 0
    first: int = 0
    fifth: int = 0
    same: int = 0
    labelled: bool = False
    compared: bool = False

    def add(self, scores: np.ndarray, label: int | None = None,
            reference: np.ndarray | None = None) -> None:
        """`scores` of one image; equal scores rank by class, lower first. Raises UserError for a
        label that is no class."""
        scores = np.asarray(scores, np.float64).reshape(-1)
        best = np.argsort(-scores, kind="stable")
        self.images += 1
        if label is not None:
            if not 0 <= label < len(scores):
                raise UserError(f"class {label} is labelled; the model has {len(scores)} classes")
            self.labelled = True
            self.first += int(best[0] == label)
            self.fifth += int(label in best[:5])
        if reference is not None:
            self.compared = True
            wanted = np.argmax(np.asarray(reference, np.float64).reshape(-1))
            self.same += int(best[0] == wanted)

    def figures(self) -> dict[str, int | float | None]:
        """`images`, and `top1`, `top5`, `agreement` in percent, None where nothing is known."""
        def percent(count: int, known: bool) -> float | None:
            return round(100 * count / self.images, 2) if known and self.images else None

        return {"images": self.images, "top1": percent(self.first, self.labelled),
                "top5": percent(self.fifth, self.labelled),
                "agreement": percent(self.same, self.compared)}

    def __str__(self) -> str:
        figures = self.figures()
        names = (("top1", "top-1"), ("top5", "top-5"), ("agreement", "agreement"))
        parts = [f"{name} {figures[key]:.2f} %" for key, name in names if figures[key] is not None]
        return ", ".join([f"{self.images} images", *parts])
