"""Columns scaled by scikit-learn, for `crates/datasets/src/transforms/standardise.rs`: prints what its test expects."""
import numpy as np
import sklearn
from sklearn.preprocessing import StandardScaler

learned = np.array([[50_000, 0.01, 7, 1], [61_000, np.nan, 7, 0], [40_000, 0.03, 7, 0]], np.float32)
applied = np.array([[50_000, 0.04, 8, 1], [np.nan, 0.02, 7, 0]], np.float32)
scaler = StandardScaler().fit(learned.astype(np.float64))
print("numpy", np.__version__, "scikit-learn", sklearn.__version__)
print(np.array2string(scaler.transform(applied.astype(np.float64)), precision=9))
