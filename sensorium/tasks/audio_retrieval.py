"""audio-retrieval: the sounds of an index that are what a text says, or sound like a sound."""

from __future__ import annotations

from sensorium.tasks.searching.search_task import SearchTask


class AudioRetrieval(SearchTask):
    """Sounds by a text or by a sound; a str is a text, and a sound anything else that `open_sound` takes."""

    name = "audio-retrieval"
    summary = "the sounds of an index that are nearest to a text or a sound"
    modality = "audio"

    def example(self) -> str:
        """A text of a few words."""
        return "a dog barks behind a door"
