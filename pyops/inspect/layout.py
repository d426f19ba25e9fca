"""Many vectors as points of a plane. Needs scikit-learn, and for UMAP umap-learn."""
from __future__ import annotations

from importlib.util import find_spec

import numpy as np

METHODS = ("umap", "tsne", "pca")
KEPT = 50   # components that t-SNE sees


def layout(vectors: np.ndarray, method: str | None = None, seed: int = 0) -> np.ndarray:
    """(M, 2) in 0 .. 1 of finite vectors (M, D). method: "umap", "tsne" (on the first 50 principal
    components) or "pca"; None for UMAP where it is installed, else t-SNE. The same numbers for the
    same seed. ValueError for fewer than three vectors; ImportError where a package is missing."""
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2 or len(vectors) < 3 or not np.isfinite(vectors).all():
        raise ValueError(f"layout: needs at least three vectors of finite numbers (M, D), got {vectors.shape}")
    method = method or ("umap" if find_spec("umap") else "tsne")
    if method not in METHODS:
        raise ValueError(f"layout: the method must be {', '.join(METHODS)}, got {method!r}")
    if method == "umap":
        import umap
        places = umap.UMAP(n_components=2, n_neighbors=min(20, len(vectors) - 1), min_dist=0.01, random_state=seed
                           ).fit_transform(vectors)
    else:
        from sklearn.decomposition import PCA
        places = PCA(min(KEPT, *vectors.shape), random_state=seed).fit_transform(vectors)
        if method == "tsne":
            from sklearn.manifold import TSNE
            from threadpoolctl import threadpool_limits
            start = "pca" if places.shape[1] > 1 else "random"
            perplexity = min(30.0, (len(vectors) - 1) / 3)
            with threadpool_limits(1, "openmp"):   # a thousand short steps: threads wait, and change the sums
                places = TSNE(2, perplexity=perplexity, init=start, random_state=seed).fit_transform(places)
        places = np.pad(places, ((0, 0), (0, max(0, 2 - places.shape[1]))))[:, :2]
    low, high = places.min(0), places.max(0)
    return (places - low) / np.maximum(high - low, 1e-12)
