"""Where a checkpoint lies and what is in it: names, local folders, the Hub, and the weight files.

A name is a local folder, `starter/<name>`, `timm/<arch>.<tag>` or a Hub id `org/name[@revision]`. Finding one
reads only its small text files; the weights come when `Checkpoint.weights()` is called. The Hub is reached through
huggingface_hub, which honours HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE and HF_TOKEN. Importing this loads neither it nor
torch.
"""

from sensorium.checkpoints.checkpoint import Checkpoint
from sensorium.checkpoints.names import resolve
from sensorium.checkpoints.options import LoadOptions

__all__ = ["Checkpoint", "LoadOptions", "resolve"]
