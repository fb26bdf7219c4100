"""Measures: how good a ranking, or what was read from it, is."""

from sensorium.retrieval.measuring.answer_matching import exact_match, f1_score, has_answer, normalize_answer
from sensorium.retrieval.measuring.metrics import evaluate, mean_reciprocal_rank, ndcg, recall_at_k, top_k_accuracy

__all__ = [
    "evaluate",
    "exact_match",
    "f1_score",
    "has_answer",
    "mean_reciprocal_rank",
    "ndcg",
    "normalize_answer",
    "recall_at_k",
    "top_k_accuracy",
]
