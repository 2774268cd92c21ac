"""What the fixture `site` offers for download, and what lies in a cache."""

import hashlib

import numpy as np

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())
