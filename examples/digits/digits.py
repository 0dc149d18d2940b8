"""The handwritten digits that scikit-learn ships, as inputs of the demo network.

The set holds 1797 digits of 8 x 8 pixels with values 0..16. A network input is one digit enlarged
four times by linear interpolation between pixel centres (the border pixels continue outwards), as
grey levels ``round(value * 255 / 16)``. So inputs are whole numbers 0..255, exact as uint8 at
scale 1.

Split: the last 360 digits are the test set, the 1437 before them the training set. The order is
kept: digits of one writer stand close together, and shuffling would put each writer in both sets.

Example: ``python examples/digits/digits.py -o /tmp/digits --count 20``
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

TEST_COUNT = 360
PIXELS = 8  # of one side, as shipped
UPSCALE = 4
SIDE = PIXELS * UPSCALE  # of one side of a network input
SHADES = " .:-=+*#%@"


def _enlarging() -> np.ndarray:
    """Matrix ``[32, 8]`` that enlarges a column of pixels by linear interpolation."""
    centres = (np.arange(SIDE) + 0.5) / UPSCALE - 0.5
    pixels = np.arange(PIXELS)
    return np.stack([np.interp(centres, pixels, unit) for unit in np.eye(PIXELS)], axis=1)


ENLARGE = _enlarging()
REDUCE = np.linalg.pinv(ENLARGE)  # undoes it


def to_input(digits: np.ndarray) -> np.ndarray:
    """Network inputs, float32 ``[n, 1, 32, 32]`` of whole numbers 0..255, of digits as shipped,
    ``[n, 8, 8]`` with values 0..16."""
    enlarged = ENLARGE @ np.asarray(digits, np.float64) @ ENLARGE.T
    return np.rint(enlarged * (255 / 16)).astype(np.float32)[:, np.newaxis]


def _load() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return to_input(data.images), data.target.astype(np.int64)


def training_set() -> tuple[np.ndarray, np.ndarray]:
    """Images float32 ``[1437, 1, 32, 32]`` with values 0..255, and labels int64 ``[1437]``.

    Raises ImportError without scikit-learn."""
    images, labels = _load()
    return images[:-TEST_COUNT], labels[:-TEST_COUNT]


def test_set() -> tuple[np.ndarray, np.ndarray]:
    """Images float32 ``[360, 1, 32, 32]`` with values 0..255, and labels int64 ``[360]``.

    Raises ImportError without scikit-learn."""
    images, labels = _load()
    return images[-TEST_COUNT:], labels[-TEST_COUNT:]


test_set.__test__ = False  # pytest takes the name for a test's


def as_text(image: np.ndarray) -> str:
    """One network input, ``[1, 32, 32]`` or ``[32, 32]`` with values 0..255, as 8 lines of 16
    characters: the digit as shipped, ink dark, each pixel two characters wide."""
    grey = REDUCE @ np.asarray(image, np.float64).reshape(SIDE, SIDE) @ REDUCE.T
    shades = np.rint(grey.clip(0, 255) * ((len(SHADES) - 1) / 255)).astype(int)
    return "\n".join("".join(SHADES[shade] * 2 for shade in row) for row in shades)


def write_inputs(directory: Path, count: int) -> list[Path]:
    """Writes the first ``count`` test digits as ``digit_000.npy``.. (float32 ``[1, 1, 32, 32]``)
    and their labels as ``labels.csv`` (columns ``file``, ``label``). Returns the .npy paths.

    Raises ValueError where ``count`` is outside 1..360."""
    if not 1 <= count <= TEST_COUNT:
        raise ValueError(f"count {count} is outside 1..{TEST_COUNT}, the size of the test set")
    images, labels = test_set()
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"digit_{index:03}.npy" for index in range(count)]
    for path, image in zip(paths, images[:count], strict=True):
        np.save(path, image[np.newaxis])
    with open(directory / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "label"])
        writer.writerows(
            (path.name, int(label)) for path, label in zip(paths, labels[:count], strict=True)
        )
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Write test digits as network inputs (.npy) and their labels (labels.csv).",
        epilog="example: python examples/digits/digits.py -o /tmp/digits --count 20",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--count", type=int, default=20, help="how many test digits (default 20)")
    args = parser.parse_args()
    try:
        paths = write_inputs(args.output, args.count)
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(paths)} digits and labels.csv in {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
