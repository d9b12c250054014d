"""Make digits.npz from scikit-learn's copy of the digits, with a fixed stratified split. The same bytes every time.

    python -m venv /tmp/digits && /tmp/digits/bin/pip install scikit-learn
    /tmp/digits/bin/python tinytorch/datasets/make_digits.py

scikit-learn is no requirement of the course: the file is committed, and this script says how it came about.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TEST = 0.2                              # of each digit
digits = load_digits()
images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
rng, test = np.random.default_rng(1998), np.zeros(len(labels), bool)
for digit in range(10):
    of_this = rng.permutation(np.flatnonzero(labels == digit))
    test[of_this[:round(TEST * len(of_this))]] = True
np.savez(Path(__file__).parent / "digits.npz", images=images, labels=labels, test=test)
