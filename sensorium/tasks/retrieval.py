"""retrieval: the passages of an index that answer a query."""

from __future__ import annotations

from sensorium.tasks.searching.search_task import SearchTask


class Retrieval(SearchTask):
    """Passages by the meaning of their texts, by their words, or by both."""

    name = "retrieval"
    summary = "the passages of an index that are nearest to a query"
    modality = "text"

    def example(self) -> str:
        """A question of ten words."""
        return "where does the river that runs past the mill begin?"
