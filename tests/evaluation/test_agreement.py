import numpy as np
import pytest

from ferplus_keras.evaluation.metrics import agreement, vote_entropy


def test_equals_plain_loops_over_single_annotators():
    rng = np.random.default_rng(5)
    votes = rng.multinomial(10, [0.5, 0.3, 0.2], 40)
    votes[0] = [5, 5, 0]  # without one annotator of the first class, the second leads
    probabilities = rng.dirichlet(np.ones(3), 40)
    expected = model = human = divergence = 0.0
    for row, scores in zip(votes, probabilities, strict=True):
        annotators = [k for k in range(3) for _ in range(row[k])]
        predicted = int(np.argmax(scores))
        expected += annotators.count(predicted) / 10 / 40
        for k in range(3):
            if row[k]:
                divergence += row[k] / 10 * np.log(row[k] / 10 / scores[k]) / 40
        for index, held_out in enumerate(annotators):
            rest = annotators[:index] + annotators[index + 1 :]
            counts = [rest.count(k) for k in range(3)]
            leading = [k for k in range(3) if counts[k] == max(counts)]
            model += (predicted in leading) / len(leading) / 10 / 40
            human += (held_out in leading) / len(leading) / 10 / 40
    found = agreement(votes, probabilities)
    assert found["n"] == 40
    assert found["expected_accuracy"] == pytest.approx(expected)
    assert found["kl_divergence"] == pytest.approx(divergence)
    assert found["model_accuracy"] == pytest.approx(model)
    assert found["annotator_accuracy"] == pytest.approx(human)


def test_rows_with_a_single_vote_tell_nothing():
    probabilities = np.full((3, 2), 0.5)
    assert agreement(np.array([[1, 0], [4, 4], [1, 1]]), probabilities)["n"] == 2
    assert agreement(np.array([[1, 0], [0, 0], [0, 1]]), probabilities) == {}


def test_the_same_votes_for_other_classes_have_the_same_entropy_to_the_last_bit():
    votes = np.random.default_rng(0).permuted(np.tile([3, 2, 2, 2, 1, 0, 0, 0], (40, 1)), axis=1)
    assert len({*vote_entropy(votes)}) == 1  # ties are shown in the order of the rows
