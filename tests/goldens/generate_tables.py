"""Writes crates/codecs/goldens/: one small table as CSV, TSV, JSONL and Parquet, and Parquet files of many types;
and crates/datasets/goldens/pictures.parquet.

    pip install numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1 pillow==13.0.0
    python tests/goldens/generate_tables.py      # from the repository's root

`people.json` and `types.json` say what a reader should find in each column: the words of its values or the numbers, null where one is missing.
"""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OUT = Path("crates/codecs/goldens")
OUT.mkdir(exist_ok=True)


def write(name, table, **options):
    pq.write_table(table, OUT / name, **options)


people = pd.DataFrame(
    {
        "id": pd.array([9007199254740993, 2, -3, 4, 5], dtype="Int64"),
        "name": ['She said "no", twice', "two\nlines", "tab\there", None, "Ünïcødé 🦀"],
        "score": [0.5, None, 3.0, 1e-7, -2.25],
        "never read": ["a", "b", "c", "d", "e"],
        "town": ["Ulm", "Ulm", None, "Bonn", "Ulm"],
    }
)
people.to_csv(OUT / "people.csv", index=False)
people.to_csv(OUT / "people.tsv", index=False, sep="\t")
people.to_json(OUT / "people.jsonl", orient="records", lines=True, force_ascii=False)
arrow = pa.Table.from_pandas(people, preserve_index=False)
for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]:
    write(f"people_{codec}.parquet", arrow, compression=codec, row_group_size=2)
write("people_v2.parquet", arrow, data_page_version="2.0", use_dictionary=False, compression="zstd", compression_level=9)


def words(column):
    return [None if v is None else str(v) for v in column]


expected = {name: words(arrow[name].to_pylist()) for name in ["id", "name", "town"]}
expected["score"] = arrow["score"].to_pylist()  # numbers, which CSV writes in other words
(OUT / "people.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")

# Every type that is read, and those that are refused.
types = pa.table(
    {
        "truth": pa.array([True, None, False]),
        "tiny": pa.array([-128, 127, None], pa.int8()),
        "unsigned": pa.array([2**64 - 1, 0, None], pa.uint64()),
        "unsigned_32": pa.array([2**32 - 1, 0, None], pa.uint32()),
        "single": pa.array([0.5, np.nan, None], pa.float32(), from_pandas=False),
        "bytes": pa.array([b"\xff\x00", b"ok", None]),
        "category": pa.array(["x", "y", "x"]).dictionary_encode(),
        "large": pa.array(["p", None, "q"], pa.large_string()),
        "nothing": pa.nulls(3),
        "required": pa.array([1, 2, 3]),
        "pair": pa.array([{"bytes": b"\x01", "path": "a.png"}, None, {"bytes": None, "path": "b.png"}]),
        "list": pa.array([[1], [2, 3], []]),
        "deep": pa.array([{"a": {"b": 1}}] * 3),
        "day": pa.array([1, 2, 3], pa.date32()),
        "moment": pa.array([1, 2, 3], pa.timestamp("ns")),
        "money": pa.array([1, 2, 3], pa.decimal128(9, 2)),
    }
)
fields = [f.with_nullable(False) if f.name == "required" else f for f in types.schema]
write("types.parquet", types.cast(pa.schema(fields)), row_group_size=2)
expected = {n: words(types[n].to_pylist()) for n in ["tiny", "unsigned", "unsigned_32", "category", "large", "nothing", "required"]}
expected["truth"] = [None if v is None else str(v).lower() for v in types["truth"].to_pylist()]
expected["single"] = ["0.5", None, None]
(OUT / "types.json").write_text(json.dumps(expected, indent=1) + "\n")


# Pictures as the Hugging Face `datasets` library keeps them: a struct of bytes and path.
def png(red, green, blue):
    out = io.BytesIO()
    Image.new("RGB", (2, 2), (red, green, blue)).save(out, "png")
    return out.getvalue()


pictures = [{"bytes": png(*rgb), "path": None} for rgb in [(255, 0, 0), (0, 255, 0), (0, 0, 255)]]
struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
write("../../datasets/goldens/pictures.parquet", pa.table({"image": pa.array(pictures, struct), "label": pa.array([1, None, 0])}))

print("pandas", pd.__version__, "pyarrow", pa.__version__, "numpy", np.__version__, "pillow", Image.__version__)
