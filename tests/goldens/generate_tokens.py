"""Writes crates/datasets/tests/tokens/: a small tokenizer, and what transformers' BertTokenizer makes of some texts.

    pip install transformers==5.24.0 tokenizers==0.23.3
    python tests/goldens/generate_tokens.py     # from the repository's root

The vocabulary is written out here: letters, some words and some ends of words. `tokens` are the numbers of each text for
several largest counts, with the pieces that mark start and end.
"""

import json
from pathlib import Path

from transformers import BertTokenizer

FOLDER = Path("crates/datasets/tests/tokens")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS), *".,!?-'0123456789"]
VOCABULARY += "the a cat sat on mat transfer learn token ##s ##ing ##ed ##er is what one task ##iser to".split()
VOCABULARY = list(dict.fromkeys(VOCABULARY))
TEXTS = [
    "The cat sat on the mat.",
    "",
    "Transfer learning: what one task learned is transferred to another task, isn't it?",
    "Café ÉLAN — 中文 tokenisers  cost\t3.50!",
    "snowman \u2603 and " + "x" * 120,
]

tokenizer = BertTokenizer(vocab={v: i for i, v in enumerate(VOCABULARY)}, do_lower_case=True)
tokenizer._tokenizer.save(str(FOLDER / "tokenizer.json"), pretty=False)
tokens = {n: tokenizer(TEXTS, truncation=True, max_length=n)["input_ids"] for n in (64, 8, 2)}
(FOLDER / "expected.json").write_text(json.dumps({"texts": TEXTS, "tokens": tokens}) + "\n")
