"""image-retrieval: the pictures of an index that show what a text says, or look like a picture."""

from __future__ import annotations

from sensorium.tasks.searching.search_task import SearchTask


class ImageRetrieval(SearchTask):
    """Pictures by a text or by a picture; a str is a text, and a picture anything else that `load_image` takes."""

    name = "image-retrieval"
    summary = "the pictures of an index that are nearest to a text or a picture"
    modality = "image"

    def example(self) -> str:
        """A text of a few words."""
        return "a red boat on a river"
