"""The host's part: from the tensors that the core wrote to ranked classes."""

import numpy as np
import onnx
import pytest

from sim.golden import graph as golden
from sim.tail import host_tail, labels_of, same_ranking, top_classes
from sw.graph import GlobalAveragePool
from sw.importer import import_model, import_proto
from tests.models import small_squeezenet


def test_tail_from_the_last_tensor_of_the_core():
    builder = small_squeezenet(3)
    graph = import_proto(builder.model("scores"))
    values = golden.run(graph, builder.image())
    last, = [node.output for node in graph.nodes if isinstance(node, GlobalAveragePool)]
    tail = host_tail(graph, {last: values[last]})
    np.testing.assert_array_equal(tail["scores"], values["scores"])
    assert tail["scores"].sum() == pytest.approx(1, abs=1e-5)


def test_top_classes():
    scores = np.array([[0.5, 3, -1, 3, 2, 0]], np.float32)
    assert top_classes(scores, 4) == [[1, 3.0], [3, 3.0], [4, 2.0], [0, 0.5]]
    assert top_classes(np.arange(3)) == [[2, 2], [1, 1], [0, 0]]


def test_same_ranking_forgives_rounding_only():
    reference = np.array([5, 4, 3, 2, 1, 0], np.float32)
    nearly = np.array([5, 4, 4, 2, 1, 0], np.float32)
    assert same_ranking(reference, reference)
    assert same_ranking(nearly[[0, 2, 1, 3, 4, 5]], reference)
    assert not same_ranking(reference[[1, 0, 2, 3, 4, 5]], reference)
    close = reference.copy()
    close[1] = close[2] + np.float32(1e-6)
    assert same_ranking(np.array([5, 3, 3.5, 2, 1, 0], np.float32), close)


@pytest.mark.parametrize("text, labels", [
    ("a,b , c", ["a", "b", "c"]), ("tabby, cat\ntiger\n", ["tabby, cat", "tiger"]), ("", [])])
def test_labels(text, labels, tmp_path):
    model = small_squeezenet(1).model("scores")
    if text:
        model.metadata_props.add(key="firecore.labels", value=text)
    onnx.save(model, tmp_path / "model.onnx")
    assert labels_of(import_model(tmp_path / "model.onnx")) == labels
