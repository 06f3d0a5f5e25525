from __future__ import annotations

from typing import Any

from deploymark.reports.run.census import census_views

CENSUS: dict[str, Any] = {
    "listed": 7,
    "images": 5,
    "skipped": 2,
    "boxes": 9,
    "rows_skipped": 6,
    "lines": ["5 images with 9 boxes of 2 classes", "left out: 6 × a class out of range"],
    "notes": ["5 images are few."],
    "classes": {"cat": 4, "dog": 5},
    "only_in_model": ["bird"],
    "faults": [
        {
            "kind": "label_class_range",
            "title": "a class out of range",
            "leaves_out": "row",
            "count": 6,
            "places": [f"a.txt:{line}" for line in range(1, 6)],
        },
        {
            "kind": "image_empty",
            "title": "an empty file",
            "leaves_out": "image",
            "count": 1,
            "places": ["b.jpg: 0 bytes"],
        },
    ],
}


def test_a_census_is_told_in_words_and_counts() -> None:
    (view,) = census_views([{"name": "d", "model": "m", "scored_images": 5, "census": CENSUS}])
    assert (view.model, view.lines) == ("m", tuple(CENSUS["lines"]))
    assert view.faults == (
        (
            "6 × a class out of range (each leaves out a row): a.txt:1; a.txt:2; a.txt:3; a.txt:4;"
            " a.txt:5; and 1 more"
        ),
        "1 × an empty file (leaves out an image): b.jpg: 0 bytes",
    )
    facts = {fact.name: fact.text for fact in view.facts}
    assert facts["boxes by class"] == "cat 4, dog 5"
    assert facts["classes of the model alone"] == "bird"
    assert (facts["images listed"], facts["rows skipped"]) == ("7", "6")
    assert facts["scored images"] == "5"
    assert "crowd regions" not in facts


def test_a_run_without_a_census_keeps_its_facts() -> None:
    (view,) = census_views([{"name": "d", "scored_images": 5}])
    assert (view.model, view.lines, view.faults) == ("d", (), ())
    assert [fact.name for fact in view.facts] == ["name", "scored images"]
