from __future__ import annotations

import logging
import warnings

import pytest

from deploymark.backends.base import ExportError
from deploymark.backends.onnx import graph as onnx_graph

HEAD = r"^/model\.23/(?!(one2one_)?cv[23]).*"


def test_patterns_match_names_in_full() -> None:
    names = [
        "/model.22/cv2/conv/Conv",
        "/model.23/cv2.0/cv2.0.0/conv/Conv",
        "/model.23/one2one_cv3.0/Conv",
        "/model.23/dfl/conv/Conv",
        "/model.23/Sigmoid",
    ]
    assert onnx_graph.matching(names, [HEAD]) == ["/model.23/dfl/conv/Conv", "/model.23/Sigmoid"]
    with pytest.raises(ExportError, match="no node of the exported graph is named like"):
        onnx_graph.matching(names, ["/model.23/Sig"])
    assert onnx_graph.matching(names, []) == []


def test_quiet_holds_back_warnings_and_gives_levels_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("some.exporter")
    logger.setLevel(logging.INFO)
    with onnx_graph.quiet("some.exporter"):
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
        logger.warning("not heard")
        logger.error("heard")
    assert logger.level == logging.INFO
    assert [record.message for record in caplog.records] == ["heard"]


def test_quiet_lets_errors_through() -> None:
    with pytest.raises(ValueError, match="kept"), onnx_graph.quiet("some.exporter"):
        raise ValueError("kept")
