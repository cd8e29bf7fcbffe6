"""How well the features of a network suit a task: measures without training, and two simple classifiers."""

from __future__ import annotations

import numpy as np

from understudy.data.labelled_set import LabelledSet
from understudy.functional.transferability import h_score, leep, log_me
from understudy.training.classifier import TrainedClassifier

_PROBE_C = 1.0  # C of scikit-learn, the inverse strength of the squared penalty on the weights: its default
_PROBE_MAX_ITER = 1000
_MAX_NEIGHBOURS = 5


def transferability(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    source_probabilities: np.ndarray | None = None,
) -> dict[str, float | None]:
    """Measure the features of a network in all ways. Higher is better in each, and nothing is random.

    LEEP, LogME and H-score use the train images only; :mod:`understudy.functional.transferability` explains
    their limits. With few images per class, rely on the two accuracies.

    Args:
        train_features: float of shape (N, D), from a network that was not trained on the labels of these
            images; otherwise LEEP, LogME and H-score measure what it memorised.
        train_labels: int of shape (N,), at least 2 classes; one image per class is enough.
        test_features: float of shape (M, D), M at least 1, from the same network.
        test_labels: int of shape (M,), each among ``train_labels``.
        source_probabilities: predictions of the network's head for the train images, float of shape (N, Z),
            rows sum to 1; None if it has no head.

    Returns:
        ``leep`` (None without ``source_probabilities``), ``log_me``, ``h_score`` (with shrinkage),
        ``linear_probe`` (test accuracy of logistic regression with C = 1 and at most 1000 iterations, on
        features standardised over the train images), ``knn`` (test accuracy of a vote of the nearest train
        images by cosine, as many as the smallest class has, but at most 5).

    Raises:
        ValueError: if shapes do not match, values are not finite, rows are not probabilities, there are fewer
            than 2 train classes, all train features are 0, or no train image has the label of a test image.
    """
    # slow to import, and not needed by most commands
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _check_test(train_features, train_labels, test_features, test_labels)
    measures: dict[str, float | None] = {
        "leep": None if source_probabilities is None else leep(source_probabilities, train_labels),
        "log_me": log_me(train_features, train_labels),
        "h_score": h_score(train_features, train_labels, shrinkage=True),
    }
    train, test = train_features.astype(np.float64), test_features.astype(np.float64)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=_PROBE_C, max_iter=_PROBE_MAX_ITER))
    smallest = int(np.unique(train_labels, return_counts=True)[1].min())
    neighbours = KNeighborsClassifier(n_neighbors=min(_MAX_NEIGHBOURS, smallest), metric="cosine")
    for name, classifier in (("linear_probe", probe), ("knn", neighbours)):
        measures[name] = float((classifier.fit(train, train_labels).predict(test) == test_labels).mean())
    return measures


def feature_quality(
    classifier: TrainedClassifier, *, train: LabelledSet, test: LabelledSet
) -> dict[str, float | None]:
    """How well features separate the real classes: fitted on train images, tested on test images.

    Returns:
        As :func:`transferability`; ``leep`` is None for a network without a head.
    """
    return transferability(
        classifier.features(train),
        train.labels,
        classifier.features(test),
        test.labels,
        source_probabilities=classifier.probabilities(train)
        if classifier.backbone.model.num_classes
        else None,
    )


def _check_test(
    train_features: np.ndarray, train_labels: np.ndarray, test_features: np.ndarray, test_labels: np.ndarray
) -> None:
    """Check the test set, which the measures on train images do not use."""
    if (
        test_features.ndim != 2
        or not len(test_features)
        or test_features.shape[1:] != train_features.shape[1:]
    ):
        raise ValueError(
            "test_features must be (M, D) with M > 0 and the D of train_features "
            f"{train_features.shape}, got {test_features.shape}"
        )
    if not np.isfinite(test_features).all():
        count = int((~np.isfinite(test_features)).sum())
        raise ValueError(f"test_features must be finite, got {count} values that are not")
    if test_labels.shape != test_features.shape[:1]:
        raise ValueError(f"test_labels must be of shape ({len(test_features)},), got {test_labels.shape}")
    unknown = np.setdiff1d(test_labels, train_labels)
    if len(unknown):
        raise ValueError(
            f"test_labels must be among train_labels, got {unknown.tolist()}, which no train image has"
        )
