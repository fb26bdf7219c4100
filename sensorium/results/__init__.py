"""What a person gets: reads like Transformers' lists of dicts, computes like NumPy arrays.

Every result lives on the CPU, can be pickled, and knows the `index` of its input in the call that made it.
"""

from __future__ import annotations

from sensorium.results.alpha_matte import AlphaMatte
from sensorium.results.answers import Answers
from sensorium.results.cited_answers import CitedAnswers
from sensorium.results.coco_file import CocoFile, write_coco
from sensorium.results.crop import Crop
from sensorium.results.depth_map import DepthMap
from sensorium.results.detections import Detections
from sensorium.results.embedding import Embedding, similarity
from sensorium.results.frame_masks import FrameMasks
from sensorium.results.hits import Hits, SearchResults
from sensorium.results.keypoints import Keypoints
from sensorium.results.labels import Labels
from sensorium.results.masks import Masks
from sensorium.results.matches import Matches
from sensorium.results.normal_map import NormalMap
from sensorium.results.output_image import OutputImage
from sensorium.results.poses import Poses
from sensorium.results.ranking import Ranking
from sensorium.results.result import Result
from sensorium.results.row import Row
from sensorium.results.segments import Segments
from sensorium.results.tables import to_pandas, to_polars, to_records, to_table
from sensorium.results.transcript import Transcript
from sensorium.results.types import result_type
from sensorium.results.video_masks import VideoMasks

__all__ = [
    "AlphaMatte",
    "Answers",
    "CitedAnswers",
    "CocoFile",
    "Crop",
    "DepthMap",
    "Detections",
    "Embedding",
    "FrameMasks",
    "Hits",
    "Keypoints",
    "Labels",
    "Masks",
    "Matches",
    "NormalMap",
    "OutputImage",
    "Poses",
    "Ranking",
    "Result",
    "Row",
    "SearchResults",
    "Segments",
    "Transcript",
    "VideoMasks",
    "result_type",
    "similarity",
    "to_pandas",
    "to_polars",
    "to_records",
    "to_table",
    "write_coco",
]
