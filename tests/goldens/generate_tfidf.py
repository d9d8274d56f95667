"""Writes crates/tasks/goldens/tfidf.json: terms, weights and logits of scikit-learn's TfidfVectorizer and LogisticRegression.

    pip install numpy==2.4.6 scikit-learn==1.9.1
    python tests/goldens/generate_tfidf.py      # from the repository's root
"""

import json
from pathlib import Path

import numpy as np
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

TEXTS = [
    ("I love this dress, it fits perfectly and the fabric is soft.", 2),
    ("Love love LOVE it! True to size; bought it in two colors.", 2),
    ("The fabric is thin and the seams came apart after one wash.", 0),
    ("Not what I expected: the color is off and it runs small.", 0),
    ("It is okay. The color is nice but the fabric is thin.", 1),
    ("So soft and so comfortable, I wear it every day.", 2),
    ("Returned it. The fit was terrible and the fabric itchy.", 0),
    ("Nice dress but it runs large, order a size down.", 1),
    ("Perfect for summer – light, soft and true to size.", 2),
    ("Very disappointed; the dress came apart after one wash.", 0),
    ("The fit is okay, the colour is nice. Nothing special.", 1),
    ("I love the colour and I love the fit.", 2),
    ("Cute but too short for me, I'm 5'10\" and it runs small.", 1),
    ("Été comme hiver, j'adore cette robe: naïve et élégante!", 2),
    ("Schöner Stoff, aber die Größe fällt ZU KLEIN aus; STRASSE statt Straße.", 1),
    ("Das Kleid ist schön und der Stoff ist weich.", 2),
    ("Το φόρεμα είναι ΩΡΑΊΟΣ και μαλακό, το λατρεύω.", 2),
    ("платье очень красивое и мягкое, ПЛАТЬЕ мечты", 2),
    ("terrible fabric, terrible fit, terrible color", 0),
    ("It runs small and the fabric is thin, returned it.", 0),
    ("dress_code 2024: a b c ok?", 1),
    ("The dress is okay for one summer.", 1),
    ("Soft fabric, nice color, true to size!", 2),
    ("", 1),
    ("Returned it after one wash, very disappointed.", 0),
    ("I wear this dress every day and it is still perfect", 2),
]
QUERIES = [
    "I love the soft fabric and the color.",
    "Terrible! It came apart, returned it.",
    "The dress is okay, nothing special",
    "die größe ist schön",
    "words nobody has ever seen",
    "",
    "love love love",
]
texts, y = [t for t, _ in TEXTS], np.array([c for _, c in TEXTS])
binary = (y == 2).astype(int)


def case(labels, ngrams, min_count, sublinear_tf, c, class_weight):
    v = TfidfVectorizer(ngram_range=(1, ngrams), min_df=min_count, sublinear_tf=sublinear_tf)
    x = v.fit_transform(texts)
    weight = None if class_weight == "none" else class_weight
    m = LogisticRegression(C=c, class_weight=weight, tol=1e-10, max_iter=100000).fit(x, labels)
    logits = m.decision_function(v.transform(QUERIES))
    if logits.ndim == 1:  # one score a row: half of it, with either sign, are logits of the same probabilities
        logits = np.c_[-logits / 2, logits / 2]
    terms = sorted(v.vocabulary_)
    assert terms == v.get_feature_names_out().tolist()
    return {
        "options": {"ngrams": ngrams, "min_count": min_count, "sublinear_tf": sublinear_tf, "c": c, "class_weight": class_weight},
        "labels": labels.tolist(),
        "terms": terms,
        "rows": [[[int(j), round(float(r[0, j]), 9)] for j in sorted(r.indices)] for r in x[:3]],
        "logits": logits.round(8).tolist(),
    }


golden = {
    "generator": {"script": "tests/goldens/generate_tfidf.py", **{m.__name__: m.__version__ for m in (np, sklearn)}},
    "texts": texts,
    "queries": QUERIES,
    "cases": [
        case(y, 2, 2, True, 1.0, "balanced"),
        case(y, 1, 1, False, 10.0, "none"),
        case(binary, 2, 2, True, 1.0, "balanced"),
        case(binary, 3, 2, False, 3.0, "none"),
    ],
}
Path("crates/tasks/goldens/tfidf.json").write_text(json.dumps(golden, separators=(",", ":"), ensure_ascii=False) + "\n")
