"""What scripts of this folder take from the artifact store: it is filled by a run."""

from __future__ import annotations

from pathlib import Path

from deploymark.bench.store import Store, StoredArtifact


def stored(backend: str, imgsz: int, precision: str = "fp32") -> StoredArtifact:
    """The newest dense artifact of a backend and a precision, batch 1.

    Raises SystemExit where the store has none.
    """
    wanted = {"backend": backend, "precision": precision, "imgsz": imgsz, "batch": 1, "steps": []}
    found = [
        item
        for item in Store().entries()
        if all(item.recipe.get(key) == value for key, value in wanted.items())
    ]
    if not found:
        raise SystemExit(
            f"no dense {precision} artifact of {backend} at {imgsz} in the store: run first"
        )
    return max(found, key=lambda item: item.folder.stat().st_mtime)


def images_file(imgsz: int) -> Path:
    """Any prepared images of that size in the store."""
    return next((Store().root / "images").glob(f"*-{imgsz}.npy"))
